"""Intervals over listeners and songs: against truth, against the t-test where one of the two is out of play."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intervals import cover
from scipy.stats import binom, ttest_1samp

from ldm_sep.study.power import Design
from ldm_sep.study.two_way import resampled_counts, spread, two_way_bounds


@pytest.mark.parametrize("design", [Design(15, 6, 4, 6), Design(15, 24, 4, 12)])
def test_a_95_percent_interval_holds_the_truth_and_the_naive_one_does_not(design: Design) -> None:
    """The whole run, 1,000 studies of six designs, is `eval/listening/intervals.py`."""
    studies = 120
    found = cover(design, studies)
    # Pairs of one study are not independent: as if each study gave two.
    lowest, highest = (binom.ppf(q, 2 * studies, p) / (2 * studies) for q, p in ((0.005, 0.92), (0.995, 0.97)))
    assert lowest <= found.difference <= highest
    assert lowest <= found.mean <= highest
    assert found.naive_difference < 0.85 and found.naive_mean < 0.75
    assert found.false_alarms <= binom.ppf(0.995, studies, 0.05) / studies


def test_with_one_rating_a_listener_and_song_alike_the_songs_decide() -> None:
    """Where all listeners agree, it is the t-test over songs, to the precision of the resampling."""
    songs = np.random.default_rng(0).normal(0.4, 1, 20)
    table = np.tile(songs, (12, 1))
    bounds = two_way_bounds(table, np.ones_like(table), resampled_counts(12, 20, 0))
    test = ttest_1samp(songs, 0)
    interval = test.confidence_interval()
    assert bounds.low == pytest.approx(interval.low, abs=0.05) and bounds.high == pytest.approx(interval.high, abs=0.05)
    assert bounds.p == pytest.approx(test.pvalue, abs=0.03)


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_the_variance_of_the_mean_is_estimated_without_bias_whatever_is_missing(share: float) -> None:
    """Against the variance of the means of 8,000 tables of known variances."""
    rng = np.random.default_rng(1)
    present = (rng.random((10, 12)) < share).astype(float)
    noise = rng.normal(0, 0.7, (8000, 10, 12))
    tables = rng.normal(0, 0.5, (8000, 10, 1)) + rng.normal(0, 0.8, (8000, 1, 12)) + noise
    found = spread(tables, present)
    assert np.mean(found.error**2) == pytest.approx(found.mean.var(), rel=0.05)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-3, 3), scale=st.floats(0.01, 100))
def test_shift_and_scale_move_the_interval_along(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    present = (rng.random((7, 9)) < 0.7).astype(float)
    present[0] = 1
    present[:, 0] = 1
    table, counts = rng.normal(0, 1, (7, 9)) * present, resampled_counts(7, 9, 0, 500)
    one, other = (
        two_way_bounds(table, present, counts),
        two_way_bounds((scale * table + shift) * present, present, counts),
    )
    for name in ("estimate", "low", "high"):
        assert getattr(other, name) == pytest.approx(scale * getattr(one, name) + shift, abs=1e-6 * (scale + 1))
    assert (one.p < 0.05) == (one.low > 0 or one.high < 0)


def test_cells_on_a_diagonal_still_have_an_interval() -> None:
    """Every listener heard a song of their own: what varies cannot be told, that it varies can."""
    values = np.diag(np.random.default_rng(0).normal(1, 1, 8))
    bounds = two_way_bounds(values, np.eye(8), resampled_counts(8, 8, 0))
    assert bounds.low < values.sum() / 8 < bounds.high and bounds.high - bounds.low > 0.5


def test_nothing_that_varies_leaves_nothing_to_doubt_and_one_listener_is_refused() -> None:
    same = np.full((5, 5), 2.0)
    assert two_way_bounds(same, np.ones((5, 5)), resampled_counts(5, 5, 0)).low == 2
    with pytest.raises(ValueError, match="two listeners"):
        spread(same[:1], np.ones((1, 5)))
