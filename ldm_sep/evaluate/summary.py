"""From rows to what is said of systems: sums over tracks with intervals, paired tests, failures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from ldm_sep.evaluate.published import PUBLISHED, SOURCE
from ldm_sep.evaluate.rows import Row, track_hash
from ldm_sep.metrics import METRICS, Metric
from ldm_sep.statistics import (
    CONFIDENCE,
    RESAMPLES,
    SEED,
    Aggregate,
    Interval,
    PairedTest,
    aggregate_of,
    bootstrap_interval,
    holm,
    paired_test,
)


@dataclass(frozen=True)
class SystemScore:
    """A metric of a system over its ``n`` tracks with a value. ``value`` is the ``aggregate`` (mean or median), which
    ``interval`` belongs to; ``reasons`` counts why other tracks have none, failed ones included.
    """

    n: int
    aggregate: Aggregate
    mean: float | None
    median: float | None
    interval: Interval | None
    reasons: dict[str, int]

    @property
    def value(self) -> float | None:
        """What stands for the system in tables."""
        return self.mean if self.aggregate == "mean" else self.median

    @property
    def undefined(self) -> int:
        """Number of tracks without a value."""
        return sum(self.reasons.values())


@dataclass(frozen=True)
class Comparison:
    """``first`` minus ``second`` in ``metric``, over the tracks where both have a value."""

    metric: str
    first: str
    second: str
    test: PairedTest


@dataclass(frozen=True)
class Failure:
    """A row, or a part of the report, that could not be had, and why in one line."""

    track: str
    system: str
    message: str


@dataclass(frozen=True)
class Summary:
    """All of an evaluation. ``scores`` by system, then metric key; ``rows`` by (track, system); ``about`` says of each
    system where its estimates come from.
    """

    tracks: tuple[str, ...]
    systems: tuple[str, ...]
    metrics: tuple[Metric, ...]
    rows: dict[tuple[str, str], Row]
    scores: dict[str, dict[str, SystemScore]]
    comparisons: tuple[Comparison, ...]
    failures: tuple[Failure, ...]
    about: dict[str, str]
    versions: dict[str, str]
    published: bool

    @property
    def track_hash(self) -> str:
        """See `ldm_sep.evaluate.rows.track_hash`."""
        return track_hash(self.tracks)

    def values(self, system: str, metric: str) -> dict[str, float]:
        """Values by track, in the tracks' order; tracks without one are left out."""
        found = {}
        for track in self.tracks:
            score = self.rows[track, system].scores.get(metric)
            if score is not None and score.value is not None:
                found[track] = score.value
        return found

    def paired(self, first: str, second: str, metric: str) -> tuple[list[float], list[float]]:
        """The values of both on the tracks where both have one."""
        a, b = self.values(first, metric), self.values(second, metric)
        common = [track for track in a if track in b]
        return [a[track] for track in common], [b[track] for track in common]

    def differences(self, first: str, second: str, metric: str) -> list[float]:
        """``first`` minus ``second`` on the tracks where both have a value."""
        return [a - b for a, b in zip(*self.paired(first, second, metric), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """What ``summary.json`` holds."""
        record: dict[str, Any] = {
            "tracks": {"n": len(self.tracks), "hash": self.track_hash, "names": list(self.tracks)},
            "systems": self.about,
            "metrics": {
                m.key: {
                    "label": m.label,
                    "unit": m.unit,
                    "better": m.better,
                    "aggregate": aggregate_of(m.key),
                    "definition": m.definition,
                }
                for m in self.metrics
            },
            "scores": {
                system: {key: _score_record(score) for key, score in scores.items()}
                for system, scores in self.scores.items()
            },
            "paired_tests": [_comparison_record(comparison) for comparison in self.comparisons],
            "failures": [vars(failure) for failure in self.failures],
            "statistics": {
                "interval": f"percentile bootstrap over tracks, {CONFIDENCE:.0%}",
                "resamples": RESAMPLES,
                "seed": SEED,
                "test": "Wilcoxon signed-rank, two-sided; Holm's correction over the pairs of a metric",
            },
            "versions": self.versions,
        }
        if self.published:
            record["published"] = {
                "source": SOURCE,
                "rows": [{**vars(row), "scores": dict(row.scores)} for row in PUBLISHED],
            }
        return record


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _score_record(score: SystemScore) -> dict[str, Any]:
    return {
        "n": score.n,
        "aggregate": score.aggregate,
        "value": score.value,
        "interval": _pair(score.interval),
        "mean": score.mean,
        "median": score.median,
        "undefined": score.undefined,
        "reasons": score.reasons,
    }


def _comparison_record(comparison: Comparison) -> dict[str, Any]:
    test = comparison.test
    return {
        "metric": comparison.metric,
        "first": comparison.first,
        "second": comparison.second,
        "n": test.n,
        "mean_difference": test.difference,
        "interval": _pair(test.interval),
        "p": test.p,
        "p_holm": test.p_holm,
        "reason": test.reason,
    }


def summarise(
    rows: Mapping[tuple[str, str], Row],
    tracks: Sequence[str],
    systems: Sequence[str],
    metrics: Sequence[str],
    *,
    about: Mapping[str, str],
    versions: Mapping[str, str],
    failures: Sequence[Failure] = (),
    published: bool = False,
) -> Summary:
    """The summary of ``rows``, one for each of ``tracks`` and ``systems``.

    Aggregates are over the tracks that have a value; systems that fail on different tracks are compared by the paired
    tests, which take the tracks that both have.
    """
    kept = {(track, system): rows[track, system] for track in tracks for system in systems}
    chosen = tuple(metric for metric in METRICS if metric.key in metrics)
    failed = [failure for row in kept.values() for failure in _failures(row, chosen)]
    scores = {
        system: {metric.key: _system_score([kept[t, system] for t in tracks], metric.key) for metric in chosen}
        for system in systems
    }
    bare = Summary(
        tuple(tracks),
        tuple(systems),
        chosen,
        kept,
        scores,
        (),
        (*failed, *failures),
        dict(about),
        dict(versions),
        published,
    )
    return replace(bare, comparisons=tuple(c for metric in chosen for c in _compare(bare, metric.key)))


def _failures(row: Row, metrics: Sequence[Metric]) -> list[Failure]:
    if row.error:
        return [Failure(row.track, row.system, row.error)]
    lost = [(metric.label, row.failed[metric.key]) for metric in metrics if metric.key in row.failed]
    return [Failure(row.track, row.system, f"{label}: {why}") for label, why in lost]


def _system_score(rows: Sequence[Row], metric: str) -> SystemScore:
    values: list[float] = []
    reasons: Counter[str] = Counter()
    for row in rows:
        score = row.scores.get(metric)
        if score is not None and score.value is not None:
            values.append(score.value)
        else:
            reasons["failed" if score is None else score.reason or ""] += 1
    aggregate = aggregate_of(metric)
    return SystemScore(
        len(values),
        aggregate,
        float(np.mean(values)) if values else None,
        float(np.median(values)) if values else None,
        bootstrap_interval(values, aggregate),
        dict(reasons),
    )


def _compare(summary: Summary, metric: str) -> list[Comparison]:
    pairs = list(combinations(summary.systems, 2))
    tests = [paired_test(*summary.paired(first, second, metric)) for first, second in pairs]
    return [
        Comparison(metric, first, second, replace(test, p_holm=p))
        for (first, second), test, p in zip(pairs, tests, holm([test.p for test in tests]), strict=True)
    ]
