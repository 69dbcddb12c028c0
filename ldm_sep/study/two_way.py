"""How sure a mean of ratings is, where both the listeners and the items were drawn from more of their kind.

A mean over a table of listeners and items varies with who listened, with what was sung, and with each rating. Treating
all ratings as independent (sd / sqrt(n)) forgets the first two, and the interval is then a third to a half as wide as
it should be. A bootstrap that draws listeners and items anew (Owen, "The pigeonhole bootstrap", 2007) keeps both, but
counts each rating's own noise three times, which matters where every listener hears only some of the items. So the
bootstrap gives the shape of the interval here, and its width is that of the two-way random-effects model

    V = s_l^2 sum_l n_l^2 / N^2 + s_i^2 sum_i n_i^2 / N^2 + s_e^2 / N

for N ratings, n_l of them by listener l and n_i of item i, whose variances are those of Henderson's method of moments
(1953), unbiased whichever cells are missing. With few items V itself is uncertain: the shape is stretched from the
normal to the t distribution, with Satterthwaite's degrees of freedom.
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


def ends(bounds: Bounds | None) -> tuple[float | None, float | None]:
    """Where the interval begins and ends; None twice where there is none."""
    return (None, None) if bounds is None else (bounds.low, bounds.high)


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
    by_listener, by_item = present.sum(1), present.sum(0)
    squares = np.stack([np.sum(rest.sum(-1) ** 2, -1), np.sum(rest.sum(-2) ** 2, -1), np.sum(rest**2, (-2, -1))])
    # Least squares: if every item has a listener of its own, the variances cannot be told apart, and each gets a part.
    solved = np.linalg.lstsq(_expectations(present), squares.reshape(3, -1), rcond=None)[0]
    listener, item, rating = solved.reshape(squares.shape)
    listener, item = (v * np.sum(n**2) / total**2 for v, n in ((listener, by_listener), (item, by_item)))
    rating = np.maximum(rating, 0) / total
    # Estimates of small variances can be negative. Cutting off each would widen the interval, so their sum is cut off.
    variance = np.maximum(listener + item + rating, rating)
    uncertainty = (listener + rating) ** 2 / (listeners - 1) + (item + rating) ** 2 / (items - 1)
    freedom = np.divide(variance**2, uncertainty, out=np.ones_like(variance), where=uncertainty > 0)
    return Spread(mean, np.sqrt(variance), freedom)


def _expectations(present: np.ndarray) -> np.ndarray:
    """What each variance (columns: listener, item, rating) adds to each sum of squares (rows) in expectation.

    The squares are |Z' P y|^2 with Z the indicators of listeners, of items, of ratings, and P y what is left of the
    ratings without their mean; so the entries are |Z_j' P Z_k|^2.
    """
    total, by_listener, by_item = present.sum(), present.sum(1), present.sum(0)
    within = [np.diag(n) - np.outer(n, n) / total for n in (by_listener, by_item)]
    between = np.sum((present - np.outer(by_listener, by_item) / total) ** 2)
    listeners, items = (np.sum(square**2) for square in within)
    alone = [np.trace(square) for square in within]
    return np.array([[listeners, between, alone[0]], [between, items, alone[1]], [alone[0], alone[1], total - 1.0]])


def resampled_counts(
    listeners: int, items: int, seed: int, resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """How often each listener ``(resamples, listeners)`` and each item ``(resamples, items)`` is drawn.

    One pair of draws for all systems and comparisons of a study, which keeps them comparable.
    """
    rng = np.random.default_rng(seed)
    by_listener = rng.multinomial(listeners, np.full(listeners, 1 / listeners), resamples)
    by_item = rng.multinomial(items, np.full(items, 1 / items), resamples)
    return by_listener.astype(float), by_item.astype(float)


def two_way_bounds(table: np.ndarray, present: np.ndarray, counts: tuple[np.ndarray, np.ndarray]) -> Bounds | None:
    """The mean of ``table (listeners, items)`` where ``present`` is 1, with the interval of this module's docstring.

    None for fewer than two listeners or items.
    """
    from scipy.stats import norm, t

    if min(np.count_nonzero(present.any(axis)) for axis in (0, 1)) < 2:
        return None
    mean, error, freedom = (float(value) for value in spread(table, present))
    if error == 0:
        # All cells are equal, so there is no spread to resample.
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
