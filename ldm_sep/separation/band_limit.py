"""Up to where the vocals of another separator reach."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_WINDOW = 2048
# Power that counts as nothing: ten times the noise of rounding to 16 bits, which is a twelfth of a step's square.
# Dither has twice that noise; the rest is for the spread of the means.
_NOTHING = 10 / 12 / 2**30
# Vocals have a limit of their own if they end below this share of the mixture's band.
_SHORTER = 0.9
# Hz. Vocals that have held nothing above this have not sung yet: no separator's band ends so low.
_LOWEST_LIMIT = 5000.0


class BandLimit:
    """Up to where the vocals of another separator reach, by what the windows of a song have held so far.

    Spleeter's end at 11 kHz, those of a model at 16 kHz at 8. Above that they say nothing, not that nobody sings.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._rate, self._channels = sample_rate, channels
        self._mixture = self._vocals = 0.0

    def update(self, wave: np.ndarray) -> float:
        """Take in the next window: ``wave (C, T)``, or ``(2 C, T)`` with the vocals below the mixture. Returns the
        frequency in Hz at which the vocals end, infinite where the mixture ends there too.
        """
        if wave.shape[0] == self._channels:
            return math.inf
        mixture, vocals = (_reach(part, self._rate) for part in np.split(wave, 2))
        self._mixture, self._vocals = max(self._mixture, mixture), max(self._vocals, vocals)
        limited = _LOWEST_LIMIT < self._vocals < _SHORTER * self._mixture
        return self._vocals if limited else math.inf


def _reach(wave: np.ndarray, sample_rate: int) -> float:
    """Hz up to which ``wave (C, T)``, T at least 2048, holds more than the noise of 16 bits; 0 if nowhere."""
    window = np.hanning(_WINDOW).astype(np.float32)
    frames = sliding_window_view(wave, _WINDOW, 1)[:, :: _WINDOW // 2]
    # A channel at a time takes half of the memory.
    power = np.mean([np.square(np.abs(np.fft.rfft(channel * window))).mean(0) for channel in frames], 0)
    held = np.flatnonzero(power > _NOTHING * np.square(window).sum())
    return float(held.max(initial=0)) * sample_rate / _WINDOW
