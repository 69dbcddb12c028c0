"""How sure a mean of ratings is, where both the listeners and the items were drawn from more of their kind.

A mean over a table of listeners and items varies with who listened, with what was sung, and with each rating. Treating
all ratings as independent (sd / sqrt(n)) forgets the first two, and the interval is then a third to a half as wide as
it should be. A bootstrap that draws listeners and items anew (Owen, "The pigeonhole bootstrap", 2007) keeps both, but
counts each rating's own noise three times, which matters where every listener hears only some of the items. So the
bootstrap gives the shape of the interval here, and its width is that of the two-way variance

    V = V_listeners + V_items - V_ratings

(Cameron, Gelbach & Miller 2011), whose parts are those of a bootstrap over listeners, over items and over ratings
alone. With few items V itself is uncertain: the shape is stretched from the normal to the t distribution, with
Satterthwaite's degrees of freedom.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
# A draw further out than this would be of probability 1e-9.
_FARTHEST = 6.0


class Spread(NamedTuple):
    """Mean of a table, its standard error, and the degrees of freedom of that. Arrays of the tables' leading shape."""

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray


@dataclass(frozen=True)
class Bounds:
    """An estimate with its 95 % interval, and the two-sided p-value that goes with it for a true value of 0."""

    estimate: float
    low: float
    high: float
    p: float


def spread(tables: np.ndarray, present: np.ndarray) -> Spread:
    """Of ``tables (..., listeners, items)`` where ``present (listeners, items)`` is 1, and 0 where nothing was rated.

    ValueError for fewer than two listeners or items.
    """
    listeners, items = np.count_nonzero(present.any(1)), np.count_nonzero(present.any(0))
    if listeners < 2 or items < 2:
        raise ValueError(f"at least two listeners and two items are needed, got {listeners} and {items}")
    total = present.sum()
    mean = np.sum(tables * present, axis=(-2, -1)) / total
    rest = (tables - mean[..., None, None]) * present
    by_listener = np.sum(rest.sum(-1) ** 2, -1) / total**2 * listeners / (listeners - 1)
    by_item = np.sum(rest.sum(-2) ** 2, -1) / total**2 * items / (items - 1)
    by_rating = np.sum(rest**2, (-2, -1)) / total**2
    # The difference of estimates may fall below each of them, and even below 0, where the true variance cannot.
    variance = np.maximum(by_listener + by_item - by_rating, np.maximum(by_listener, by_item))
    uncertainty = by_listener**2 / (listeners - 1) + by_item**2 / (items - 1)
    freedom = np.divide(variance**2, uncertainty, out=np.ones_like(variance), where=uncertainty > 0)
    return Spread(mean, np.sqrt(variance), freedom)


def resampled_counts(
    listeners: int, items: int, seed: int, resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """How often each listener ``(resamples, listeners)`` and each item ``(resamples, items)`` is drawn.

    One pair of draws for all systems and comparisons of a study, which keeps them comparable.
    """
    rng = np.random.default_rng(seed)
    return tuple(rng.multinomial(n, np.full(n, 1 / n), resamples).astype(float) for n in (listeners, items))


def two_way_bounds(table: np.ndarray, present: np.ndarray, counts: tuple[np.ndarray, np.ndarray]) -> Bounds:
    """The mean of ``table (listeners, items)`` where ``present`` is 1, with the interval of this module's docstring.

    ValueError as for `spread`.
    """
    from scipy.stats import norm, t

    mean, error, freedom = (float(value) for value in spread(table, present))
    if error == 0:
        # Every cell is the same: nothing varies, so nothing can be said of how it would.
        return Bounds(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    by_listener, by_item = counts
    weights = np.sum((by_listener @ present) * by_item, 1)
    sums = np.sum((by_listener @ ((table - mean) * present)) * by_item, 1)
    # A resample may hold none of the cells that were rated.
    drawn = sums[weights > 0] / weights[weights > 0]
    shape = np.clip((drawn - drawn.mean()) / drawn.std(), -_FARTHEST, _FARTHEST)
    draws = mean + error * t.ppf(norm.cdf(shape), freedom)
    low, high = np.percentile(draws, [2.5, 97.5])
    tail = min(np.mean(draws <= 0), np.mean(draws >= 0))
    return Bounds(mean, float(low), float(high), float(min(1.0, 2 * max(tail, 1 / len(draws)))))
