"""webMUSHRA: configurations that its page reads, results that come back as they were rated."""

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import run_here
from material import make_songs
from test_prepare import make

from ldm_sep.errors import StudyError
from ldm_sep.study.records import Key, Study, load_key, load_study, pages
from ldm_sep.study.webmushra import configuration, read_results


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_songs(tmp_path_factory.mktemp("songs"), 4)


@pytest.fixture(scope="module", params=["mushra", "p835"])
def study(request: pytest.FixtureRequest, songs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param) / "study"
    make(songs, out, request.param)
    return out


def results(study: Study, key: Key, path: Path, rate: Any, **columns: str) -> None:
    """What webMUSHRA's service writes when every page of every listener is rated ``rate(stimulus, question)``.

    As its `service/write.php` does: the questionnaire's columns before the trial's, Likert values between spaces.
    """
    mushra = study.method == "mushra"
    names = (
        ("trial_id", "rating_stimulus", "rating_score", "rating_time", "rating_comment")
        if mushra
        else ("trial_id", "stimuli_rating", "stimuli", "rating_time")
    )
    hidden = {s.stimulus for s in key.stimuli if s.role == "reference"}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["session_test_id", "listener", *names])
        for listener in study.listeners:
            for page in pages(study, listener.number):
                for stimulus in page.stimuli:
                    for question in study.questions:
                        value = rate(stimulus.id, question.id)
                        head = ["study", listener.number]
                        shown = "reference" if stimulus.id in hidden else stimulus.id
                        if mushra:
                            writer.writerow([*head, page.trial.id, shown, value, 1000, ""])
                        else:
                            writer.writerow([*head, f"{page.trial.id}_{question.id}", f" {value} ", stimulus.id, 1000])


def test_the_configuration_shows_every_page_in_the_listeners_order(study: Path) -> None:
    table, key = load_study(study), load_key(study.with_name("key.json"))
    text = configuration(table, key, 2, "configs/resources/study")
    loaded = yaml.safe_load(text)
    assert {"testname", "testId", "bufferSize", "pages", "remoteService"} <= loaded.keys()
    first, *rated, last = loaded["pages"]
    assert first["type"] == "generic" and last["type"] == "finish" and last["writeResults"]
    own = pages(table, 2)
    if table.method == "mushra":
        assert [page["id"] for page in rated] == [page.trial.id for page in own]
        for shown, page in zip(rated, own, strict=True):
            # webMUSHRA adds the hidden reference itself.
            assert shown["type"] == "mushra" and len(shown["stimuli"]) == len(page.stimuli) - 1
            assert (
                shown["randomize"] and not shown["createAnchor35"] and shown["reference"].endswith(page.trial.reference)
            )
    else:
        wanted = [f"{page.trial.id}_{question.id}" for page in own for question in table.questions]
        assert [page["id"] for page in rated] == wanted
        assert all(page["type"] == "likert_single_stimulus" and len(page["response"]) == 5 for page in rated)
    files = [file for page in rated for file in page["stimuli"].values()]
    assert all((study / file.removeprefix("configs/resources/study/")).is_file() for file in files)
    systems = {stimulus.system for stimulus in key.stimuli if stimulus.role == "system"}
    assert not any(system in text for system in systems - {"bad one"}) and "&id" not in text


def test_what_was_rated_comes_back(study: Path, tmp_path: Path) -> None:
    table, key = load_study(study), load_key(study.with_name("key.json"))
    systems = sorted({s.system for s in key.stimuli})
    names = {s.stimulus: s.system for s in key.stimuli}

    def rate(stimulus: str, question: str) -> int:
        place = systems.index(names[stimulus])
        return place * 7 if table.method == "mushra" else 1 + (place + len(question)) % 5

    results(table, key, tmp_path / "results.csv", rate)
    rows = read_results(tmp_path / "results.csv", table, key)
    expected = sum(len(one.stimuli) for listener in table.listeners for one in listener.trials) * len(table.questions)
    assert len(rows) == expected and {row.listener for row in rows} == {str(n) for n in range(1, 7)}
    back = {v: k for k, v in names.items()}
    assert all(row.rating == rate(back[row.system], row.question) for row in rows)


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        (lambda text: text.replace("rating", "grade", 2).replace("stimuli", "x"), "is neither"),
        (lambda text: text.replace(",1000", ",1000", 1).replace("listener", "session_uuid"), None),
        (lambda text: text + text.splitlines()[-1] + "\n", "before"),
        (
            lambda text: "\n".join(
                [
                    *text.splitlines()[:1],
                    *(line.replace(" 3 ", " NA ").replace(",3,", ",NA,") for line in text.splitlines()[1:]),
                ]
            ),
            "is no rating",
        ),
        (lambda text: text.replace(" 3 ", " 300 ").replace(",3,", ",300,"), "not on the scale"),
        (lambda text: text[: text.index("\n") + 1], "no ratings"),
        (lambda text: text.replace(" 3 ", " 3,5 ", 1).replace(",3,", ",3,5,", 1), "not as many cells"),
        (lambda text: text + '"', "no row of a table"),
    ],
)
def test_faulty_results_name_the_line(study: Path, tmp_path: Path, change: Any, needle: str | None) -> None:
    table, key = load_study(study), load_key(study.with_name("key.json"))
    path = tmp_path / "results.csv"
    results(table, key, path, lambda *_: 3)
    path.write_text(change(path.read_text()))
    if needle is None:
        assert read_results(path, table, key)
        return
    with pytest.raises(StudyError, match=needle) as error:
        read_results(path, table, key)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_results_of_another_study_are_refused(study: Path, songs: dict[str, Path], tmp_path: Path) -> None:
    other = make(songs, tmp_path / "other" / "study", load_study(study).method, seed=5)
    results(other.study, other.key, tmp_path / "results.csv", lambda *_: 3)
    with pytest.raises(StudyError, match="not of this study"):
        read_results(tmp_path / "results.csv", load_study(study), load_key(study.with_name("key.json")))


def test_methods_without_a_page_there_are_refused_and_the_command_writes_a_file_a_listener(
    study: Path, songs: dict[str, Path], tmp_path: Path
) -> None:
    done = run_here(
        "study", "export", study, "--key", study.with_name("key.json"), "--to", "webmushra", "-o", tmp_path / "w"
    )
    assert done.returncode == 0 and len(list((tmp_path / "w").glob("listener-*.yaml"))) == 6
    made = make(songs, tmp_path / "ab" / "study", "ab")
    with pytest.raises(StudyError, match="no page for ab"):
        configuration(made.study, made.key, 1, "x")
