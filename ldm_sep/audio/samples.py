"""Samples as they come: what is refused, and what is made of whole numbers and of numbers too small to hear."""

import numpy as np

from ldm_sep.errors import AudioError

# 120 dB above full scale: a damaged file, not a loud one. The MP3 encoder ends the process above it.
LOUDEST = 1e6
# -600 dBFS. Arithmetic on denormal numbers (below 1.2e-38), as fading reverbs leave them, is many times slower.
_QUIETEST = np.float32(2.0**-100)


def checked_samples(block: np.ndarray, position: int, sample_rate: int, name: str) -> np.ndarray:
    """``block``, float32 ``(C, T)``, with samples below -600 dBFS set to 0.

    Raises:
        AudioError: a sample is not finite or beyond 120 dBFS; the line gives the time of the first one, ``position``
            being that of the block's first sample.
    """
    size = np.abs(block)
    if not size.size or size.max() <= LOUDEST:
        return np.where(size < _QUIETEST, np.float32(0), block) if size.size else block
    first = int(np.argmin((size <= LOUDEST).all(axis=0)))
    value = block[:, first][~(size[:, first] <= LOUDEST)][0]
    said = f"is {value:.3g} times full scale" if np.isfinite(value) else "is not a finite number"
    seconds = (position + first) / sample_rate
    raise AudioError(f"{name}: the sample at {seconds:.6f} s {said}; export the file again from its source")


def as_wave(samples: np.ndarray) -> np.ndarray:
    """An array of samples, ``(C, T)`` or ``(T,)``, as float32 ``(C, T)``.

    Signed integers are scaled by their range to [-1, 1), and so are unsigned bytes around 128.

    Raises:
        AudioError: another shape, no samples, or another type.
    """
    array = np.atleast_2d(np.asarray(samples))
    if array.ndim != 2 or not array.size:
        raise AudioError(f"the wave has the shape {np.shape(samples)}; expected (channels, samples)")
    # Up to two rows are channels, even of a single sample.
    if array.shape[0] > 2 >= array.shape[1]:
        raise AudioError(f"the wave has the shape {array.shape}, (samples, channels); give (channels, samples): wave.T")
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    if array.dtype.kind == "i":
        return (array * 2.0 ** (1 - 8 * array.dtype.itemsize)).astype(np.float32)
    if array.dtype.kind != "f":
        raise AudioError(f"the wave holds {array.dtype} numbers; give floats, signed integers or unsigned bytes")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is refused as such
        return array.astype(np.float32)
