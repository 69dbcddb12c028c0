"""Where ratings' variance comes from, and its estimation from a pilot.

The model of a rating of `system` k on `item` s by `listener` l:

    y = mu_k + L_l + S_s + (SK)_sk + (LK)_lk + (LS)_ls + e

with every term but mu_k random, independent and of its own variance. `SK` says that a system is better on some songs
than on others: it does not shrink with more listeners, only with more songs.
"""

from dataclasses import astuple, dataclass

import numpy as np

from ldm_sep.errors import StudyError
from ldm_sep.study.ratings import Ratings

_ITERATIONS = 100
_TOLERANCE = 1e-5
# More levels of all effects together than this would need gigabytes.
_MOST_LEVELS = 4000
_LEAST_RESIDUAL = 1e-6


@dataclass(frozen=True)
class Components:
    """Variances in squared units of the scale; the residual holds what is left within a cell."""

    listener: float
    item: float
    item_system: float
    listener_system: float
    listener_item: float
    residual: float

    def scaled(self, factor: float) -> "Components":
        """The same on a scale ``factor`` times as long."""
        return Components(*(factor**2 * value for value in astuple(self)))


# `estimate_components` of public ratings of separated vocals, one question on a scale from 1 to 5: 50 songs, 5 systems,
# 12 of 30 listeners to a song (https://github.com/pablebe/gensvs_eval).
PUBLIC_RATINGS = Components(0.169, 0.407, 0.184, 0.022, 0.059, 0.525)
PUBLIC_ORIGIN = "REML of 3,000 public ratings of separated vocals, 30 listeners, 50 songs, 5 systems (arXiv 2507.11427)"
PUBLIC_SCALE = (1.0, 5.0)


def estimate_components(ratings: Ratings) -> Components:
    """REML estimates by Fisher scoring (Searle, Casella & McCulloch 1992, section 8.3), none below 0.

    With ``P`` the projection of REML, ``Z_i`` the indicators of effect i and s_i its variance, each step solves
    sum_j tr(Z_i' P Z_j Z_j' P Z_i) s_j = |Z_i' P y|^2. All is computed in the size of Henderson's mixed-model
    equations, which is that of the effects' levels and not of the ratings.

    StudyError where there are fewer than two listeners, items or systems, or too little else to tell variances apart.
    """
    y, fixed, effects = _design(ratings)
    if not np.ptp(y):
        raise StudyError("the pilot's ratings are all the same, so their variances are 0; collect others")
    count = sum(effect.shape[1] for effect in effects)
    if count > _MOST_LEVELS:
        raise StudyError(f"{count} levels of listeners, items and systems: too many for this; take a part of the pilot")
    w = np.concatenate([fixed, *effects], axis=1)
    levels = np.repeat(np.arange(len(effects)), [effect.shape[1] for effect in effects])
    m, wy, yy = w.T @ w, w.T @ y, float(y @ y)
    k = fixed.shape[1]
    variances = np.full(len(effects) + 1, float(y.var()) / (len(effects) + 1))
    for _ in range(_ITERATIONS):
        new = _scoring_step(m, wy, yy, len(y), k, levels, variances)
        done = np.abs(new - variances).max() < _TOLERANCE * max(1.0, float(y.var()))
        variances = new
        if done:
            return Components(*map(float, variances))
    raise StudyError("the pilot's ratings do not tell its variances apart; more listeners or songs are needed")


def _scoring_step(
    m: np.ndarray, wy: np.ndarray, yy: float, n: int, k: int, levels: np.ndarray, variances: np.ndarray
) -> np.ndarray:
    """New variances ``(effects + 1,)``, the residual's last, from ``m = W'W``, ``W'y`` and ``y'y``."""
    residual = variances[-1]
    # An effect of variance 0 has an infinite penalty; a large one does the same without infinities.
    penalty = np.concatenate([np.zeros(k), residual / np.maximum(variances[levels], 1e-10)])
    inverse = np.linalg.inv(m + np.diag(penalty))
    hat = inverse @ m
    wpw = (m - m @ hat) / residual
    wpy = (wy - m @ (inverse @ wy)) / residual
    wppw = (m - 2 * m @ hat + m @ hat @ hat) / residual**2
    solution = inverse @ wy
    ppy = (yy - 2 * solution @ wy + solution @ m @ solution) / residual**2
    pp = (n - 2 * np.trace(hat) + np.sum(hat * hat.T)) / residual**2
    size = len(variances)
    rows = [k + np.flatnonzero(levels == i) for i in range(size - 1)]
    system, right = np.empty((size, size)), np.empty(size)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            system[i, j] = np.sum(wpw[np.ix_(a, b)] ** 2)
        system[i, -1] = system[-1, i] = np.trace(wppw[np.ix_(a, a)])
        right[i] = np.sum(wpy[a] ** 2)
    system[-1, -1], right[-1] = pp, ppy
    return _not_negative(system, right)


def _not_negative(system: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solution, with what comes out negative set to 0 and the rest solved without it."""
    free = np.ones(len(right), bool)
    found = np.zeros(len(right))
    while True:
        found[:] = 0
        found[free] = np.linalg.lstsq(system[np.ix_(free, free)], right[free], rcond=None)[0]
        lowest = int(found[:-1].argmin())
        if found[lowest] >= 0:
            found[-1] = max(found[-1], _LEAST_RESIDUAL)
            return found
        free[lowest] = False


def _design(ratings: Ratings) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Ratings ``(n,)``, indicators of systems ``(n, K)``, and those of each random effect in `Components`' order."""
    codes = [np.unique(names, return_inverse=True) for names in (ratings.listener, ratings.item, ratings.system)]
    for (names, _), word in zip(codes, ("listeners", "items", "systems"), strict=True):
        if len(names) < 2:
            raise StudyError(f"variances need ratings of at least two {word}; there is {len(names)}")
    listener, item, system = (code for _, code in codes)
    pairs = [(item, system), (listener, system), (listener, item)]
    crossed = [np.unique(np.stack(pair), axis=1, return_inverse=True)[1].ravel() for pair in pairs]
    effects = [_indicators(code) for code in (listener, item, *crossed)]
    if len(ratings.rating) <= max(effect.shape[1] for effect in effects):
        raise StudyError("the pilot has too few ratings for its variances: several systems by each listener and song")
    return ratings.rating.astype(float), _indicators(system), effects


def _indicators(code: np.ndarray) -> np.ndarray:
    return np.eye(int(code.max()) + 1)[code]
