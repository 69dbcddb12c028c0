"""Samples as they come: what is refused, and what is made of whole numbers and of numbers too small to hear."""

import numpy as np

from ldm_sep.errors import AudioError

# 120 dB above full scale: a damaged file, not a loud one. The MP3 encoder ends the process above it.
LOUDEST = 1e6
# -600 dBFS. Arithmetic on denormal numbers (below 1.2e-38), as fading reverbs leave them, is many times slower.
_QUIETEST = np.float32(2.0**-100)


def checked_samples(block: np.ndarray, position: int, sample_rate: int, name: str) -> np.ndarray:
    """``block``, float32 ``(C, T)``, with samples below -600 dBFS set to 0; AudioError as `require_below` has it."""
    require_below(
        block, LOUDEST, position / sample_rate, sample_rate, f"{name}:", "export the file again from its source"
    )
    return np.where(np.abs(block) < _QUIETEST, np.float32(0), block)


def require_below(block: np.ndarray, limit: float, seconds: float, rate: int, beginning: str, remedy: str) -> None:
    """AudioError if a sample of ``block (C, T)``, which begins at ``seconds``, is not finite or beyond ``limit``."""
    fine = (np.abs(block) <= limit).all(axis=0)
    if fine.all():
        return
    first = int(np.argmin(fine))
    value = max(np.abs(block[:, first]), key=lambda size: not size <= limit)
    said = f"is {value:.3g} times full scale" if np.isfinite(value) else "is not a finite number"
    raise AudioError(f"{beginning} the sample at {seconds + first / rate:.6f} s {said}; {remedy}")


def scaled(array: np.ndarray) -> np.ndarray:
    """Float32, signed integers scaled by their range to [-1, 1), and so unsigned bytes around 128."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is refused as such
            return np.ascontiguousarray(array, np.float32)
    if array.dtype == np.uint8:
        array = array.astype(np.int8) ^ np.int8(-128)
    return np.ascontiguousarray(array, np.float32) * np.float32(2.0 ** (1 - 8 * array.dtype.itemsize))


def as_wave(samples: np.ndarray) -> np.ndarray:
    """An array of samples, ``(C, T)`` or ``(T,)``, as float32 ``(C, T)``; whole numbers `scaled`.

    AudioError for another shape, no samples, or another type.
    """
    array = np.atleast_2d(np.asarray(samples))
    if array.ndim != 2 or not array.size:
        raise AudioError(f"the wave has the shape {np.shape(samples)}; expected (channels, samples)")
    # Up to two rows are channels, even of a single sample.
    if array.shape[0] > 2 >= array.shape[1]:
        raise AudioError(f"the wave has the shape {array.shape}, (samples, channels); give (channels, samples): wave.T")
    if array.dtype.kind not in "fi" and array.dtype != np.uint8:
        raise AudioError(f"the wave holds {array.dtype} numbers; give floats, signed integers or unsigned bytes")
    return scaled(array)
