"""Intervals and tests against scipy, textbook values, and how often an interval holds the truth."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ldm_sep.evaluate import track_hash
from ldm_sep.statistics import Interval, bootstrap_interval, holm, paired_test


@pytest.mark.parametrize("aggregate", ["mean", "median"])
def test_the_interval_is_scipys_percentile_bootstrap(aggregate: str) -> None:
    values = np.random.default_rng(0).normal(7, 2, 40)
    ours = bootstrap_interval(values, aggregate)
    function = np.mean if aggregate == "mean" else np.median
    theirs = stats.bootstrap((values,), function, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    # Both are random; the tolerance is a few standard errors of a percentile of 10,000 resamples.
    assert ours is not None
    assert np.allclose([ours.low, ours.high], [theirs.low, theirs.high], atol=0.05)


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    intervals = [bootstrap_interval(rng.normal(0, 1, 50)) for _ in range(200)]
    covered = np.mean([i is not None and i.low <= 0 <= i.high for i in intervals])
    # 0.95 less the known optimism of the percentile method at n = 50, give or take three standard errors.
    assert 0.88 <= covered <= 0.99


def test_the_same_values_give_the_same_interval_and_one_value_gives_none() -> None:
    assert bootstrap_interval([1.0, 2.0, 4.0]) == bootstrap_interval([1.0, 2.0, 4.0])
    assert bootstrap_interval([2.0, 2.0, 2.0]) == Interval(2.0, 2.0)
    assert bootstrap_interval([1.0]) is None and bootstrap_interval([]) is None
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval([1.0, np.nan])


def test_the_paired_test_is_scipys_wilcoxon() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(8, 1, 20)
    b = a - rng.normal(0.4, 1, 20)
    ours = paired_test(a, b)
    assert ours.p == stats.wilcoxon(a, b).pvalue and ours.n == 20 and ours.reason is None
    assert ours.difference == pytest.approx(np.mean(a - b))
    assert ours.interval is not None and ours.interval.low < ours.difference < ours.interval.high


def test_a_known_p_value() -> None:
    # All of six differences positive: two of 2^6 sign patterns are as extreme.
    assert paired_test([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]).p == pytest.approx(2 / 64)


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([1.0, 2, 3, 4, 5], [0.0] * 5, "only 5 pairs, the test needs 6"),
        ([1.0] * 8, [1.0] * 8, "only 0 pairs differ, the test needs 6"),
        ([], [], "no track has a value for both systems"),
    ],
)
def test_too_few_pairs_have_no_p_value_but_a_reason(a: list[float], b: list[float], reason: str) -> None:
    result = paired_test(a, b)
    assert result.p is None and result.reason == reason


def test_pairs_are_needed() -> None:
    with pytest.raises(ValueError, match="pairs"):
        paired_test([1.0, 2.0], [1.0])


def test_holm_on_a_worked_example() -> None:
    # 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04 raised to the value before it.
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_nothing_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    corrected = holm(p)
    for before, after in zip(p, corrected, strict=True):
        assert after is not None and before <= after <= min(1.0, before * len(p))
    ranks = np.argsort(p, kind="stable")
    assert all(corrected[a] <= corrected[b] for a, b in itertools.pairwise(ranks))


def test_the_hash_of_a_list_does_not_depend_on_its_order() -> None:
    assert track_hash(["b", "a"]) == track_hash(["a", "b"]) != track_hash(["a", "c"])
    # SHA-256 of "abc", first 12 digits.
    assert track_hash(["abc"]) == "ba7816bf8f01"
