"""A/B choices: strengths of systems after Bradley & Terry (1952), with intervals over listeners and items."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ldm_sep.statistics import holm
from ldm_sep.study.ratings import Choice
from ldm_sep.study.two_way import Bounds, resampled_counts, two_way_bounds

RESAMPLES = 2000
_ITERATIONS = 500
_TOLERANCE = 1e-8
# Half a win each way for every pair that was heard, so that a system that always wins keeps a finite strength.
_PRIOR = 0.5


@dataclass(frozen=True)
class Strength:
    """Of a system, in natural logarithms of the odds to win, relative to the mean of all; ``wins`` of ``n`` choices,
    no preference counting as half. ``low`` and ``high``: 95 % percentile interval, None where it cannot be had.
    """

    system: str
    wins: float
    n: int
    strength: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Preference:
    """How often ``first`` was preferred to ``second`` in ``n`` direct comparisons; ``bounds`` of ``share``, whose p is
    for a true share of one half, with ``p_holm`` corrected for all pairs.
    """

    first: str
    second: str
    n: int
    share: float
    bounds: Bounds | None
    p_holm: float | None


def strengths(choices: Sequence[Choice]) -> list[Strength]:
    """The strongest first. The interval is that of a bootstrap over listeners and items at once, which is on the wide
    side where each listener hears a part of the items (`ldm_sep.study.two_way`).
    """
    choices = [choice for choice in choices if choice.presentation == 0]
    systems, pairs = np.unique([(choice.first, choice.second) for choice in choices], return_inverse=True)
    listeners, listener = np.unique([choice.listener for choice in choices], return_inverse=True)
    items, item = np.unique([choice.item for choice in choices], return_inverse=True)
    first, second = pairs.reshape(-1, 2).T
    share = np.array([choice.share for choice in choices])
    by_listener, by_item = resampled_counts(len(listeners), len(items), seed=0, resamples=RESAMPLES)
    # The first table is that of the study, the others are resampled.
    weights = np.concatenate([np.ones((1, len(choices))), by_listener[:, listener] * by_item[:, item]])
    one, other = np.eye(len(systems))[first], np.eye(len(systems))[second]
    wins = np.einsum("wc,ci,cj->wij", weights * share, one, other)
    wins += np.einsum("wc,ci,cj->wij", weights * (1 - share), other, one)
    heard = (wins[0] + wins[0].T) > 0
    fitted = bradley_terry(wins + _PRIOR * heard)
    whole = len(listeners) > 1 and len(items) > 1
    low, high = np.percentile(fitted[1:], [2.5, 97.5], axis=0)
    found = []
    for index, system in enumerate(map(str, systems)):
        total = int(np.sum((first == index) | (second == index)))
        ends = (float(low[index]), float(high[index])) if whole else (None, None)
        found.append(Strength(system, float(wins[0, index].sum()), total, float(fitted[0, index]), *ends))
    return sorted(found, key=lambda one: -one.strength)


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Maximum-likelihood strengths ``(..., K)``, of mean 0, from ``wins (..., K, K)`` of row over column.

    Hunter's minorisation-maximisation (2004): p_i <- W_i / sum_j n_ij / (p_i + p_j), for all tables at once.
    """
    games = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(-1)
    p = np.ones(won.shape)
    for _ in range(_ITERATIONS):
        new = won / np.sum(games / (p[..., :, None] + p[..., None, :]), -1)
        new /= np.exp(np.mean(np.log(new), -1, keepdims=True))
        if np.abs(np.log(new / p)).max() < _TOLERANCE:
            return np.log(new)
        p = new
    return np.log(p)


def preferences(choices: Sequence[Choice], order: Sequence[str], against: str | None = None) -> list[Preference]:
    """Every pair of ``order`` that was compared, or each of the others with ``against``.

    Each has the two-way interval of its share, and Holm's correction over them all.
    """
    choices = [choice for choice in choices if choice.presentation == 0]
    listeners, rows = np.unique([choice.listener for choice in choices], return_inverse=True)
    items, columns = np.unique([choice.item for choice in choices], return_inverse=True)
    counts = resampled_counts(len(listeners), len(items), seed=0)
    found = []
    pairs = combinations(order, 2) if against is None else [(against, one) for one in order if one != against]
    for first, second in pairs:
        values = np.zeros((len(listeners), len(items)))
        present = np.zeros_like(values)
        for choice, row, column in zip(choices, rows, columns, strict=True):
            if {choice.first, choice.second} == {first, second}:
                # `two_way_bounds` tests against 0, so shares are counted from one half.
                values[row, column] = (choice.share if choice.first == first else 1 - choice.share) - 0.5
                present[row, column] = 1
        total = int(present.sum())
        if not total:
            continue
        bounds = two_way_bounds(values, present, counts)
        if bounds is not None:
            low, high = max(0.0, bounds.low + 0.5), min(1.0, bounds.high + 0.5)
            bounds = Bounds(bounds.estimate + 0.5, low, high, bounds.p)
        found.append(Preference(first, second, total, float(values.sum() / total + 0.5), bounds, None))
    corrected = holm([None if one.bounds is None else one.bounds.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]
