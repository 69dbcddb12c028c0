"""Metrics on samples. All of them on ``ref, est (C, T)`` or ``(T,)``, channels pooled.

SDR: global signal-to-distortion ratio of the Music Demixing Challenge 2021 (Mitsufuji et al., 2022).
cSDR: the same on windows, as the median that SiSEC 2018 introduced (Stöter et al., 2018).
SI-SDR: Le Roux et al., "SDR - half-baked or well done?" (2019), without mean removal.
"""

import numpy as np

from ldm_sep.metrics.records import Score
from ldm_sep.metrics.reference import Reference
from ldm_sep.metrics.signal import LOWEST_RATE, fault_of
from ldm_sep.signal.loudness import frame_power

_SDR_FLOOR = 1e-7
_SILENT_BELOW = 1e-6
_BLEED_SECONDS = 0.5
_ROUNDING = 2.0**-30 / 12


def _energies(ref: np.ndarray, est: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per sample, over the channels: energy of the reference and of the error, float64 ``(T,)``."""
    signal, error = np.zeros(ref.shape[-1]), np.zeros(ref.shape[-1])
    for r, e in zip(np.atleast_2d(ref), np.atleast_2d(est), strict=True):
        r64 = r.astype(np.float64)
        signal += np.square(r64)
        error += np.square(r64 - e)
    return signal, error


def sdr(ref: np.ndarray, est: np.ndarray) -> Score:
    """10 log10((sum s^2 + 1e-7) / (sum (s - e)^2 + 1e-7)) in dB, s the reference, e the estimate.

    A silent estimate has 0 dB, an exact one a finite value that grows with the reference's energy. ValueError if the
    shapes differ.
    """
    # The rate does not matter here.
    if reason := Reference(ref, LOWEST_RATE).undefined_on_samples(est):
        return Score(None, reason)
    signal, error = _energies(ref, est)
    return Score(float(10 * np.log10((signal.sum() + _SDR_FLOOR) / (error.sum() + _SDR_FLOOR))))


def csdr(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> Score:
    """Median in dB of `sdr` over windows of 1 s, side by side from the start; what is left over at the end is dropped.

    As in museval, windows in which the reference is digital silence do not count. Unlike there, windows in which only
    the estimate is do, with 0 dB: a system must not gain by falling silent. A track under 1 s is one window.
    ValueError if the shapes differ.
    """
    if reason := Reference(ref, sample_rate).undefined_on_samples(est):
        return Score(None, reason)
    length = min(sample_rate, ref.shape[-1])
    count = ref.shape[-1] // length
    signal, error = (e[: count * length].reshape(count, length).sum(1) for e in _energies(ref, est))
    sounding = signal > 0
    if not sounding.any():
        return Score(None, "the reference is silent in every whole second")
    ratio = (signal[sounding] + _SDR_FLOOR) / (error[sounding] + _SDR_FLOOR)
    return Score(float(np.median(10 * np.log10(ratio))))


def si_sdr(ref: np.ndarray, est: np.ndarray) -> Score:
    """10 log10(|a s|^2 / |a s - e|^2) in dB with a = <s, e> / <s, s>, over all channels together.

    Undefined for a silent or orthogonal estimate and for an exact multiple of the reference. ValueError if the shapes
    differ.
    """
    if reason := Reference(ref, LOWEST_RATE).undefined_on_samples(est):
        return Score(None, reason)
    if not est.any():
        return Score(None, "the estimate is silent")
    pairs = [
        (r.astype(np.float64), e.astype(np.float64))
        for r, e in zip(np.atleast_2d(ref), np.atleast_2d(est), strict=True)
    ]
    scale = sum(np.vdot(r, e) for r, e in pairs) / sum(np.vdot(r, r) for r, _ in pairs)
    signal = sum(np.square(scale * r).sum() for r, _ in pairs)
    error = sum(np.square(e - scale * r).sum() for r, e in pairs)
    if signal == 0:
        return Score(None, "the estimate has nothing of the reference")
    if error == 0:
        return Score(None, "the estimate is an exact multiple of the reference")
    return Score(float(10 * np.log10(signal / error)))


def bleed(ref: np.ndarray, est: np.ndarray, mixture: np.ndarray, sample_rate: int) -> Score:
    """Level of the estimate where the reference is silent, in dB relative to the mixture there (negative: quieter).

    10 log10((sum e^2 / n + q) / (sum m^2 / n + q)) over the n samples in 100 ms frames in which the reference lies
    more than 60 dB below its loudest frame and the mixture within 60 dB of its own; q = 2^-30 / 12 is the rounding
    noise of 16 bits, under which no file can go. On six lossy-coded songs the share of frames hardly changes between
    50 and 60 dB (noise floors of such references lie 60-80 dB down). Undefined if there is less than 0.5 s of such
    frames. ValueError if the shapes differ.
    """
    reference = Reference(ref, sample_rate)
    if mixture.shape != ref.shape:
        raise ValueError(f"reference {ref.shape} and mixture {mixture.shape} differ in shape")
    if reason := reference.undefined_on_samples(est):
        return Score(None, reason)
    if fault := fault_of(mixture):
        return Score(None, f"the mixture {fault}")
    length = sample_rate // 10
    r, e, m = (frame_power(wave, length) for wave in (ref, est, mixture))
    if len(r) == 0:
        return Score(None, "shorter than 0.1 s")
    silent = r < r.max() * _SILENT_BELOW
    if silent.sum() * 0.1 < _BLEED_SECONDS:
        return Score(None, f"the reference is silent for less than {_BLEED_SECONDS} s")
    silent &= m > m.max() * _SILENT_BELOW
    if silent.sum() * 0.1 < _BLEED_SECONDS:
        return Score(None, "the mixture is silent where the reference is")
    return Score(float(10 * np.log10((e[silent].mean() + _ROUNDING) / (m[silent].mean() + _ROUNDING))))
