"""Intervals and tests over tracks. A track is the unit everywhere: its frames are not independent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Aggregate = Literal["mean", "median"]

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 0
# With five pairs the smallest two-sided p of the test is 2 / 2^5 = 0.06: it could never say anything.
MIN_PAIRS = 6
# Values drawn at a time, so that thousands of tracks do not need gigabytes.
_DRAWN = 2_000_000


@dataclass(frozen=True)
class Interval:
    """Lower and upper end of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """First minus second over ``n`` pairs: the mean difference with its bootstrap interval, the p-value of the
    Wilcoxon signed-rank test (two-sided), and ``p_holm``, corrected for the other pairs of the metric. What cannot be
    had is None, with a ``reason``.
    """

    n: int
    difference: float | None
    interval: Interval | None
    p: float | None
    p_holm: float | None
    reason: str | None


def aggregate_of(metric: str) -> Aggregate:
    """How the field sums a metric up over tracks: cSDR by the median (of the tracks' medians), all else by the mean."""
    return "median" if metric == "csdr" else "mean"


def bootstrap_interval(values: Sequence[float] | np.ndarray, aggregate: Aggregate = "mean") -> Interval | None:
    """The 95 % percentile bootstrap interval of the mean or median (Efron & Tibshirani 1993, section 13.3).

    10,000 resamples of the values, with a fixed seed: the same values give the same interval. None for fewer than two
    values. ValueError for a value that is not finite.
    """
    x = np.asarray(values, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("values must be finite")
    if len(x) < 2:
        return None
    rng = np.random.default_rng(SEED)
    function = np.mean if aggregate == "mean" else np.median
    at_once = max(1, _DRAWN // len(x))
    parts = []
    for first in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - first)
        parts.append(function(x[rng.integers(0, len(x), (count, len(x)))], axis=1))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.concatenate(parts), [tail, 100 - tail])
    return Interval(float(low), float(high))


def paired_test(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> PairedTest:
    """Wilcoxon's signed-rank test of ``first`` against ``second``, value by value; ``p_holm`` is left None.

    ValueError where the lengths differ.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"pairs are needed, got {a.shape} and {b.shape} values")
    if not len(a):
        return PairedTest(0, None, None, None, None, "no track has a value for both systems")
    difference = a - b
    mean, interval = float(difference.mean()), bootstrap_interval(difference)
    different = int(np.count_nonzero(difference))
    if different < MIN_PAIRS:
        what = f"only {different} pairs differ" if len(a) >= MIN_PAIRS else f"only {len(a)} pairs"
        return PairedTest(len(a), mean, interval, None, None, f"{what}, the test needs {MIN_PAIRS}")
    from scipy.stats import wilcoxon

    return PairedTest(len(a), mean, interval, float(wilcoxon(difference).pvalue), None, None)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (1979) of the values that are not None, in their order."""
    given = [(p, i) for i, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(sorted(given)):
        highest = max(highest, min(1.0, (len(given) - rank) * p))
        corrected[i] = highest
    return corrected
