"""From excerpts to stimuli: anchors, fades, loudness, and nothing that clips."""

import io
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile as sf

from ldm_sep.audio import of_length, probe, read, resample
from ldm_sep.errors import DataError
from ldm_sep.files import shown

FADE_SECONDS = 0.02
# Limit of true peaks (ITU-R BS.1770 annex 2): a player's converter overshoots between the samples.
CEILING_DB = -1.0
_OVERSAMPLING = 4
_OPUS_RATE = 48000
# Passband edges of the low-pass anchors and what BS.1534-3 asks of the lower one: 25 dB down at 4 kHz, 50 at 4.5 kHz.
LOW_ANCHOR_HZ = 3500.0
MID_ANCHOR_HZ = 7000.0
_TOLERANCE_DB = 0.01
_ROUNDS = 10
_TRANSITION = 1 / 7
_STOPBAND_DB = 60.0

_Name = TypeVar("_Name", bound=Hashable)


@dataclass(frozen=True)
class Levelled:
    """A wave at its place in loudness, with the gain in dB that brought it there."""

    wave: np.ndarray
    gain_db: float


def read_excerpt(path: Path, start: float, seconds: float, sample_rate: int) -> np.ndarray:
    """``seconds`` of a file from ``start`` on, at ``sample_rate``: float32 ``(C, T)`` with exactly
    ``round(seconds * sample_rate)`` samples. What a lossy file lacks at its very end is silence. DataError for more
    than two channels.
    """
    info = probe(path)
    if info.channels > 2:
        raise DataError(f"{shown(path)}: {info.channels} channels; a study plays mono or stereo, mix it down first")
    wave, rate = read(path, start=round(start * info.sample_rate), frames=round(seconds * info.sample_rate))
    if rate != sample_rate:
        wave = resample(wave, rate, sample_rate)
    return of_length(wave, round(seconds * sample_rate))


def faded(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """``wave (C, T)`` with raised-cosine fades of 20 ms at both ends."""
    n = min(round(FADE_SECONDS * sample_rate), wave.shape[1] // 2)
    ramp = np.ones(wave.shape[1], np.float32)
    ramp[:n] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / n)
    ramp[wave.shape[1] - n :] = ramp[:n][::-1]
    return wave * ramp


def low_passed(wave: np.ndarray, sample_rate: int, edge: float) -> np.ndarray:
    """A low-pass anchor of ITU-R BS.1534-3: flat up to ``edge`` Hz, 60 dB down from ``8/7 edge`` on, linear phase and
    no delay. A wave whose rate leaves nothing to take away comes back as it is.
    """
    from scipy.signal import fftconvolve, firwin, kaiserord

    width = edge * _TRANSITION
    if edge + width >= sample_rate / 2:
        return wave
    taps, beta = kaiserord(_STOPBAND_DB, width / (sample_rate / 2))
    kernel = firwin(taps | 1, edge + width / 2, window=("kaiser", beta), fs=sample_rate)
    return fftconvolve(wave, kernel[None], mode="same", axes=1).astype(np.float32)


def through_opus(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """``wave (C, T)`` through Opus at its lowest rate (about 6 kbit/s a channel): the quality anchor."""
    data = io.BytesIO()
    sf.write(data, resample(wave, sample_rate, _OPUS_RATE).T, _OPUS_RATE, "OPUS", format="OGG", compression_level=1.0)
    data.seek(0)
    decoded = sf.read(data, dtype="float32", always_2d=True)[0].T
    return of_length(resample(np.ascontiguousarray(decoded), _OPUS_RATE, sample_rate), wave.shape[1])


def loudness(wave: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of ``wave (C, T)`` in LUFS (ITU-R BS.1770-4, gated); minus infinity for silence.

    ValueError under 0.4 s.
    """
    import pyloudnorm

    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        # A silent wave has no block above the gate, which pyloudnorm's mean warns of.
        warnings.simplefilter("ignore", RuntimeWarning)
        value = pyloudnorm.Meter(sample_rate).integrated_loudness(wave.T.astype(np.float64))
    return float(value) if np.isfinite(value) else -np.inf


def true_peak_db(wave: np.ndarray, sample_rate: int) -> float:
    """Highest sample in dB of full scale after oversampling by 4; minus infinity for silence."""
    peak = max(float(np.abs(wave).max()), float(np.abs(resample(wave, sample_rate, _OVERSAMPLING * sample_rate)).max()))
    return 20 * np.log10(peak) if peak > 0 else -np.inf


def matched(waves: Mapping[_Name, np.ndarray], sample_rate: int, target: float) -> tuple[dict[_Name, Levelled], float]:
    """All ``waves`` of a trial at one loudness: ``target`` LUFS, or less where a true peak would pass -1 dB.

    Returns the levelled waves and their common loudness. A silent wave stays as it is, with a gain of 0.
    """
    peaks = {name: true_peak_db(wave, sample_rate) for name, wave in waves.items()}
    common = target
    for _ in range(_ROUNDS):
        gains = {name: _gain_to(common, wave, peaks[name], sample_rate) for name, wave in waves.items()}
        excess = max(peaks[name] + gain - CEILING_DB for name, gain in gains.items())
        if excess <= 0:
            break
        # Slightly more than the excess, since loudness is not exactly linear in the gain.
        common -= excess + _TOLERANCE_DB
    levelled = {name: Levelled(waves[name] * np.float32(10 ** (gain / 20)), gain) for name, gain in gains.items()}
    return levelled, float(common)


def _gain_to(target: float, wave: np.ndarray, peak_db: float, sample_rate: int) -> float:
    """The gain in dB after which ``wave`` measures ``target`` LUFS; 0 for silence.

    BS.1770 passes over what lies below -70 LUFS, so a quiet wave measures otherwise than the same wave louder. It is
    measured again at its place until it stays there.
    """
    gain = -peak_db
    if not np.isfinite(peak_db) or not np.isfinite(loudness(wave * np.float32(10 ** (gain / 20)), sample_rate)):
        return 0.0
    for _ in range(_ROUNDS):
        off = target - loudness(wave * np.float32(10 ** (gain / 20)), sample_rate)
        if not np.isfinite(off) or abs(off) < _TOLERANCE_DB:
            break
        gain += off
    return float(gain)
