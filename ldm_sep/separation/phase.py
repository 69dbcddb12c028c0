"""Stereo whose right channel is the wrong way round, as a swapped cable or a plug-in leaves it."""

import numpy as np

# Far enough below 0 that wide accompaniment alone turns no window, and near enough to it that such accompaniment does
# not hide an inverted channel.
_AGAINST = -0.3


def in_phase(wave: np.ndarray) -> np.ndarray:
    """The signs ``(C, 1)`` of 1 and -1 by which the channels of ``wave (C, L)`` run with each other.

    The right channel is turned where its correlation with the left is below -0.3: models know voices as what both
    channels share. The product with the signs is its own inverse, bit by bit.
    """
    signs = np.ones((wave.shape[0], 1), np.float32)
    if wave.shape[0] == 2:
        left, right = wave.astype(np.float64)
        if left @ right < _AGAINST * np.sqrt((left @ left) * (right @ right)):
            signs[1] = -1
    return signs
