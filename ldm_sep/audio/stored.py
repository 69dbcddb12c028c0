"""Sample types of the files that are written, and how large these become."""

from typing import Literal

Subtype = Literal["float", "int24", "int16"]

# The first is the default.
SUBTYPES: dict[str, tuple[Subtype, ...]] = {
    ".wav": ("float", "int24", "int16"),
    ".flac": ("int24", "int16"),
    ".mp3": ("float", "int24", "int16"),
}


def default_subtype(suffix: str) -> Subtype:
    """What `AudioWriter` stores in a ``wav``, ``flac`` or ``mp3`` that is asked for no ``subtype``."""
    return SUBTYPES[f".{suffix}"][0]


def expected_bytes(frames: int, channels: int, sample_rate: int, suffix: str, subtype: Subtype | None = None) -> int:
    """About how many bytes a file takes: exact for WAV, half of that for FLAC, 320 kbit/s for MP3."""
    if suffix == "mp3":
        return frames * 40_000 // sample_rate
    wide = {"float": 4, "int24": 3, "int16": 2}[subtype or default_subtype(suffix)]
    return frames * channels * wide // (2 if suffix == "flac" else 1)
