"""What is heard and downloaded: short pieces for the player, whole files, and blends of both stems."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile as sf

from ldm_sep.audio import AudioReader, AudioWriter, StreamResampler, probe, read
from ldm_sep.separation.naming import STEMS, Stem

# A piece is decoded by a browser in a moment, is some 400 kB at most, and two of them are enough to play on.
PIECE_SECONDS = 5
# Stems may pass full scale where the song does not. Pieces are stored at half of their level.
PIECE_GAIN = 0.5
FORMATS = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}
_BLOCK = 1 << 16
_FLAC_RATES = 65_535
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def piece(sound: Path, index: int) -> tuple[bytes, str] | None:
    """Seconds ``5 index`` to ``5 index + 5`` of a WAV file and their media type; None behind the end.

    Whole files of a few seconds, cut at samples, which a player puts on its own clock one after the other. Lossless, so
    that both stems can be added: an encoder's delay would be a gap at every cut. 16 bit at half the level.
    """
    info = probe(sound)
    start = index * PIECE_SECONDS * info.sample_rate
    if start >= (info.frames or 0):
        return None
    wave, rate = read(sound, start=start, frames=PIECE_SECONDS * info.sample_rate)
    kind = "FLAC" if rate <= _FLAC_RATES else "WAV"
    out = BytesIO()
    sf.write(out, np.clip(PIECE_GAIN * wave.T, -1, 1), rate, "PCM_16", format=kind)
    return out.getvalue(), FORMATS[kind.lower()]


def make_file(sounds: dict[Path, float], target: Path) -> None:
    """Write ``target``, wav, flac or mp3, once: the sum of ``sounds``, each times its gain. They have equal lengths.

    It appears whole. mp3 knows few sample rates; others become 44.1 or 48 kHz. AudioError, OSError.
    """
    if target.exists():
        return
    with ExitStack() as stack:
        readers = [(stack.enter_context(AudioReader(path)), np.float32(gain)) for path, gain in sounds.items()]
        info = readers[0][0].info
        rate = info.sample_rate
        if target.suffix == ".mp3" and rate not in _MP3_RATES:
            rate = 44100 if rate % 11025 == 0 else 48000
        resampler = StreamResampler(info.sample_rate, rate, info.channels)
        writer = stack.enter_context(AudioWriter(target, rate, info.channels))
        for block in _sums(readers):
            writer.write(resampler.push(block))
        writer.write(resampler.flush())


def _sums(readers: list[tuple[AudioReader, np.float32]]) -> Iterator[np.ndarray]:
    blocks = [reader.blocks(_BLOCK) for reader, _ in readers]
    for parts in zip(*blocks, strict=True):
        yield sum(part * gain for part, (_, gain) in zip(parts, readers, strict=True))


def blend_name(gains: Mapping[Stem, float], suffix: str) -> str:
    """The name of the file of a blend; equal gains, to a thousandth, are one file."""
    return "blend-" + "-".join(f"{round(1000 * gains[stem])}" for stem in STEMS) + f".{suffix}"
