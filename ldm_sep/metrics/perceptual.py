"""Models of listeners, heard in mono on segments of 10 s, the length that both are made for; the score is their mean.

A segment counts if a tenth of it or more is active (`active_frames`). The last one ends with the track and so overlaps
the one before it; a track under 10 s is one segment. Where an estimate is digital silence through a whole segment that
counts, neither model has a number, and so neither has the track: to leave the segment out would reward silence.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np

from ldm_sep.metrics.optional import load_for
from ldm_sep.metrics.records import Score
from ldm_sep.metrics.reference import Reference
from ldm_sep.metrics.signal import mono, resample

_SEGMENT_S = 10
_ACTIVE_SHARE = 0.1
_PESQ_RATE = 16000
_VISQOL_RATE = 48000
_VISQOL_SHORTEST_S = 1.0
# Half a step of 16 bits. A segment below it was silence before it was resampled.
_SILENT_PEAK = 2.0**-16


def pesq(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> Score:
    """ITU-T P.862.2 (wide-band PESQ, MOS-LQO) at 16 kHz, reference first, by the package ``pesq``.

    Blind to gain and polarity; 4.644 for identical signals. ``ref, est (C, T)`` or ``(T,)``, 0.25 s or more. Segments
    of 10 s keep the model's C code within its 50 utterances. ValueError if the shapes differ, ``DependencyError``
    without the package.
    """
    return pesq_of(Reference(ref, sample_rate), est)


def pesq_of(reference: Reference, est: np.ndarray) -> Score:
    """`pesq` of a kept reference."""
    if reason := reference.undefined(est):
        return Score(None, reason)
    return _mean_over_segments(reference, est, _PESQ_RATE, partial(_pesq_segment, load_for("pesq", "pesq")))


def _pesq_segment(package: ModuleType, ref: np.ndarray, est: np.ndarray) -> float | None:
    try:
        return float(package.pesq(_PESQ_RATE, ref, est, "wb"))
    except (package.NoUtterancesError, ValueError):
        # PESQ finds no utterance that is long enough, or computes a NaN in a nearly silent reference.
        return None


def visqol(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> Score:
    """ViSQOL v3 in audio mode at 48 kHz (Chinen et al., arXiv 2004.09584), MOS-LQO, by the package ``visqol-python``.

    ``ref, est (C, T)`` or ``(T,)``, 1 s or more. ValueError if the shapes differ, ``DependencyError`` without the
    package.
    """
    return visqol_of(Reference(ref, sample_rate), est)


def visqol_of(reference: Reference, est: np.ndarray) -> Score:
    """`visqol` of a kept reference."""
    if reason := reference.undefined(est):
        return Score(None, reason)
    if est.shape[-1] < _VISQOL_SHORTEST_S * reference.sample_rate:
        return Score(None, f"shorter than {_VISQOL_SHORTEST_S:.0f} s")
    model = load_for("visqol", "visqol").VisqolApi()
    model.create(mode="audio")
    return _mean_over_segments(
        reference, est, _VISQOL_RATE, lambda r, e: float(model.measure_from_arrays(r, e, _VISQOL_RATE).moslqo)
    )


def _mean_over_segments(
    reference: Reference, est: np.ndarray, rate: int, model: Callable[[np.ndarray, np.ndarray], float | None]
) -> Score:
    """The mean of ``model(ref, est)``, where it is not None, over the segments that count, in mono at ``rate``."""
    r_wave, e_wave = (resample(wave, reference.sample_rate, rate) for wave in (reference.mono, mono(est)))
    values = []
    for start, stop in _segments(len(r_wave), _SEGMENT_S * rate):
        centres = np.arange(start, stop, rate // 100) * (reference.sample_rate / rate)
        r, e = r_wave[start:stop], e_wave[start:stop]
        if reference.active.at(centres).mean() < _ACTIVE_SHARE or np.abs(r).max() < _SILENT_PEAK:
            continue
        if np.abs(e).max() < _SILENT_PEAK:
            return Score(None, f"the estimate is silent from {start / rate:.0f} to {stop / rate:.0f} s")
        values.append(model(r, e))
    heard = [value for value in values if value is not None]
    if not heard:
        return Score(None, "no segment in which the model hears the reference")
    return Score(float(np.mean(heard)))


def _segments(length: int, longest: int) -> list[tuple[int, int]]:
    if length <= longest:
        return [(0, length)]
    starts = list(range(0, length - longest + 1, longest))
    if starts[-1] + longest < length:
        starts.append(length - longest)
    return [(start, start + longest) for start in starts]
