"""How loud waves are: root mean square, level in dB, silence, and where a wave is loudest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    # The functions on arrays serve the metrics, which need no torch.
    from torch import Tensor

# -100 dBFS. What never reaches it is below the rounding noise of 16 bits.
SILENT_PEAK = 1e-5
# -120 dBFS, which keeps the level of digital silence finite.
_LEAST_POWER = 1e-12


def rms(wave: Tensor) -> Tensor:
    """Root mean square (B,) over channels and samples of ``wave (B, C, T)``; of all channels, so anti-phase counts."""
    return wave.square().mean((1, 2)).sqrt()


def is_silent(wave: np.ndarray) -> bool:
    """Whether every sample of ``wave (C, T)`` lies below -100 dBFS, as those of an empty wave do."""
    return bool(np.abs(wave).max(initial=0) < SILENT_PEAK)


def level_db(wave: np.ndarray) -> float:
    """Mean square of ``wave (C, T)`` in dB under full scale, 10 log10(mean w^2 + 1e-12): -120 for digital silence."""
    return power_db(float(np.square(wave, dtype=np.float64).mean()))


def power_db(power: float) -> float:
    """10 log10(power + 1e-12): a mean square in dB under full scale."""
    return float(10 * np.log10(power + _LEAST_POWER))


def frame_power(wave: np.ndarray, length: int) -> np.ndarray:
    """Mean square ``(frames,)`` over channels and samples of frames of ``length`` samples, side by side.

    ``wave (C, T)`` or ``(T,)``; what is left over at the end is dropped.
    """
    count = wave.shape[-1] // length
    channels = np.atleast_2d(wave)
    power = sum(np.square(channel, dtype=np.float64) for channel in channels) / len(channels)
    return power[: count * length].reshape(count, length).mean(1)


def loudest_window(wave: np.ndarray, length: int, step: int = 1) -> int:
    """First sample of the ``length`` samples of ``wave (C, T)`` that hold the most energy.

    Windows at every ``step``-th sample and the one at the end compete; 0 if the wave is no longer than one.
    """
    total = wave.shape[1]
    if total <= length:
        return 0
    energy = np.zeros(total + 1)
    for channel in wave:
        energy[1:] += np.square(channel, dtype=np.float64)
    np.cumsum(energy, out=energy)
    starts = np.append(np.arange(0, total - length, step), total - length)
    return int(starts[np.argmax(energy[starts + length] - energy[starts])])
