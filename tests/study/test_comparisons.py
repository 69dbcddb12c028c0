"""Preferences, agreement and correlation of simulated answers, against what they must come to."""

from pathlib import Path

import numpy as np
import pytest

from ldm_sep.study import plots
from ldm_sep.study.analysis import analyse
from ldm_sep.study.collect import Collected
from ldm_sep.study.compare import agreement, differences, tabulate
from ldm_sep.study.correlate import correlate
from ldm_sep.study.preference import bradley_terry, preferences, strengths
from ldm_sep.study.ratings import Choice, Rating, columns
from ldm_sep.study.records import Label, Question


def test_bradley_terry_is_the_logistic_regression_it_is_known_to_be() -> None:
    """Strengths by statsmodels' binomial model of the differences of indicators."""
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    truth = np.array([0.8, 0.1, -0.2, -0.7])
    wins = np.zeros((4, 4))
    rows, counts = [], []
    for i in range(4):
        for j in range(i + 1, 4):
            won = rng.binomial(60, 1 / (1 + np.exp(truth[j] - truth[i])))
            wins[i, j], wins[j, i] = won, 60 - won
            rows.append([(k == i) * 1.0 - (k == j) * 1.0 for k in range(3)])
            counts.append([won, 60 - won])
    expected = np.append(sm.GLM(np.array(counts), np.array(rows), family=sm.families.Binomial()).fit().params, 0)
    np.testing.assert_allclose(bradley_terry(wins), expected - expected.mean(), atol=1e-5)


def test_a_system_that_always_wins_keeps_a_finite_strength_and_equals_are_told_apart_seldom() -> None:
    always = [Choice(str(who), str(song), "a", "b", 1.0) for who in range(6) for song in range(6)]
    assert 1 < strengths(always)[0].strength < 5
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(40):
        bias = rng.normal(0, 0.8, 12)
        equal = [
            Choice(str(who), str(song), "a", "b", float(rng.normal() + bias[song] > 0))
            for who in range(10)
            for song in range(12)
        ]
        alarms.append(preferences(equal, ["a", "b"])[0].p_holm < 0.05)
    assert sum(alarms) <= 7, "5 % of 40, and what chance adds in one of a thousand cases"


def test_agreement_is_one_of_the_same_and_none_of_the_random() -> None:
    rng = np.random.default_rng(0)
    own = rng.integers(1, 6, (20, 3)).astype(float)
    same = [Rating(who, str(i), str(k), "q", own[i, k]) for who in "abc" for i in range(20) for k in range(3)]
    chance = [row._replace(rating=float(rng.integers(1, 6))) for row in same]
    for rows, alpha, width in ((same, 1.0, 1e-9), (chance, 0.0, 0.2)):
        assert agreement(tabulate(columns(rows, "q")), ordinal=True) == pytest.approx(alpha, abs=width)
    flat = [row._replace(rating=3.0) for row in same]
    assert agreement(tabulate(columns(flat, "q")), ordinal=True) is None


def test_a_metric_that_ranks_as_listeners_do_correlates_and_noise_does_not() -> None:
    rng = np.random.default_rng(0)
    quality = rng.normal(3, 1, (12, 4))
    rows = [
        Rating(str(who), f"s{i:02}", f"k{k}", "q", quality[i, k] + rng.normal(0, 0.3))
        for who in range(6)
        for i in range(12)
        for k in range(4)
    ]
    scores = {
        (f"s{i:02}", f"k{k}"): {"sdr": float(np.exp(quality[i, k])), "lsd": -quality[i, k], "pesq": float(rng.normal())}
        for i in range(12)
        for k in range(4)
    }
    tables = tabulate(columns(rows, "q"))
    found = {one.metric: one for one in correlate(tables, [f"s{i:02}" for i in range(12)], scores)}
    assert found["sdr"].rho > 0.9 and found["lsd"].rho < -0.9 and abs(found["pesq"].rho) < 0.4
    assert found["sdr"].within > 0.9 and found["sdr"].low < found["sdr"].rho < found["sdr"].high
    assert found["pesq"].low < 0 < found["pesq"].high and found["sdr"].n == 48


def test_a_system_that_nobody_has_rated_yet_is_compared_with_none() -> None:
    rows = [Rating(who, song, system, "q", 3.0) for who in "xy" for song in "st" for system in "ac"]
    tables = tabulate(columns(rows, "q"))
    assert differences(tables, ["a", "c"], "b") == []
    assert [(one.first, one.second) for one in differences(tables, ["b", "a", "c"])] == [("a", "c")]


def test_against_one_system_only_its_choices_are_corrected_for() -> None:
    rng = np.random.default_rng(0)
    choices = [
        Choice(str(who), str(song), first, second, float(rng.random() < 0.65))
        for who in range(8)
        for song in range(8)
        for first, second in ("ab", "ac", "bc")
    ]
    found = preferences(choices, ["a", "b", "c"], "a")
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("a", "c")]
    smaller = min(found, key=lambda one: one.bounds.p)
    assert smaller.p_holm == pytest.approx(2 * smaller.bounds.p)


@pytest.mark.parametrize("labels", [(), (Label(value=1, text="bad"), Label(value=5, text="good"))])
def test_an_axis_of_means_has_numbers_or_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: tuple[Label, ...]
) -> None:
    rows = [Rating(who, song, system, "q", 2.0 + (system == "a")) for who in "xy" for song in "st" for system in "ab"]
    question = Question(id="q", text="How good?", minimum=1, maximum=5, step=1, labels=labels)
    done = analyse(Collected("t", None, (question,), {"a": "system", "b": "system"}, tuple(rows)), with_model=False)
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.append(figure))
    plots.draw_means(tmp_path / "means.png", done.questions[0], done)
    assert len(drawn[0].axes[0].get_xticks()) >= 2
