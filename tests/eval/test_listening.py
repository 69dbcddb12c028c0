"""The scripts of `eval/listening`: their truth is the truth, and their table says what was counted."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intervals import EQUAL, UNEQUAL, cover, naive, simulate, table, true_means
from simulate import on_scale

from ldm_sep.study.methods import questions
from ldm_sep.study.power import Design
from ldm_sep.study.variance import PUBLIC_RATINGS


def test_the_true_means_are_those_of_very_many_ratings() -> None:
    rng = np.random.default_rng(0)
    drawn = [simulate(Design(30, 30, 4, 30), UNEQUAL, PUBLIC_RATINGS, rng).values.mean((1, 2)) for _ in range(300)]
    error = np.std(drawn, axis=0) / np.sqrt(len(drawn))
    assert (np.abs(np.mean(drawn, axis=0) - true_means(UNEQUAL, PUBLIC_RATINGS)) < 4 * error).all()
    assert np.ptp(true_means(EQUAL, PUBLIC_RATINGS)) == 0


def test_the_naive_interval_is_the_textbooks() -> None:
    low, high = naive(np.array([[1.0, 2, 3], [4, 5, 9]]), np.array([[1.0, 1, 1], [1, 1, 0]]))
    assert (low + high) / 2 == pytest.approx(3) and (high - low) / 2 == pytest.approx(1.96 * np.sqrt(2.5 / 5))


def test_the_table_has_a_row_for_each_design() -> None:
    row = cover(Design(5, 4, 4, 4), 3)
    lines = table([row]).splitlines()
    assert len(lines) == 3 and lines[2].startswith("| 5 x 4 | 4 |") and f"{row.difference:.1%}" in lines[2]
    assert all(0 <= asdict(row)[name] <= 1 for name in ("difference", "mean", "naive_mean", "false_alarms"))


@given(st.sampled_from(["p835", "mushra", "bs2132"]), st.floats(0, 1), st.floats(-20, 20))
def test_simulated_ratings_are_on_the_scale_and_nearest_to_what_was_drawn(
    method, share: float, deviation: float
) -> None:
    question = questions(method)[0]
    length = question.maximum - question.minimum
    rating = on_scale(share, deviation, question)
    exact = question.minimum + share * length + deviation * length / 4
    assert question.allows(rating)
    assert abs(rating - min(max(exact, question.minimum), question.maximum)) <= question.step / 2 + 1e-9
