"""Small generators of the files that users have: every codec that PyAV can write, damaged in the usual ways."""

import io
import struct
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from ldm_sep.audio import read
from ldm_sep.errors import AudioError

RATE = 44100

# name -> (codec, container, sample rate); what the formats lose is what the tests allow.
COMPRESSED = {
    "a.m4a": ("aac", None, 44100),
    "alac.m4a": ("alac", None, 44100),
    "a.aac": ("aac", "adts", 44100),
    "a.wma": ("wmav2", None, 44100),
    "a.mp2": ("mp2", None, 44100),
    "a.mp3": ("libmp3lame", None, 44100),
    "a.mka": ("flac", None, 44100),
    "a.webm": ("libopus", None, 48000),
    "a.opus": ("libopus", None, 48000),
    "a.wv": ("wavpack", None, 44100),
    "a.ac3": ("ac3", None, 44100),
    "a.caf": ("alac", None, 44100),
    "a.mov": ("pcm_s24le", None, 44100),
    "mp3 in.wav": ("libmp3lame", "wav", 44100),
    "adpcm.wav": ("adpcm_ima_wav", None, 44100),
    "a.flac": ("flac", None, 44100),
    "a.oga": ("flac", "ogg", 44100),
    "a.mp4": ("aac", None, 44100),
    "a.mkv": ("aac", None, 44100),
    "a.avi": ("libmp3lame", None, 44100),
    "a.ts": ("aac", "mpegts", 44100),
    "a.flv": ("aac", None, 44100),
}


def song(frames: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    """(C, T) chirps that fade away over a beat: unlike itself anywhere else, and of varying bit rates."""
    time = np.arange(frames) / RATE
    rng = np.random.default_rng(seed)
    rows = [
        np.sin(2 * np.pi * (200 + 50 * k + 400 * time) * time + rng.uniform(0, 6)) * 0.3 * (1 - time / time[-1] * 0.9)
        for k in range(channels)
    ]
    beats = np.exp(-60 * (time % 0.23)) * 0.2 + 0.02  # encoders change their block lengths
    noise = rng.standard_normal((channels, frames)) * beats
    return (np.array(rows) + noise).astype(np.float32)


def encode(
    path: Path, codec: str, sound: np.ndarray, rate: int = RATE, container: str | None = None, pictures: int = 0
) -> Path:
    """Write ``sound (C, T)`` by an encoder of FFmpeg, with ``pictures`` beside it, 25 a second, a few where the file is
    a video.
    """
    layout = {1: "mono", 2: "stereo", 6: "5.1", 3: "3.0", 4: "quad", 8: "7.1"}[sound.shape[0]]
    with av.open(path, "w", format=container) as out:
        pictures = pictures or 5 * (path.suffix in (".mp4", ".avi"))
        video = out.add_stream("wmv2" if path.suffix == ".wmv" else "mpeg4", rate=25) if pictures else None
        stream = out.add_stream(codec, rate=rate, layout=layout)
        if codec in ("wmav2", "aac", "mp2", "ac3"):
            stream.bit_rate = 192_000
        context = stream.codec_context
        if video is not None:
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            for i in range(pictures):
                picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), i % 200, np.uint8), format="rgb24")
                picture.pts = i
                out.mux(video.encode(picture))
            out.mux(video.encode(None))
        if not context.is_open:
            context.open()
        convert = av.AudioResampler(context.format, layout, rate, context.frame_size or 4096)
        frame = av.AudioFrame.from_ndarray(sound.T.reshape(1, -1), "flt", layout)
        frame.sample_rate, frame.pts = rate, 0
        for piece in [*convert.resample(frame), *convert.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return path


def write(path: Path, sound: np.ndarray, rate: int = RATE, **options: object) -> Path:
    """Write ``sound (C, T)`` by libsndfile."""
    with sf.SoundFile(path, "w", rate, sound.shape[0], **options) as file:
        for start in range(0, sound.shape[1], RATE):  # its Vorbis encoder crashes on a minute at once
            file.write(sound.T[start : start + RATE])
    return path


def lag(got: np.ndarray, sound: np.ndarray) -> int:
    """By how many samples ``got`` comes late."""
    size = 2 ** int(np.ceil(np.log2(got.shape[1] + sound.shape[1])))
    product = np.fft.rfft(got[0], size) * np.conj(np.fft.rfft(sound[0], size))
    peak = int(np.fft.irfft(product).argmax())
    return peak if peak < size // 2 else peak - size


def told(path: Path) -> tuple[np.ndarray, list[str]]:
    """Samples of a file, and the lines that the reader has for its user."""
    lines: list[str] = []
    wave, _ = read(path, notice=lines.append)
    assert all("\n" not in line and path.name in line for line in lines)
    return wave, lines


def refused(path: Path | str) -> str:
    """The one line that a failed read shows."""
    with pytest.raises(AudioError) as caught:
        read(path, notice=lambda line: None)
    message = str(caught.value)
    assert "\n" not in message and ";" in message and Path(path).name in message
    return message


def position(data: bytes, share: float) -> int:
    return int(len(data) * share)


@cache
def mp3_bytes() -> bytes:
    sound = io.BytesIO()
    sf.write(sound, song(12 * RATE).T, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.4)
    return sound.getvalue()


def mp3(path: Path, tag: bool = True) -> Path:
    """Twelve seconds at a variable bit rate, with or without the frame that holds the length tag."""
    data = mp3_bytes()
    second = data.index(data[:2], 100)
    assert b"Xing" in data[:second]
    path.write_bytes(data if tag else data[second:])
    return path


def wav_bytes(pcm: bytes, *, data_size: int, rate: int = RATE, channels: int = 2, bits: int = 16) -> bytes:
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * block % 2**32, block % 2**16, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", data_size) + pcm
    return b"RIFF" + struct.pack("<I", min(len(body), 2**32 - 1)) + body
