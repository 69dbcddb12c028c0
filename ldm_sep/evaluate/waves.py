"""The files of a track, read so that they can be compared sample by sample."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldm_sep.audio import AudioReader
from ldm_sep.audio.resample import LENGTH_TOLERANCE
from ldm_sep.errors import AudioError

# Higher peaks mean floats on the scale of integers, which rounding to 16 bits would clip throughout.
_HIGHEST_PEAK = 100.0


@dataclass(frozen=True)
class Wave:
    """A whole file: ``samples (C, T)`` at ``rate`` Hz."""

    path: Path
    samples: np.ndarray
    rate: int


def read_wave(path: Path, like: Wave | None = None) -> Wave:
    """A whole file.

    AudioError if it cannot be read or is out of scale, if its rate or channels are not those of ``like``, or if the
    lengths differ by more than `LENGTH_TOLERANCE` samples.
    """
    with AudioReader(path) as reader:
        info = reader.info
        if like is not None:
            _compare(path, "Hz", info.sample_rate, like, like.rate, "resample it to the rate of the reference")
            _compare(path, "channels", info.channels, like, like.samples.shape[0], "export it with as many channels")
        samples = reader.take(2**62)
    peak = float(np.abs(samples).max(initial=0))
    if peak > _HIGHEST_PEAK:
        raise AudioError(f"{path}: samples of up to {peak:.3g}, where full scale is 1; export it again")
    if not samples.shape[1]:
        raise AudioError(f"{path}: holds no samples; fetch or export the file again")
    if like is not None:
        found, wanted = samples.shape[1], like.samples.shape[1]
        if abs(found - wanted) > LENGTH_TOLERANCE:
            raise AudioError(
                f"{path}: {found} samples per channel ({found / info.sample_rate:.3f} s), but "
                f"{like.path} has {wanted} ({wanted / like.rate:.3f} s); export it over the whole length, "
                "lossless if a lossy format changed it"
            )
    return Wave(path, samples, info.sample_rate)


def _compare(path: Path, unit: str, value: int, like: Wave, wanted: int, remedy: str) -> None:
    if value != wanted:
        raise AudioError(f"{path}: {value} {unit}, but {like.path} has {wanted}; {remedy}")
