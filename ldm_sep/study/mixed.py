"""A linear mixed model of the ratings, as a second opinion on the differences."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ldm_sep.study.ratings import Ratings


@dataclass(frozen=True)
class ModelDifference:
    """First minus second by the model, with its 95 % Wald interval and p-value (normal, uncorrected)."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class MixedModel:
    """``differences`` of systems; standard deviations by effect; ``note`` where the fit did not converge."""

    differences: tuple[ModelDifference, ...]
    deviations: dict[str, float]
    note: str | None


def fit(ratings: Ratings, systems: Sequence[str]) -> MixedModel | None:
    """REML fit by statsmodels: system fixed; listener, item, item x system and listener x system random.

    None where there are fewer than two listeners, items or systems, or where the model cannot be fitted.
    """
    from pandas import DataFrame
    from statsmodels.formula.api import mixedlm

    keep = np.isin(ratings.system, list(systems))
    table = DataFrame({name: getattr(ratings, name)[keep] for name in ("listener", "item", "system", "rating")})
    if min(table[name].nunique() for name in ("listener", "item", "system")) < 2:
        return None
    table["whole"] = 1
    table["item_system"] = table["item"] + "\0" + table["system"]
    table["listener_system"] = table["listener"] + "\0" + table["system"]
    effects = {name: f"0 + C({name})" for name in ("listener", "item", "item_system", "listener_system")}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = mixedlm("rating ~ 0 + C(system)", table, groups="whole", re_formula="0", vc_formula=effects)
            result = model.fit(method=["bfgs", "lbfgs", "cg", "powell"])
        except (np.linalg.LinAlgError, ValueError):
            return None
    names = sorted(table["system"].unique())
    found = []
    for first, second in combinations([system for system in systems if system in names], 2):
        contrast = np.zeros((1, len(names)))
        contrast[0, names.index(first)], contrast[0, names.index(second)] = 1, -1
        test = result.t_test(contrast, use_t=False)
        difference, low, high, p = (float(value) for value in (*test.effect, *test.conf_int()[0], test.pvalue))
        if not 0 < high - low < np.inf:
            return None
        found.append(ModelDifference(first, second, difference, low, high, p))
    variances = dict(zip(result.model.exog_vc.names, map(float, result.vcomp), strict=True))
    deviations = {name: max(0.0, variances[name]) ** 0.5 for name in effects} | {"residual": float(result.scale) ** 0.5}
    rest = None if result.converged else "the fit did not converge; take its numbers with care"
    if rest is None and any("boundary" in str(one.message) for one in caught):
        rest = "a variance came out as 0"
    return MixedModel(tuple(found), deviations, rest)
