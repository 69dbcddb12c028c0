"""Triangular filters on the two mel scales in use."""

import numpy as np


def slaney_edges(top_hz: float, bands: int) -> np.ndarray:
    """The ``bands + 2`` edges in Hz of bands evenly spaced from 0 to ``top_hz``, at least 1000, on the mel scale of
    Slaney's Auditory Toolbox: linear to 1000 Hz (15 mel), then 27 mel per factor of 6.4.
    """
    per_log = 27 / np.log(6.4)
    mels = np.linspace(0, 15 + per_log * np.log(top_hz / 1000), bands + 2)
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) / per_log))


def htk_edges(top_hz: float, bands: int) -> np.ndarray:
    """The same on the scale of HTK, 2595 log10(1 + f / 700)."""
    mels = np.linspace(0, 1, bands + 2) * 2595 * np.log10(1 + top_hz / 700)
    return 700 * (10 ** (mels / 2595) - 1)


def triangles(edges: np.ndarray, hz: np.ndarray, least_width: float = 0.0) -> np.ndarray:
    """Filters ``(bands, bins)`` of height 1 that rise and fall between neighbouring ``edges (bands + 2,)`` in Hz, at
    the frequencies ``hz (bins,)``. Each reaches at least ``least_width`` Hz to both sides: with the distance of the
    bins, no narrow filter falls between two of them.
    """
    centre = edges[1:-1, None]
    low = np.minimum(edges[:-2, None], centre - least_width)
    high = np.maximum(edges[2:, None], centre + least_width)
    return np.maximum(0, np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)))
