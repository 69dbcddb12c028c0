"""All metrics of one estimate."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from ldm_sep.metrics.distortion import bleed, csdr, sdr, si_sdr
from ldm_sep.metrics.perceptual import pesq_of, visqol_of
from ldm_sep.metrics.pitch import Pitches, log_f0_rmse_of, pitches_of, voicing_recall_of
from ldm_sep.metrics.records import DEFAULT_METRICS, Score
from ldm_sep.metrics.reference import Reference
from ldm_sep.metrics.signal import as_pcm16
from ldm_sep.metrics.spectral import air, lsd_of, mel_mae_of, mr_stft


def scorers(
    ref: np.ndarray | Reference, est: np.ndarray, sample_rate: int, mixture: np.ndarray | None = None
) -> dict[str, Callable[[], Score]]:
    """A call for each of `METRICS` by its key, so that one that fails does not cost the others.

    All score the 16-bit files that the waves would be. What several of them need is computed once, at the first call
    that needs it.

    Args:
        ref: reference ``(C, T)`` or ``(T,)``; `as_pcm16` of it is scored, as of ``est`` and ``mixture``. Or, when
            several estimates share a reference, ``Reference.pcm16(wave, sample_rate)``, whose half is then computed
            once.
        est: estimate of the same shape.
        sample_rate: Hz, of all.
        mixture: of the same shape; `bleed` and `air` are undefined without it.

    Raises:
        ValueError: shapes or rates that differ (of shapes, the calls tell), a rate below 8000 Hz.
        DependencyError: by a call that needs a package that is not installed (`check_installed` asks beforehand).
    """
    reference = ref if isinstance(ref, Reference) else Reference.pcm16(ref, sample_rate)
    if reference.sample_rate != sample_rate:
        raise ValueError(f"the reference has {reference.sample_rate} Hz, the estimate {sample_rate}")
    wave, est = reference.wave, as_pcm16(est)
    mix = None if mixture is None else as_pcm16(mixture)

    @cache
    def mel() -> tuple[Score, Score]:
        return mel_mae_of(reference, est)

    @cache
    def pitches() -> Pitches | str:
        return pitches_of(reference, est)

    return {
        "sdr": lambda: sdr(wave, est),
        "csdr": lambda: csdr(wave, est, sample_rate),
        "si_sdr": lambda: si_sdr(wave, est),
        "lsd": lambda: lsd_of(reference, est),
        "mel_mae": lambda: mel()[0],
        "mel_mae_1": lambda: mel()[1],
        "log_f0_rmse": lambda: log_f0_rmse_of(pitches()),
        "voicing_recall": lambda: voicing_recall_of(pitches()),
        "pesq": lambda: pesq_of(reference, est),
        "mr_stft": lambda: mr_stft(wave, est, sample_rate),
        "bleed": lambda: Score(None, "no mixture") if mix is None else bleed(wave, est, mix, sample_rate),
        "air": lambda: Score(None, "no mixture") if mix is None else air(wave, est, mix, sample_rate),
        "visqol": lambda: visqol_of(reference, est),
    }


def measure(
    ref: np.ndarray | Reference,
    est: np.ndarray,
    sample_rate: int,
    mixture: np.ndarray | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, Score]:
    """Scores of ``est`` by the keys in ``metrics``, in their order; waves and errors as of `scorers`.

    ValueError for an unknown key as well.
    """
    calls = scorers(ref, est, sample_rate, mixture)
    if unknown := [key for key in metrics if key not in calls]:
        raise ValueError(f"no such metric: {', '.join(unknown)}; there are: {', '.join(calls)}")
    return {key: calls[key]() for key in metrics}
