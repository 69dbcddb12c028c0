"""How well the pitch of the reference is kept, and in how many of its frames there is one to compare.

The two belong together: the error is taken over the frames in which both have a pitch, so an estimate that has none
where it is hard to find one, such as an unprocessed mixture, has a small error and a small recall.
"""

from dataclasses import dataclass

import numpy as np

from ldm_sep.metrics.optional import load_for
from ldm_sep.metrics.records import Score
from ldm_sep.metrics.reference import Reference
from ldm_sep.metrics.signal import mono
from ldm_sep.metrics.tracker import track_pitch


@dataclass(frozen=True, eq=False)
class Pitches:
    """Fundamental frequencies in Hz ``(frames,)`` of a reference and an estimate, NaN where there is none."""

    ref: np.ndarray
    est: np.ndarray


def pitches_of(reference: Reference, est: np.ndarray) -> Pitches | str:
    """The pitch where the reference has one, or the reason why there is nothing to compare.

    ``DependencyError`` without librosa.
    """
    if reason := reference.undefined_on_frames(est):
        return reason
    if not reference.pitch:
        return "the reference has no pitch that pYIN finds"
    f_ref = np.concatenate([stretch.f0 for stretch in reference.pitch])
    if not est.any():
        return Pitches(f_ref, np.full_like(f_ref, np.nan))
    stretches = [(stretch.start, stretch.stop) for stretch in reference.pitch]
    tracked = track_pitch(mono(est), reference.sample_rate, stretches)
    return Pitches(f_ref, np.concatenate([stretch.f0 for stretch in tracked]))


def log_f0_rmse(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> Score:
    """sqrt(mean (ln f_est - ln f_ref)^2) over the frames in which pYIN finds a pitch in both (mono sums, 65-1047 Hz).

    ``ref, est (C, T)`` or ``(T,)``. ValueError if the shapes differ, ``DependencyError`` without librosa.
    """
    return log_f0_rmse_of(pitches_of(Reference(ref, sample_rate), est))


def log_f0_rmse_of(pitches: Pitches | str) -> Score:
    """`log_f0_rmse` of kept pitches."""
    if isinstance(pitches, str):
        return Score(None, pitches)
    both = np.isfinite(pitches.ref) & np.isfinite(pitches.est)
    if not both.any():
        return Score(None, "the estimate has no pitch that pYIN finds where the reference has one")
    return Score(float(np.sqrt(np.mean(np.square(np.log(pitches.est[both] / pitches.ref[both]))))))


def voicing_recall(ref: np.ndarray, est: np.ndarray, sample_rate: int) -> Score:
    """Share of the frames with a pitch in the reference in which the estimate has one too, as pYIN finds them.

    As in melody extraction (Salamon et al., 2014), by `mir_eval.melody.voicing_recall`; 0 for a silent estimate.
    ``ref, est (C, T)`` or ``(T,)``. ValueError if the shapes differ, ``DependencyError`` without librosa or mir_eval.
    """
    return voicing_recall_of(pitches_of(Reference(ref, sample_rate), est))


def voicing_recall_of(pitches: Pitches | str) -> Score:
    """`voicing_recall` of kept pitches."""
    melody = load_for("voicing_recall", "mir_eval").melody
    if isinstance(pitches, str):
        return Score(None, pitches)
    return Score(float(melody.voicing_recall(np.isfinite(pitches.ref), np.isfinite(pitches.est))))
