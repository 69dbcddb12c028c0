"""Separation metrics on numpy arrays ``ref, est (C, T)`` or ``(T,)``; undefined is None, never a number.

SI-SDR: Le Roux et al., "SDR - half-baked or well done?" (2019), without mean removal.
SDR: 10 log10((sum s^2 + 1e-7) / (sum e^2 + 1e-7)) over the whole signal, as in the Music Demixing Challenge 2021.
LSD: mean over frames of sqrt(mean over bins of log10(R^2 / (E^2 + 1e-12))^2) on magnitudes R, E of the mono sum,
frames of 2048 / 44100 s every 10 ms; only frames in which the reference sounds.
"""

import numpy as np

_LSD_FLOOR = 1e-12
_SDR_FLOOR = 1e-7
# A frame sounds if it lies within 40 dB of the reference's loudest one.
_ACTIVE_RANGE_DB = 40.0


def as_pcm16(wave: np.ndarray) -> np.ndarray:
    """``wave`` rounded to the grid of 16-bit samples, unclipped.

    LSD has no floor for the reference: where a lossy source leaves only the rounding noise of floats (above 20 kHz,
    say), it compares two such noises, 200 dB down. Scored as the 16-bit files that references usually are, the
    comparison means something.
    """
    return (np.rint(wave * 32768.0) / 32768.0).astype(np.float32)


def _check(ref: np.ndarray, est: np.ndarray) -> None:
    if ref.shape != est.shape:
        raise ValueError(f"reference {ref.shape} and estimate {est.shape} differ in shape")


def sdr(ref: np.ndarray, est: np.ndarray) -> float:
    """Global signal-to-distortion ratio in dB. ValueError if the shapes differ."""
    _check(ref, est)
    ref64, est64 = ref.astype(np.float64), est.astype(np.float64)
    error = np.square(ref64 - est64).sum()
    return float(10 * np.log10((np.square(ref64).sum() + _SDR_FLOOR) / (error + _SDR_FLOOR)))


def si_sdr(ref: np.ndarray, est: np.ndarray) -> float | None:
    """Scale-invariant SDR in dB over all channels together; None if either is silent or the match is exact."""
    _check(ref, est)
    ref64, est64 = ref.astype(np.float64), est.astype(np.float64)
    power = np.square(ref64).sum()
    if power == 0:
        return None
    target = (ref64 * est64).sum() / power * ref64
    signal, error = np.square(target).sum(), np.square(est64 - target).sum()
    if signal == 0 or error == 0:
        return None
    return float(10 * np.log10(signal / error))


def spectrogram(wave: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Magnitudes ``(frames, n_fft // 2 + 1)`` of a mono wave: periodic Hann window, centred frames, zeros outside."""
    padded = np.pad(wave.astype(np.float64), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    return np.abs(np.fft.rfft(frames * window, axis=1))


def _mono(wave: np.ndarray) -> np.ndarray:
    return wave if wave.ndim == 1 else wave.mean(0)


def lsd(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> float | None:
    """Log-spectral distance over the frames in which ``ref`` sounds; None if it never does."""
    _check(ref, est)
    n_fft, hop = int(2048 * sample_rate / 44100), int(sample_rate / 100)
    r, e = spectrogram(_mono(ref), n_fft, hop), spectrogram(_mono(est), n_fft, hop)
    power = np.square(r).sum(1)
    if power.max() == 0:
        return None
    active = power > power.max() * 10 ** (-_ACTIVE_RANGE_DB / 10)
    ratio = np.log10((np.square(r[active]) + _LSD_FLOOR**2) / (np.square(e[active]) + _LSD_FLOOR))
    return float(np.sqrt(np.square(ratio).mean(1)).mean())
