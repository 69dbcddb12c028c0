"""The two stems of a mixture, which sum to it: exactly where its samples are of up to 24 bits, else up to rounding."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# The grid of 24-bit samples. Vocals on it leave a remainder that is exact wherever the mixture is on it too.
_GRID = 2.0**23


@dataclass(frozen=True)
class Stems:
    """``vocals`` and ``instrumental``, float32 (C, T) at the input's rate, length and channels. They sum to the input,
    exactly where its samples are on the 24-bit grid, else up to float32's rounding.

    Of a post-filter (`Options.post_filter`) only the vocals know: the instrumental is what is left of the input beside
    the vocals without it, and the two do not sum to it.
    """

    vocals: np.ndarray
    instrumental: np.ndarray


def split(vocals: np.ndarray, waiting: deque[np.ndarray]) -> Iterator[Stems]:
    """Pair ``vocals (C, T)`` with the mixture samples they belong to, taken off the front of ``waiting``.

    ``vocals (2 C, T)``: the upper half is given, the lower half taken off the mixture.
    """
    offset = 0
    while offset < vocals.shape[1]:
        mixture = waiting.popleft()
        n = min(mixture.shape[1], vocals.shape[1] - offset)
        if n < mixture.shape[1]:
            waiting.appendleft(mixture[:, n:])
        voice = np.rint(vocals[:, offset : offset + n].astype(np.float64) * _GRID) / _GRID
        voice = voice.astype(np.float32)
        channels = len(mixture)
        yield Stems(voice[:channels], mixture[:, :n] - voice[-channels:])
        offset += n
