"""How well `ldm-sep evaluate`'s metrics tell what listeners say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldm_sep.errors import StudyError, reason
from ldm_sep.evaluate.rows import row_from_json
from ldm_sep.files import shown
from ldm_sep.metrics import METRICS
from ldm_sep.study.compare import Tables

RESAMPLES = 2000
_LEAST_ITEMS = 3


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of a metric with mean ratings over ``n`` stimuli, with its 95 % percentile interval
    of a bootstrap over items; ``within``: the same after each item's own mean is taken off both, which asks whether the
    metric ranks versions of one song. None where it is undefined.
    """

    metric: str
    label: str
    n: int
    rho: float | None
    low: float | None
    high: float | None
    within: float | None


def read_scores(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Values by metric of every (track, system) in a file ``scores.jsonl`` that `ldm-sep evaluate` wrote.

    StudyError if it cannot be read or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise StudyError(f"{shown(path)}: not readable ({reason(error)}); name scores.jsonl of an evaluation") from None
    rows = [row for row in map(row_from_json, lines) if row is not None]
    found = {
        (row.track, row.system): {name: score.value for name, score in row.scores.items() if score.value is not None}
        for row in rows
    }
    if not found:
        raise StudyError(f"{shown(path)}: no scores in it; name scores.jsonl of an evaluation")
    return found


def correlate(
    tables: Tables, items: list[str], scores: Mapping[tuple[str, str], Mapping[str, float]]
) -> list[Correlation]:
    """Each metric that has values for the rated stimuli, against the mean rating of each over its listeners.

    The metrics are of the whole songs, the ratings of excerpts.
    """
    rated = tables.present.sum(1)
    means = np.divide(tables.values.sum(1), rated, out=np.full(rated.shape, np.nan), where=rated > 0)
    found = []
    for metric in METRICS:
        values = np.array(
            [[scores.get((item, system), {}).get(metric.key, np.nan) for item in items] for system in tables.systems]
        )
        both = np.isfinite(values) & np.isfinite(means)
        whole = np.flatnonzero(both.any(0))
        if len(whole) < _LEAST_ITEMS:
            continue
        rho = _spearman(values[both], means[both])
        rng = np.random.default_rng(0)
        drawn = []
        for _ in range(RESAMPLES):
            columns = rng.choice(whole, len(whole))
            kept = both[:, columns]
            drawn.append(_spearman(values[:, columns][kept], means[:, columns][kept]))
        sure = [value for value in drawn if value is not None]
        low, high = (float(end) for end in np.percentile(sure, [2.5, 97.5])) if sure else (None, None)
        own = [np.where(both, x, np.nan) for x in (values, means)]
        centred = [x - np.nanmean(np.where(both.any(0), x, 0), axis=0, keepdims=True) for x in own]
        within = _spearman(centred[0][both], centred[1][both])
        found.append(Correlation(metric.key, metric.label, int(both.sum()), rho, low, high, within))
    return found


def _spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    from scipy.stats import rankdata

    ranks = [rankdata(np.round(values, 9)) for values in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])
