"""Distances between magnitude spectra.

Each metric is a pair of functions: ``lsd(ref, est, sample_rate)`` on waves ``(C, T)`` or ``(T,)``, and the same with
``_of`` on a `Reference`, which keeps its half of the work for the next estimate. All raise ValueError if the shapes
differ, and are undefined under 0.25 s, for a silent estimate and for what else makes a wave unfit.
"""

import numpy as np

from ldm_sep.metrics.records import Score
from ldm_sep.metrics.reference import Reference
from ldm_sep.metrics.signal import blocks, fault_of, hann, mono

_LSD_FLOOR = 1e-12
_MEL_FLOOR = 1e-10
_MEL_DEPTH_DB = 80.0
# auraloss 0.4, MultiResolutionSTFTLoss(): FFT length, hop, window length; the least power.
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
_MR_STFT_FLOOR = 1e-8
_AIR_HZ = 5000.0
_SILENT_THERE = "the estimate is silent where the reference sounds"
_TOO_SHORT = "no frame of a mel spectrum is active: too little of the reference sounds"


def lsd(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> Score:
    """Log-spectral distance over the active frames (`active_frames`).

    Mean over frames of sqrt(mean over bins of log10(R^2 / (E^2 + 1e-12) + 1e-12)^2), R and E the magnitudes of the
    mono sums: periodic Hann frames of 2048 / 44100 s, centred, every 10 ms.
    """
    return lsd_of(Reference(ref, sample_rate), est)


def lsd_of(reference: Reference, est: np.ndarray) -> Score:
    """`lsd` of a kept reference."""
    if reason := reference.undefined(est):
        return Score(None, reason)
    e = reference.lsd_power_of(mono(est))
    if not e.any():
        return Score(None, _SILENT_THERE)
    distance = np.square(np.log10(reference.lsd_power / (e + _LSD_FLOOR) + _LSD_FLOOR))
    return Score(float(np.sqrt(distance.mean(1, dtype=np.float64)).mean()))


def air(ref: np.ndarray, est: np.ndarray, mixture: np.ndarray, sample_rate: int) -> Score:
    """Level of the estimate above 5 kHz relative to the reference's there, in dB, while the rest of the mixture sounds.

    10 log10(sum E^2 / sum R^2) over the bins from 5 kHz on and the active frames (`active_frames`) of mixture - ref; of
    the mono sums, frames as of `lsd`. Below 0 something of the stem was lost to the other, above 0 there is too much.
    Undefined where nothing else sounds, the estimate is silent, or the reference has nothing up there. ValueError if
    the shapes differ.
    """
    reference = Reference(ref, sample_rate)
    if mixture.shape != ref.shape:
        raise ValueError(f"reference {ref.shape} and mixture {mixture.shape} differ in shape")
    if reason := reference.undefined(est):
        return Score(None, reason)
    if fault := fault_of(mixture):
        return Score(None, f"the mixture {fault}")
    rest = Reference(mixture - ref, sample_rate)
    if rest.fault or not rest.active.mask.any():
        return Score(None, "nothing else sounds in the mixture")
    r, e = (rest.lsd_power_of(mono(wave)) for wave in (ref, est))
    first = int(np.ceil(_AIR_HZ / (sample_rate / 2) * (r.shape[1] - 1)))
    heard, wanted = (float(power[:, first:].sum(dtype=np.float64)) for power in (e, r))
    if not wanted:
        return Score(None, "the reference has nothing above 5 kHz while the rest sounds")
    return Score(10 * float(np.log10((heard + _LSD_FLOOR) / (wanted + _LSD_FLOOR))))


def mel_mae(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> Score:
    """Mean absolute difference in dB of mel spectra over the active frames, each in dB under its own maximum there.

    Mono sum, power in 80 Slaney bands, frames of 2048 every 512 samples; values more than 80 dB under the maximum
    count as 80 dB under it. Blind to gain.
    """
    return mel_mae_of(Reference(ref, sample_rate), est)[0]


def mel_mae_1(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> Score:
    """As `mel_mae`, but in dB under 1, so that the level counts."""
    return mel_mae_of(Reference(ref, sample_rate), est)[1]


def mel_mae_of(reference: Reference, est: np.ndarray) -> tuple[Score, Score]:
    """`mel_mae` and `mel_mae_1` of a kept reference."""
    if reason := reference.undefined(est):
        return Score(None, reason), Score(None, reason)
    e = reference.mel_power_of(mono(est))
    if not e.size:
        return Score(None, _TOO_SHORT), Score(None, _TOO_SHORT)
    if not e.any():
        return Score(None, _SILENT_THERE), Score(None, _SILENT_THERE)
    r_db, e_db = _decibels(reference.mel_power), _decibels(e)
    under_own = np.abs((r_db - r_db.max()) - (e_db - e_db.max()))
    under_one = np.abs(r_db - e_db)
    return Score(float(under_own.mean(dtype=np.float64))), Score(float(under_one.mean(dtype=np.float64)))


def _decibels(power: np.ndarray) -> np.ndarray:
    db = 10 * np.log10(np.maximum(power, _MEL_FLOOR))
    return np.maximum(db, db.max() - _MEL_DEPTH_DB)


def mr_stft(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> Score:
    """Multi-resolution STFT distance (Yamamoto et al., arXiv 1910.11480) over the whole track, channels pooled.

    Mean over the resolutions of |R - E|_F / |R|_F + mean |ln R - ln E| with magnitudes R, E of at least 1e-4, as
    `MultiResolutionSTFTLoss` of auraloss with its defaults, in float32 as there. Sizes are in samples at any rate.
    """
    if reason := Reference(ref, sample_rate).undefined(est):
        return Score(None, reason)
    distances = [_stft_distance(np.atleast_2d(ref), np.atleast_2d(est), *sizes) for sizes in RESOLUTIONS]
    return Score(float(np.mean(distances)))


def _stft_distance(ref: np.ndarray, est: np.ndarray, n_fft: int, hop: int, window_length: int) -> float:
    """Spectral convergence plus log-magnitude distance of ``ref, est (C, T)`` at one resolution."""
    window = hann(window_length).astype(np.float32)
    error = energy = log_distance = 0.0
    count = 0
    for waves in zip(ref, est, strict=True):
        r_frames, e_frames = (_mirrored_frames(wave, n_fft, hop, window_length) for wave in waves)
        for block in blocks(len(r_frames)):
            r, e = (_floored_power(frames[block] * window, n_fft) for frames in (r_frames, e_frames))
            log_distance += 0.5 * float(np.abs(np.log(r / e)).sum())
            energy += float(r.sum())
            error += float(np.square(np.sqrt(r) - np.sqrt(e)).sum())
            count += r.size
    return float(np.sqrt(error / energy)) + log_distance / count


def _mirrored_frames(wave: np.ndarray, n_fft: int, hop: int, window_length: int) -> np.ndarray:
    """A view ``(frames, window_length)``, float32: what a window sees of centred frames, the wave mirrored at its ends.

    The zeros that fill a frame up to ``n_fft`` may all follow it: where they stand changes phases only.
    """
    padded = np.pad(wave.astype(np.float32), n_fft // 2, mode="reflect")
    lead = (n_fft - window_length) // 2
    return np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop, lead : lead + window_length]


def _floored_power(frames: np.ndarray, n_fft: int) -> np.ndarray:
    spectra = np.fft.rfft(frames, n_fft, axis=1)
    return np.maximum(np.square(spectra.real) + np.square(spectra.imag), np.float32(_MR_STFT_FLOOR))
