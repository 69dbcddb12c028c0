"""Waves and their frames."""

from collections.abc import Iterator

import numpy as np

_BLOCK_FRAMES = 128
LOWEST_RATE = 8000
_LARGEST = 1e6


def as_pcm16(wave: np.ndarray) -> np.ndarray:
    """``wave`` rounded to the grid of 16-bit samples, unclipped, float32.

    LSD has no floor for the reference: where a lossy source leaves only the rounding noise of floats (above 20 kHz,
    say), it compares two such noises, 200 dB down. Scored as the 16-bit files that references usually are, the
    comparison means something.
    """
    with np.errstate(over="ignore"):
        return (np.rint(wave * 32768.0) / 32768.0).astype(np.float32)


def mono(wave: np.ndarray) -> np.ndarray:
    """``wave (C, T)`` or ``(T,)`` averaged over its channels: float64 ``(T,)``."""
    return wave.astype(np.float64) if wave.ndim == 1 else wave.mean(0, dtype=np.float64)


def resample(wave: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """A mono wave at ``new_rate``."""
    if rate == new_rate:
        return wave
    import soxr

    return soxr.resample(wave, rate, new_rate)


def hann(n: int) -> np.ndarray:
    """The periodic Hann window of ``n`` samples."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


def centred_frames(wave: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """A view ``(frames, n_fft)`` of the frames of a mono wave centred on every ``hop``-th sample, zeros outside."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(wave, n_fft // 2), n_fft)[::hop]


def blocks(count: int) -> Iterator[slice]:
    """Slices over ``count`` frames, short enough that their spectra stay in the processor's cache."""
    return (slice(start, start + _BLOCK_FRAMES) for start in range(0, count, _BLOCK_FRAMES))


def power_spectra(wave: np.ndarray, n_fft: int, hop: int, keep: np.ndarray | None = None) -> np.ndarray:
    """Power ``(frames, n_fft // 2 + 1)`` of a mono wave: periodic Hann window, centred frames, zeros outside.

    ``keep (frames,)`` marks the frames wanted, all if None. Computed in float64, returned as float32.
    """
    frames, window = centred_frames(wave.astype(np.float64), n_fft, hop), hann(n_fft)
    wanted = np.arange(len(frames)) if keep is None else np.flatnonzero(keep)
    power = np.empty((len(wanted), n_fft // 2 + 1), np.float32)
    for block in blocks(len(wanted)):
        spectra = np.fft.rfft(frames[wanted[block]] * window, axis=1)
        power[block] = np.square(spectra.real) + np.square(spectra.imag)
    return power


def spectrogram(wave: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Magnitudes ``(frames, n_fft // 2 + 1)``, float32, of a mono wave ``(T,)``: periodic Hann window, frames centred
    on every ``hop``-th sample, zeros outside.
    """
    return np.sqrt(power_spectra(wave, n_fft, hop))


def check_wave(wave: np.ndarray, sample_rate: int) -> None:
    """ValueError for a wave that is not ``(C, T)`` or ``(T,)``, or for a rate below 8000 Hz."""
    if wave.ndim not in (1, 2):
        raise ValueError(f"a wave is (C, T) or (T,), not {wave.shape}")
    if sample_rate < LOWEST_RATE:
        raise ValueError(f"a sample rate is {LOWEST_RATE} Hz or more, not {sample_rate}")


def fault_of(wave: np.ndarray) -> str | None:
    """What makes a wave unfit to be measured, as the end of a sentence; None if nothing does."""
    if wave.size == 0:
        return "has no samples"
    # The comparison is false for NaN.
    if not np.abs(wave).max() <= _LARGEST:
        return f"has samples that are NaN, infinite or beyond {_LARGEST:.0e}"
    return None
