"""Power: against the closed form, against the field's library, and the figures that the design rests on."""

import math
import os
import sys
import warnings
from dataclasses import astuple, fields, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli, run_here
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_sep.errors import StudyError
from ldm_sep.study.orders import balanced_subsets, with_repeats
from ldm_sep.study.power import PAPER, Design, simulate
from ldm_sep.study.ratings import Ratings
from ldm_sep.study.variance import PUBLIC_RATINGS, Components, estimate_components


def closed_form(design: Design, c: Components) -> tuple[float, float]:
    """1.96 standard deviations of a mean and of a difference, of a balanced design (expected mean squares)."""
    heard = design.listeners * design.per_listener
    own = c.item_system / design.songs + c.listener_system / design.listeners + c.residual / heard
    common = c.item / design.songs + c.listener / design.listeners + c.listener_item / heard
    return 1.96 * math.sqrt(common + own), 1.96 * math.sqrt(2 * own)


@pytest.mark.parametrize(
    "design", [PAPER, Design(30, 6, 4, 6), Design(15, 24, 4, 24), Design(16, 24, 4, 12), Design(16, 48, 4, 6)]
)
def test_simulated_half_widths_are_those_of_the_closed_form(design: Design) -> None:
    # 4,000 studies give a standard deviation to 1.1 %; 4 standard errors are allowed.
    mean, difference = closed_form(design, PUBLIC_RATINGS)
    found = simulate(design, PUBLIC_RATINGS)
    assert found.mean_half_width == pytest.approx(mean, rel=0.045)
    assert found.half_width == pytest.approx(difference, rel=0.045)


def test_what_the_papers_design_can_show() -> None:
    """Ratings of a difference are uncertain by about half a point; the naive interval claims less than a quarter."""
    paper = simulate(PAPER, PUBLIC_RATINGS)
    assert paper.half_width == pytest.approx(0.54, abs=0.03)
    assert paper.mean_half_width == pytest.approx(0.69, abs=0.03)
    assert paper.naive < 0.26
    more_songs = simulate(Design(15, 24, 4, 24), PUBLIC_RATINGS)
    more_listeners = simulate(Design(60, 6, 4, 6), PUBLIC_RATINGS)
    assert more_songs.half_width < 0.6 * paper.half_width < more_listeners.half_width
    assert paper.found > paper.interval > paper.half_width


def test_the_smallest_difference_that_is_found_is_found_in_80_percent() -> None:
    """Against a t-test by hand on simulated mean differences of songs, where only songs vary."""
    only_songs = Components(0, 0, 0.2, 0, 0, 1e-9)
    found = simulate(Design(10, 12, 2, 12), only_songs).found
    rng = np.random.default_rng(5)
    from scipy.stats import ttest_1samp

    drawn = found + rng.normal(0, math.sqrt(0.4), (4000, 12))
    share = np.mean(ttest_1samp(drawn, 0, axis=1).pvalue < 0.05)
    assert share == pytest.approx(0.8, abs=0.03)


def draw(design: Design, c: Components, seed: int) -> Ratings:
    rng = np.random.default_rng(seed)
    L, S, K = design.listeners, design.songs, design.systems
    shapes = [(L, 1, 1), (1, S, 1), (1, S, K), (L, 1, K), (L, S, 1), (L, S, K)]
    variances = (c.listener, c.item, c.item_system, c.listener_system, c.listener_item, c.residual)
    y = 3 + sum(rng.normal(0, math.sqrt(v), shape) for v, shape in zip(variances, shapes, strict=True))
    keep = np.zeros((L, S, K), bool)
    for row, hand in zip(keep, balanced_subsets(L, S, design.per_listener, rng), strict=True):
        row[hand] = True
    listener, item, system = (index.astype(str) for index in np.nonzero(keep))
    return Ratings(listener, item, system, np.asarray(y)[keep])


def test_variances_are_those_of_statsmodels() -> None:
    """REML of the same model by the field's library, on an unbalanced table whose variances are all above 0."""
    from pandas import DataFrame
    from statsmodels.formula.api import mixedlm

    ratings = draw(Design(6, 8, 3, 5), Components(0.2, 0.4, 0.2, 0.05, 0.1, 0.5), 2)
    table = DataFrame(
        {"listener": ratings.listener, "item": ratings.item, "system": ratings.system, "y": ratings.rating}
    )
    table["whole"] = 1
    for first, second in (("item", "system"), ("listener", "system"), ("listener", "item")):
        table[f"{first}_{second}"] = table[first] + "_" + table[second]
    names = ["listener", "item", "item_system", "listener_system", "listener_item"]
    with warnings.catch_warnings():
        # It warns of a variance at its bound.
        warnings.simplefilter("ignore")
        fit = mixedlm(
            "y ~ C(system)",
            table,
            groups="whole",
            re_formula="0",
            vc_formula={name: f"0 + C({name})" for name in names},
        ).fit()
    expected = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True)) | {"residual": fit.scale}
    found = estimate_components(ratings)
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, abs=0.01), name


def likelihood(ratings: Ratings, c: Components) -> float:
    """The logarithm of REML's likelihood but for a constant, from the whole covariance of the ratings."""

    def same(*names: np.ndarray) -> np.ndarray:
        return np.all([name[:, None] == name[None] for name in names], axis=0).astype(float)

    listener, item, system, y = ratings.listener, ratings.item, ratings.system, ratings.rating
    crossed = [(listener,), (item,), (item, system), (listener, system), (listener, item)]
    v = sum(value * same(*names) for value, names in zip(astuple(c), crossed, strict=False)) + c.residual * np.eye(
        len(y)
    )
    x = same(system)[:, np.unique(system, return_index=True)[1]]
    inverse = np.linalg.inv(v)
    a = x.T @ inverse @ x
    e = y - x @ np.linalg.solve(a, x.T @ inverse @ y)
    return -0.5 * float(np.linalg.slogdet(v)[1] + np.linalg.slogdet(a)[1] + e @ inverse @ e)


@pytest.mark.parametrize("seed", range(5))
def test_no_variances_nearby_are_more_likely(seed: int) -> None:
    """Also where some are 0, as small pilots have it."""
    ratings = draw(Design(6, 8, 3, 5), Components(0.2, 0.4, 0.1, 0.02, 0.1, 0.5), seed)
    found = estimate_components(ratings)
    best = likelihood(ratings, found)
    for field in fields(Components):
        for step in (-0.01, 0.01):
            value = max(0.0, getattr(found, field.name) + step)
            assert likelihood(ratings, replace(found, **{field.name: value})) <= best + 1e-4, field.name


def test_variances_of_a_large_pilot_come_back() -> None:
    truth = Components(0.2, 0.4, 0.2, 0.1, 0.1, 0.5)
    estimates = [estimate_components(draw(Design(10, 16, 3, 8), truth, seed)) for seed in range(12)]
    for name in ("listener", "item", "item_system", "listener_system", "listener_item", "residual"):
        values = np.array([getattr(one, name) for one in estimates])
        error = values.std(ddof=1) / math.sqrt(len(values))
        assert abs(values.mean() - getattr(truth, name)) < 4 * error, name


def test_a_pilot_without_variance_to_tell_apart_is_one_line() -> None:
    names = np.array(["a", "b", "c"])
    for listener in (names, np.array(["a"] * 3)):
        with pytest.raises(StudyError):
            estimate_components(Ratings(listener, names, names, np.arange(3.0)))


def test_a_pilot_whose_ratings_are_all_the_same_is_one_line() -> None:
    table = [(who, song, system) for who in "xyz" for song in "stu" for system in "ab"]
    listener, item, system = (np.array(column) for column in zip(*table, strict=True))
    with pytest.raises(StudyError, match="all the same"):
        estimate_components(Ratings(listener, item, system, np.full(len(table), 4.0)))


@given(st.integers(1, 20), st.integers(1, 30), st.data())
@settings(deadline=None, max_examples=60)
def test_subsets_are_balanced_whatever_the_sizes(listeners: int, items: int, data: st.DataObject) -> None:
    each = data.draw(st.integers(1, items))
    hands = balanced_subsets(listeners, items, each, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert [len(set(hand)) for hand in hands] == [each] * listeners
    counts = np.bincount(np.concatenate(hands), minlength=items)
    assert counts.max() - counts.min() <= 1


@given(st.integers(2, 30), st.data())
@settings(deadline=None, max_examples=60)
def test_a_repeat_never_follows_its_original_at_once(length: int, data: st.DataObject) -> None:
    repeats = data.draw(st.integers(0, length // 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    order = with_repeats(list(range(length)), repeats, rng)
    assert [item for item, again in order if not again] == list(range(length))
    again = [(place, item) for place, (item, twice) in enumerate(order) if twice]
    assert len(again) == repeats and all(place > order.index((item, False)) + 1 for place, item in again)


def test_the_command_prints_a_table_and_writes_it(tmp_path) -> None:
    done = run_here("study", "plan", "--listeners", 15, "--songs", 24, "--per-listener", 12, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "plan.md").read_text()
    assert "| 15 | 24 | 12 |" in text and "| 15 | 6 | 6 |" in text
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    pilot = tmp_path / "pilot.csv"
    pilot.write_text("listener,item,system\na,b,c\n")
    wrong = run_here("study", "plan", "--pilot", pilot)
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1 and "the column rating" in wrong.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_a_plan_goes_to_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"r\xe9")
    done = run_cli("study", "plan", "--listeners", 15, "--songs", 24, "--per-listener", 12, "-o", out, PYTHONUTF8="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("r\\udce9/plan.md\n") and (out / "plan.md").is_file()
