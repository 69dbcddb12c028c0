"""Means of systems, their differences, and how far listeners agree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ldm_sep.statistics import holm
from ldm_sep.study.ratings import Ratings
from ldm_sep.study.two_way import RESAMPLES, Bounds, resampled_counts, two_way_bounds


@dataclass(frozen=True)
class SystemMean:
    """Mean rating of a system over ``n`` ratings; ``bounds`` is None for fewer than two listeners or items."""

    system: str
    n: int
    mean: float
    bounds: Bounds | None


@dataclass(frozen=True)
class Difference:
    """First minus second where a listener rated both on an item, ``n`` times. ``p_holm`` is corrected for all
    differences of the question; None, with the interval, for fewer than two listeners or items.
    """

    first: str
    second: str
    n: int
    difference: float
    bounds: Bounds | None
    p_holm: float | None


@dataclass(frozen=True)
class Tables:
    """Ratings ``(systems, listeners, items)``, 0 where ``present`` is 0."""

    systems: tuple[str, ...]
    values: np.ndarray
    present: np.ndarray


def tabulate(ratings: Ratings) -> Tables:
    """One question's ratings as tables; systems, listeners and items in the order of their names."""
    systems, k = np.unique(ratings.system, return_inverse=True)
    listeners, i = np.unique(ratings.listener, return_inverse=True)
    items, s = np.unique(ratings.item, return_inverse=True)
    values = np.zeros((len(systems), len(listeners), len(items)))
    present = np.zeros_like(values)
    values[k, i, s], present[k, i, s] = ratings.rating, 1
    return Tables(tuple(map(str, systems)), values, present)


def system_means(
    tables: Tables, scale: tuple[float, float], seed: int = 0, resamples: int = RESAMPLES
) -> list[SystemMean]:
    """Every system's mean, the highest first, with its two-way interval, which ends where the ``scale`` does."""
    counts = resampled_counts(tables.values.shape[1], tables.values.shape[2], seed, resamples)
    means = []
    for system, values, present in zip(tables.systems, tables.values, tables.present, strict=True):
        total = int(present.sum())
        bounds = two_way_bounds(values, present, counts)
        if bounds is not None:
            bounds = replace(bounds, low=max(scale[0], bounds.low), high=min(scale[1], bounds.high))
        means.append(SystemMean(system, total, float(values.sum() / total), bounds))
    return sorted(means, key=lambda one: -one.mean)


def differences(
    tables: Tables, systems: Sequence[str], against: str | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> list[Difference]:
    """All pairs of ``systems``, or each of the others against one, with Holm's correction over them.

    ``systems`` in the order in which they are to be compared. Systems that nobody rated are left out, and pairs that
    nobody rated together.
    """
    counts = resampled_counts(tables.values.shape[1], tables.values.shape[2], seed, resamples)
    pairs = combinations(systems, 2) if against is None else [(against, one) for one in systems if one != against]
    found = []
    for first, second in pairs:
        if not {first, second} <= set(tables.systems):
            continue
        a, b = tables.systems.index(first), tables.systems.index(second)
        present = tables.present[a] * tables.present[b]
        total = int(present.sum())
        if total:
            values = (tables.values[a] - tables.values[b]) * present
            bounds = two_way_bounds(values, present, counts)
            found.append(Difference(first, second, total, float(values.sum() / total), bounds, None))
    corrected = holm([None if one.bounds is None else one.bounds.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def agreement(tables: Tables, *, ordinal: bool) -> float | None:
    """Krippendorff's alpha of the listeners over items and systems: 1 full agreement, 0 that of chance.

    None where it is undefined: a single listener, or the same rating everywhere.
    """
    import krippendorff

    data = np.where(tables.present > 0, tables.values, np.nan).transpose(1, 0, 2).reshape(tables.values.shape[1], -1)
    paired = np.count_nonzero(np.isfinite(data), axis=0) >= 2
    if not paired.any() or len(np.unique(data[:, paired][np.isfinite(data[:, paired])])) < 2:
        return None
    return float(krippendorff.alpha(data, level_of_measurement="ordinal" if ordinal else "interval"))
