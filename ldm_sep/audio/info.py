"""What is known of an audio file when it is opened, its limits, and the lines that say why one cannot be read."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ldm_sep.errors import AudioError
from ldm_sep.files import shown

MIN_RATE, MAX_RATE = 1_000, 768_000
MAX_CHANNELS = 64

Notice = Callable[[str], None]
FsPath = str | os.PathLike[str]


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file says of itself.

    ``sample_rate`` in Hz; ``channels`` C; ``frames``: number of samples T per channel, ``None`` where only decoding can
    tell. Of a lossy file up to 0.1 s less or more may come out. ``format``: container, ``"WAV"``, ``"FLAC"``,
    ``"MP3"``, ``"OGG"``, ``"MOV"`` (MP4 and M4A too), ... ``subtype``: sample encoding, ``"PCM_16"``, ``"FLOAT"``,
    ``"FLAC"``, ``"VORBIS"``, ``"AAC"``, ... AudioError for a rate or a number of channels out of bounds.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str

    def __post_init__(self) -> None:
        said = ""
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            said = f"{self.sample_rate} Hz, outside {MIN_RATE} to {MAX_RATE} Hz"
        elif not 1 <= self.channels <= MAX_CHANNELS:
            said = f"{self.channels} channels, not 1 to {MAX_CHANNELS}"
        if said:
            raise AudioError(f"{shown(self.path)}: declares {said}; fetch or export the file again")


def no_samples(path: Path) -> AudioError:
    """The error for a file with a header and nothing behind it."""
    return AudioError(f"{shown(path)}: holds no samples; fetch or export the file again")


def cut_off(path: Path, seconds: float, total: float) -> AudioError:
    """The error for a file of which only ``seconds`` of ``total`` are there."""
    there = f"only about {seconds:.2f} s of {total:.2f} s are there"
    return AudioError(f"{shown(path)}: is cut off, {there}; fetch the file again")


def unreadable(path: Path, said: str) -> AudioError:
    """The error for a file that no decoder takes."""
    remedy = "fetch the file again, or convert it to wav or flac"
    return AudioError(f"{shown(path)}: is damaged or in a format that cannot be read ({said}); {remedy}")
