"""`study analyse`: from answers on disk to means, differences, preferences and who is left out."""

import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import run_here
from intervals import true_means
from material import SYSTEMS, make_songs
from simulate import simulate
from test_prepare import make

from ldm_sep.errors import StudyError
from ldm_sep.study.analysis import analyse
from ldm_sep.study.collect import Collected, collect, collect_table
from ldm_sep.study.compare import differences, system_means, tabulate
from ldm_sep.study.mixed import fit
from ldm_sep.study.ratings import Rating, columns, read_csv, to_csv
from ldm_sep.study.records import load_key, load_study
from ldm_sep.study.report import html_report
from ldm_sep.study.screening import screen
from ldm_sep.study.tables import markdown
from ldm_sep.study.variance import PUBLIC_RATINGS

MEANS = {"tidy": 0.8, "middling": 0.55, "bad one": 0.2}


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_songs(tmp_path_factory.mktemp("songs"), 7)


def answered(songs: dict[str, Path], root: Path, method: str, **changes: Any) -> Path:
    """A study with the answers of simulated listeners, in ``root``."""
    made = make(songs, root / "study", method, **{"listeners": 12, "per_listener": 6} | changes)
    simulate(made.study, made.key, root / "answers", MEANS, PUBLIC_RATINGS, 1)
    return root


@pytest.fixture(scope="module")
def p835(songs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered(songs, tmp_path_factory.mktemp("p835"), "p835", repeats=2)


@pytest.fixture(scope="module")
def mushra(songs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered(songs, tmp_path_factory.mktemp("mushra"), "mushra")


def collected(root: Path) -> Collected:
    return collect(root / "study", root / "key.json", root / "answers")


def test_the_true_order_is_found_and_its_means_come_back(p835: Path) -> None:
    done = analyse(collected(p835), with_model=False)
    assert [result.question.id for result in done.questions] == ["intelligibility", "interferences", "artefacts"]
    for result in done.questions:
        assert [one.system for one in result.means] == ["tidy", "middling", "bad one"]
        assert [one.n for one in result.means] == [72] * 3, "repeats and training are not counted"
        for one in result.differences:
            assert one.n == 72 and one.bounds is not None and one.p_holm is not None
        extremes = next(d for d in result.differences if {d.first, d.second} == {"tidy", "bad one"})
        best, worst = true_means([1 + 4 * MEANS["tidy"], 1 + 4 * MEANS["bad one"]], PUBLIC_RATINGS)
        # Three intervals are looked at, so they are taken twice as wide.
        assert abs(extremes.difference - (best - worst)) < extremes.bounds.high - extremes.bounds.low
        assert extremes.p_holm < 0.05
    assert done.repeat_error is not None and 0.3 < done.repeat_error < 1.2
    assert done.rejected == () and done.unfinished == {}


def test_against_one_system_there_are_fewer_comparisons_to_correct_for(p835: Path) -> None:
    every = analyse(collected(p835), with_model=False).questions[0].differences
    some = analyse(collected(p835), against="tidy", with_model=False).questions[0].differences
    assert len(every) == 3 and {(d.first, d.second) for d in some} == {("tidy", "middling"), ("tidy", "bad one")}
    with pytest.raises(StudyError, match="the systems are bad one, middling, tidy"):
        analyse(collected(p835), against="demucs")


def test_a_half_finished_listener_counts_with_what_is_there(p835: Path, tmp_path: Path) -> None:
    for name in ("study", "answers", "key.json"):
        (tmp_path / name).symlink_to(p835 / name)
    (tmp_path / "answers").unlink()
    (tmp_path / "answers").mkdir()
    for path in (p835 / "answers").iterdir():
        lines = path.read_text().splitlines()
        kept = lines[: len(lines) // 2] if path.stem == "3" else lines
        (tmp_path / "answers" / path.name).write_text("\n".join(kept) + "\n")
    done = analyse(collected(tmp_path), with_model=False)
    assert list(done.unfinished) == ["3"] and 0.2 < done.unfinished["3"] < 0.6
    assert done.questions[0].listeners == 12 and done.questions[0].means[0].n < 72


def test_a_key_of_another_study_is_refused(p835: Path, mushra: Path) -> None:
    with pytest.raises(StudyError, match="is not the key of"):
        collect(p835 / "study", mushra / "key.json", p835 / "answers")


def test_mushra_anchors_are_shown_and_only_systems_are_compared(mushra: Path) -> None:
    result = analyse(collected(mushra), with_model=False).questions[0]
    assert {"reference", "low_anchor", "mid_anchor"} < {one.system for one in result.means}
    assert result.means[0].system == "reference"
    assert all({one.first, one.second} <= set(SYSTEMS) for one in result.differences)
    assert all(one.bounds.low >= 0 and one.bounds.high <= 100 for one in result.means if one.bounds)


@pytest.mark.parametrize(
    ("rule", "method", "change"),
    [
        ("reference", "mushra", lambda row: row._replace(rating=80) if row.system == "reference" else row),
        ("anchor", "mushra", lambda row: row._replace(rating=95) if row.system == "mid_anchor" else row),
        ("order", "bs2132", lambda row: row._replace(rating=2) if row.system == "reference" else row),
        ("flat", "bs2132", lambda row: row._replace(rating=50)),
        ("repeats", "bs2132", lambda row: row._replace(rating=60 - row.rating / 2) if row.presentation else row),
    ],
)
def test_who_breaks_a_rule_goes_and_the_others_stay(rule: str, method: Any, change: Any) -> None:
    rows = [
        Rating(who, f"song {i}", system, "quality", value, again)
        for who in ("a", "b")
        for i in range(10)
        for system, value in (("ours", 60.0), ("reference", 96.0), ("mid_anchor", 40.0), ("low_anchor", 10.0))
        for again in (0, 1)
    ]
    roles: Any = {"ours": "system"} | {name: name for name in ("reference", "mid_anchor", "low_anchor")}
    assert screen(rows, roles, method, (0, 100), {"a": 6, "b": 5}) == []
    spoiled = [change(row) if row.listener == "b" else row for row in rows]
    if rule == "flat":
        roles = dict.fromkeys(roles, "system")
    found = screen(spoiled, roles, method, (0, 100), {})
    assert [(one.listener, one.rule) for one in found] == [("b", rule)]


def test_15_percent_of_the_trials_may_miss_the_reference() -> None:
    """BS.1534-3: more than 15 %, so 3 of 20 is allowed and 4 are not."""
    for misses, gone in ((3, 0), (4, 1)):
        rows = [Rating("a", str(i), "reference", "q", 80.0 if i < misses else 95.0) for i in range(20)]
        assert len(screen(rows, {"reference": "reference"}, "mushra", (0, 100), {})) == gone


def test_who_does_not_hear_with_headphones_goes_also_from_an_ab_study(p835: Path) -> None:
    whole = collected(p835)
    done = analyse(replace(whole, headphones=whole.headphones | {"2": 4}), with_model=False)
    assert [(one.listener, one.rule) for one in done.rejected] == [("2", "headphones")] and "2" not in done.listeners
    kept = analyse(replace(whole, headphones={"2": 4}), with_model=False, keep_all=True)
    assert len(kept.rejected) == 1 and "2" in kept.listeners
    # Who counts is not told as left out.
    assert "12 listeners count" in markdown(kept) and "Left out" not in markdown(kept)
    assert "Left out" not in html_report(kept, whole, None, {}, 0, True)
    with pytest.raises(StudyError, match="no listener is left"):
        analyse(replace(whole, headphones=dict.fromkeys(map(str, range(1, 13)), 0)), with_model=False)


def test_preferences_of_an_ab_study(songs: dict[str, Path], tmp_path: Path) -> None:
    done = analyse(collected(answered(songs, tmp_path, "ab")), with_model=False)
    assert [one.system for one in done.strengths] == ["tidy", "middling", "bad one"]
    assert sum(one.wins for one in done.strengths) == 12 * 6 * 3
    best = next(one for one in done.preferences if (one.first, one.second) == ("tidy", "bad one"))
    assert best.n == 72 and best.share > 0.7 and best.bounds.low > 0.5 and best.p_holm < 0.05
    assert abs(sum(one.strength for one in done.strengths)) < 1e-6 and done.questions == ()
    some = analyse(collected(tmp_path), against="middling", with_model=False).preferences
    assert [(one.first, one.second) for one in some] == [("middling", "tidy"), ("middling", "bad one")]


def test_the_mixed_model_agrees_with_the_bootstrap_on_a_balanced_study(p835: Path) -> None:
    own = columns(collected(p835).ratings, "artefacts")
    model = fit(own, ["tidy", "middling", "bad one"])
    assert model is not None
    boot = {(d.first, d.second): d for d in differences(tabulate(own), ["tidy", "middling", "bad one"])}
    for one in model.differences:
        other = boot[one.first, one.second]
        assert one.difference == pytest.approx(other.difference, abs=1e-6)
        # The model pools the variances of all systems, the bootstrap takes those of the pair.
        assert 0.4 < (one.high - one.low) / (other.bounds.high - other.bounds.low) < 2.5


def test_a_plain_table_comes_back_and_is_analysed_without_a_study(p835: Path, tmp_path: Path) -> None:
    rows = collected(p835).ratings
    path = tmp_path / "table.csv"
    path.write_text(to_csv(rows))
    again = read_csv(path)
    assert again == [row for row in rows if row.presentation == 0]
    done = analyse(collect_table(again, "table"), with_model=False)
    assert [r.question.maximum for r in done.questions] == [5.0] * 3
    assert system_means(tabulate(columns(again, "artefacts")), (1, 5)) == list(done.questions[2].means)


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("listener,item,system\n", "the column rating is missing"),
        ("listener,item,system,rating\na,b,c,good\n", "line 2: 'good' is no rating"),
        ("listener,item,system,rating\na,,c,1\n", "line 2: a name is empty"),
        ("listener,item,system,rating\na,b,c,1\na,b,c,2\n", "line 3: a rated c on b before"),
        ("listener,item,system,rating\n", "no ratings"),
        ("listener,item,system,rating\na,b,c,3,5\n", "line 2: has not as many cells"),
        ("listener,item,system,rating\na,b,c\n", "line 2: has not as many cells"),
        ('listener,item,rating,system\na,b,3,"c\na,d,3,c\na,e,3,c\n', "line 2: no row of a table"),
        (f"listener,item,system,rating\na,b,{'c' * 140_000},3\n", "line 2: no row of a table"),
        ("x" * 140_000, "line 1: no row of a table"),
    ],
)
def test_a_faulty_table_names_its_line(tmp_path: Path, text: str, needle: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(StudyError, match=re.escape(needle)) as error:
        read_csv(path)
    assert str(path) in str(error.value)


def test_what_is_no_table_of_ratings_is_told_as_for_every_other_table(tmp_path: Path) -> None:
    """A pipe would be waited for without end, and what is missing or no text has its own remedy."""
    with pytest.raises(
        StudyError, match="no such table; name a CSV file with the columns listener, item, system, rating"
    ):
        read_csv(tmp_path / "none.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(StudyError, match=r"pipe\.csv: cannot be read"):
        read_csv(tmp_path / "pipe.csv")
    (tmp_path / "latin.csv").write_bytes("listener,item,system,rating\nZoë,b,c,3\n".encode("latin-1"))
    with pytest.raises(StudyError, match=r"latin\.csv: not in UTF-8; save it so"):
        read_csv(tmp_path / "latin.csv")


def test_the_command_writes_tables_and_a_report_that_needs_no_network(p835: Path, tmp_path: Path) -> None:
    words = ("study", "analyse", p835 / "study", "--answers", p835 / "answers", "--key", p835 / "key.json")
    done = run_here(*words, "-o", tmp_path / "out", "--players", 2)
    assert done.returncode == 0, done.stderr
    assert "tidy" in done.stdout and str(tmp_path / "out" / "report.html") in done.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<audio") == 2 * len(SYSTEMS) and page.count("data:image/png") == 6
    assert not re.search(r"""(src|href)=["'](?!data:)|@import|url\(|<script""", page)
    table = json.loads((tmp_path / "out" / "analysis.json").read_text())
    with (tmp_path / "out" / "differences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 and float(rows[0]["p_holm"]) >= float(rows[0]["p"])
    assert table["questions"][0]["model"]["differences"] and "Mixed model" in page
    wrong = run_here(*words, "-o", tmp_path / "out", "--ratings", tmp_path / "x.csv")
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1


def test_questions_may_be_of_any_names_and_ratings_all_the_same(tmp_path: Path) -> None:
    names = [" ", *(f"question number {n}" for n in range(30))]
    path = tmp_path / "table.csv"
    lines = [f"{who},song,{system},{name},-1" for name in names for who in "xy" for system in "ab"]
    path.write_text("listener,item,system,question,rating\n" + "\n".join(lines) + "\n")
    table = collect_table(read_csv(path), "t")
    assert [one.text for one in table.questions] == ["rating", *names[1:]]
    assert len({one.id for one in table.questions}) == 31
    assert all((one.minimum, one.maximum) == (-1, 0) for one in table.questions)


def test_the_means_beside_the_sounds_leave_out_what_the_tables_leave_out(p835: Path) -> None:
    whole = collected(p835)
    values = {"tidy": 5.0, "middling": 3.0, "bad one": 2.0}
    ratings = tuple(
        row._replace(rating=1.0 if row.listener == "2" else values[row.system] - 0.5 * row.presentation)
        for row in whole.ratings
    )
    spoiled = replace(whole, ratings=ratings, headphones={"2": 0})
    done = analyse(spoiled, with_model=False)
    assert [one.listener for one in done.rejected] == ["2"]
    page = html_report(done, spoiled, p835 / "study", {}, 1, False)
    beside = re.findall(r"(?:intelligibility|interferences|artefacts) (\d\.\d\d)", page)
    assert len(beside) == 9 and set(beside) == {"5.00", "3.00", "2.00"}


def test_names_that_look_like_markup_stay_text(tmp_path: Path) -> None:
    table = tmp_path / "evil.csv"
    system = "<script>alert(1)</script>"
    lines = [
        f'{who},{song},"{system}",{1 + (who + song) % 5}\n{who},{song},b|c,{1 + song % 5}'
        for who in range(4)
        for song in range(4)
    ]
    table.write_text("listener,item,system,rating\n" + "\n".join(lines) + "\n")
    done = run_here("study", "analyse", "--ratings", table, "-o", tmp_path / "out", "--no-mixed-model")
    assert done.returncode == 0, done.stderr
    assert "<script" not in (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in (tmp_path / "out" / "table.md").read_text()


def test_load_helpers_are_those_of_the_study(p835: Path) -> None:
    assert load_study(p835 / "study").title == "Who sings best?"
    assert len(load_key(p835 / "key.json").trials) == 1 + 2 * 6
