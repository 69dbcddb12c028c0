"""Files as users have them: every container, tags at either end, damage, lengths that headers get wrong."""

import struct
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from conftest import ROOT
from field import COMPRESSED, RATE, encode, lag, mp3, position, refused, song, told, write

from ldm_sep.audio import AudioReader, probe
from ldm_sep.errors import AudioError

SONG = song(3 * RATE)
# Samples of an encoder's delay that no field of the container tells the decoder of.
UNTOLD_DELAY = {"a.aac": 1024, "a.ts": 1024, "a.flv": 1024, "a.avi": 1105, "mp3 in.wav": 1105}
UNTOLD_DELAY |= {"a.mp2": 481, "a.ac3": 256}
EXACT = ("a.flac", "alac.m4a", "a.mka", "a.oga", "a.caf", "a.mov")
GAPLESS = ("a.mp3", "a.m4a", "a.mp4", "a.webm", "a.opus", *EXACT)


@pytest.mark.parametrize("name", COMPRESSED)
def test_every_container_is_read_whole_and_in_place(tmp_path: Path, name: str) -> None:
    codec, container, rate = COMPRESSED[name]
    got, lines = told(encode(tmp_path / name, codec, SONG, rate, container))
    assert not lines and probe(tmp_path / name).sample_rate == rate
    if name in GAPLESS:
        assert got.shape == SONG.shape
    # FFmpeg's own encoder of WMA does not write the samples that its decoder takes for the encoder's delay.
    expected = -2048 if name == "a.wma" else UNTOLD_DELAY.get(name, 0)
    assert abs(lag(got, SONG) - expected) <= 1 and got.shape[1] >= SONG.shape[1] + min(expected, 0)
    if name in EXACT:
        assert np.abs(got - SONG).max() <= 2**-15


@pytest.mark.parametrize("name", ["song.ogg", "vocals.ogg"])
def test_the_demo_is_read_as_libsndfile_reads_it_and_nothing_is_said_of_it(name: str) -> None:
    path = ROOT / "demo" / name
    got, lines = told(path)
    assert not lines and np.abs(got - sf.read(path, dtype="float32")[0].T).max() < 1e-5


@pytest.mark.parametrize(
    "tail", [b"TAG" + bytes(125), b"APETAGEX" + bytes(range(256)) * 30, b"\xff\xfb\x90", bytes(999)]
)
@pytest.mark.parametrize("name", ["tagged.mp3", "untagged.mp3", "a.flac", "a.wav", "a.aac"])
def test_tags_and_padding_behind_the_sound_change_nothing(tmp_path: Path, name: str, tail: bytes) -> None:
    path = tmp_path / name
    if path.suffix == ".mp3":
        mp3(path, name == "tagged.mp3")
    else:
        encode(path, *{"a.flac": ("flac", SONG), "a.wav": ("pcm_s16le", SONG), "a.aac": ("aac", SONG)}[name])
    clean, _ = told(path)
    path.write_bytes(path.read_bytes() + (tail[:1] if path.suffix == ".wav" and tail[0] == 255 else tail))
    got, lines = told(path)
    assert not lines and np.array_equal(got, clean)


def test_tags_before_the_sound_change_nothing(tmp_path: Path) -> None:
    picture = b"ID3\x04\x00\x00" + bytes([0, 6, 1, 0]) + bytes(6 * 2**14 + 128)
    for path in (mp3(tmp_path / "a.mp3"), write(tmp_path / "a.flac", SONG)):
        clean, _ = told(path)
        path.write_bytes(picture + path.read_bytes())
        got, lines = told(path)
        assert not lines and np.array_equal(got, clean)


def opus_of_rate_zero(path: Path) -> Path:
    """An Opus file whose field for the original rate, which is for information only, says 0."""
    data = bytearray(encode(path, "libopus", SONG, 48000).read_bytes())
    head = data.index(b"OpusHead")
    data[head + 12 : head + 16] = bytes(4)
    data[22:26] = bytes(4)
    end = 28 + 19
    crc = 0
    for byte in data[:end]:  # an Ogg page's checksum
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    data[22:26] = struct.pack("<I", crc)
    path.write_bytes(data)
    return path


def test_opus_is_48_khz_whatever_its_header_says(tmp_path: Path) -> None:
    path = opus_of_rate_zero(tmp_path / "a.opus")
    got, lines = told(path)
    assert probe(path).sample_rate == 48000 and got.shape == SONG.shape and not lines


@pytest.mark.parametrize("name", ["a.m4a", "alac.m4a", "a.flac", "a.wv", "a.mka", "a.wma"])
def test_what_ends_before_its_declared_length_is_refused(tmp_path: Path, name: str) -> None:
    codec, container, rate = COMPRESSED[name]
    data = encode(tmp_path / name, codec, song(6 * RATE), rate, container).read_bytes()
    for share in (0.3, 0.8, 0.95):
        (tmp_path / name).write_bytes(data[: position(data, share)])
        refused(tmp_path / name)


def test_damage_in_a_flac_is_told_with_its_place_and_much_of_it_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", song(20 * RATE))
    whole, _ = told(path)
    data = bytearray(path.read_bytes())
    data[position(data, 0.5)] ^= 0x10
    path.write_bytes(data)
    got, lines = told(path)
    assert len(lines) == 1 and whole.shape[1] - got.shape[1] == 4096
    assert "0.093 s" in lines[0] and 8 < float(lines[0].split("the first at ")[1].split()[0]) < 13
    data[position(data, 0.6) : position(data, 0.8)] = bytes(position(data, 0.8) - position(data, 0.6))
    path.write_bytes(data)
    assert "damaged" in refused(path)


def test_a_file_without_sound_and_one_with_two_tracks_are_told(tmp_path: Path) -> None:
    for tracks in (0, 2):
        path = tmp_path / f"{tracks}.mkv"
        with av.open(path, "w") as out:
            streams = [out.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(tracks)]
            video = out.add_stream("mpeg4", rate=25)
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
            out.mux(video.encode(None))
            for i, stream in enumerate(streams):
                frame = av.AudioFrame.from_ndarray(np.full((1, 1000), i + 1, np.int16), "s16", "mono")
                frame.sample_rate, frame.pts = RATE, 0
                out.mux(stream.encode(frame))
    assert "holds no audio" in refused(tmp_path / "0.mkv")
    got, lines = told(tmp_path / "2.mkv")
    assert np.array_equal(got, np.full((1, 1000), 2**-15)) and len(lines) == 1 and "2 audio tracks" in lines[0]


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:9,\n{}\n", "ffconcat version 1.0\nfile '{}'\n"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, text: str) -> None:
    other = write(tmp_path / "secret.mp3", SONG, format="MP3")
    path = tmp_path / "a.mp3"
    path.write_text(text.format(other))
    assert "text" in refused(path)
    path.write_bytes(b"\xff" + text.format(other).encode())
    refused(path)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "aac"), ("a.mkv", "flac"), ("a.wmv", "wmav2"), ("a.avi", "ac3")])
def test_a_video_that_is_longer_than_its_sound_is_no_cut_off_one(tmp_path: Path, name: str, codec: str) -> None:
    got, lines = told(encode(tmp_path / name, codec, SONG, pictures=150))
    assert not lines and abs(got.shape[1] - SONG.shape[1]) <= 3 * 1536
    assert probe(tmp_path / name).frames in (None, got.shape[1])
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: position(data, 0.4)])
    refused(tmp_path / name)


@pytest.mark.parametrize("rate", [8000, 11025, 16000])
def test_packets_that_last_long_are_no_gaps(tmp_path: Path, rate: int) -> None:
    for name in ("a.mkv", "a.m4a", "a.aac", "a.flv"):
        if name != "a.flv" or rate == 11025:
            got, lines = told(encode(tmp_path / name, "aac", SONG, rate))
            assert not lines and got.shape[1] >= SONG.shape[1]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.opus", "libopus"), ("a.flac", "flac"), ("a.mka", "pcm_f32le")]
)
def test_eight_channels_are_read_and_mixed_down(tmp_path: Path, name: str, codec: str) -> None:
    eight = song(RATE, 8) * 0.3
    path = encode(tmp_path / name, codec, eight, 48000 if codec == "libopus" else RATE)
    got, lines = told(path)
    assert not lines and got.shape[0] == 8
    for row, sound in zip(np.delete(got, 3, 0), np.delete(eight, 3, 0), strict=True):  # not the low-frequency one
        assert row.std() == pytest.approx(sound.std(), rel=0.5 if codec == "libopus" else 0.1)
    data = path.read_bytes()
    for brand in (b"isom", b"\xd1\x11\xfb\x9c"):  # of an m4a; the second is no text
        path.write_bytes(data.replace(b"isom", brand))
        lines = []
        with AudioReader(path, stereo=True, notice=lines.append) as reader:
            assert reader.take(10**6).shape == (2, got.shape[1]) and len(lines) == 1 and "7.1" in lines[0]


@pytest.mark.parametrize("name", ["a.w64", "a.wav", "a.mov", "a.mkv", "a.avi"])
@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_s32le", "pcm_s24le", "pcm_u8", "pcm_alaw"])
def test_bare_samples_of_every_kind_come_as_ffmpeg_wrote_them(tmp_path: Path, name: str, codec: str) -> None:
    if (name, codec) in (("a.mov", "pcm_u8"), ("a.mkv", "pcm_alaw")):
        return
    got, lines = told(encode(tmp_path / name, codec, SONG))
    step = {"pcm_s24le": 2**-23, "pcm_u8": 2**-7, "pcm_alaw": 2**-5}.get(codec, 2**-24)
    assert not lines and got.shape == SONG.shape and np.abs(got - SONG).max() <= step


@pytest.mark.parametrize("name", ["a.wv", "a.tta", "a.flac", "a.oga", "a.caf"])
def test_a_bit_that_has_changed_in_a_lossless_file_is_never_kept_quiet(tmp_path: Path, name: str) -> None:
    codec = {"a.wv": "wavpack", "a.caf": "alac", "a.tta": "tta"}.get(name, "flac")
    path = encode(tmp_path / name, codec, SONG, container="ogg" if name == "a.oga" else None)
    data, (clean, _) = path.read_bytes(), told(path)
    if name == "a.caf":  # ALAC has no checksum: bits are not told of, a missing piece is
        path.write_bytes(data[: position(data, 0.5)] + data[position(data, 0.6) :])
        refused(path)
        return
    for share in (0.2, 0.5, 0.8):
        damaged = bytearray(data)
        damaged[position(data, share)] ^= 4
        path.write_bytes(damaged)
        with suppress(AudioError):
            got, lines = told(path)
            assert len(lines) == 1 and "damaged" in lines[0] and got.shape[1] < clean.shape[1]


@pytest.mark.parametrize("name", ["a.aac", "a.ac3", "a.mp2", "a.ts", "untagged.mp3", "a.avi"])
def test_a_stream_cut_in_the_middle_of_a_frame_is_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole, _ = told(mp3(path, tag=False) if name == "untagged.mp3" else encode(path, COMPRESSED[name][0], SONG))
    data = path.read_bytes()
    for share in np.linspace(0.2, 0.9, 6):
        noticed = 0
        for size in range(position(data, share), position(data, share) + 30, 10):
            path.write_bytes(data[:size])
            try:
                got, lines = told(path)
                assert got.shape[1] <= whole.shape[1]
                noticed += len(lines) == 1 and "may be cut off" in lines[0]
            except AudioError:  # AVI has the size of all in its header
                noticed += 1
        assert noticed >= 2  # only what is cut between two frames, or just behind, looks whole
