"""Answer files: nothing is counted twice, nothing that can be read is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_records import table

from ldm_sep.errors import StudyError
from ldm_sep.study.answers import load_answers
from ldm_sep.study.records import Study

STUDY = Study.model_validate(table("p835"))


def line(**changes: Any) -> str:
    row: dict[str, Any] = {
        "kind": "answer",
        "listener": 1,
        "session": "tab1",
        "event": "event1",
        "trial": "trial0",
        "stimulus": "trial0stim0",
        "question": "quality",
        "rating": 4,
        "started": "2026-01-01T10:00:00Z",
        "answered": "2026-01-01T10:00:09Z",
        "listened": 8.5,
    }
    return json.dumps(row | changes) + "\n"


def test_a_retry_and_a_doubled_tab_count_once_and_the_first_rating_stands(tmp_path: Path) -> None:
    retry = line() * 2
    other_tab = line(event="event2", session="tab2", rating=1)
    (tmp_path / "1.jsonl").write_text(retry + other_tab + line(event="event3", question="noise", rating=2))
    found = load_answers(tmp_path, STUDY)
    assert [(a.question, a.rating) for a in found.answers] == [("quality", 4), ("noise", 2)]
    assert len(found.notes) == 1 and "2 repeated answers" in found.notes[0]


def test_a_torn_last_line_and_a_damaged_one_lose_only_themselves(tmp_path: Path) -> None:
    good = [line(), line(event="event2", stimulus="trial0stim1"), line(event="event3", question="noise")]
    (tmp_path / "1.jsonl").write_bytes(
        (good[0] + '{"kind": "ans\x00\n' + good[1]).encode() + b"\xff\xfe\n" + good[2].encode() + line()[:40].encode()
    )
    found = load_answers(tmp_path, STUDY)
    assert len(found.answers) == 3
    assert ["line 2" in found.notes[0], "line 4" in found.notes[1], "line 6 is torn" in found.notes[2]] == [True] * 3


@pytest.mark.parametrize(
    ("changes", "needle"),
    [
        ({"rating": 6}, "6 is not on the scale"),
        ({"rating": 2.5}, "2.5 is not on the scale"),
        ({"trial": "trial9"}, "no trial trial9"),
        ({"listener": 2, "trial": "trial2", "stimulus": "trial2stim0"}, "no trial trial2"),
        ({"stimulus": "trial1stim0"}, "no stimulus trial1stim0"),
        ({"question": "loudness"}, "no question 'loudness'"),
        ({"listener": 9}, "no listener 9"),
    ],
)
def test_an_answer_to_another_study_is_named_and_passed_over(
    tmp_path: Path, changes: dict[str, Any], needle: str
) -> None:
    (tmp_path / "1.jsonl").write_text(line(event="fine", question="noise"))
    path = tmp_path / f"{changes.get('listener', 1)}.jsonl"
    with path.open("a") as file:
        file.write(line(**changes))
    found = load_answers(tmp_path, STUDY)
    assert len(found.answers) == 1
    assert len(found.notes) == 1 and needle in found.notes[0] and str(path) in found.notes[0]


def test_a_line_in_another_listeners_file_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text(line(event="fine") + line(event="other", listener=2))
    found = load_answers(tmp_path, STUDY)
    assert len(found.answers) == 1 and "listener 2" in found.notes[0]


def test_no_answers_at_all_is_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(StudyError) as error:
            load_answers(folder, STUDY)
        assert str(folder) in str(error.value)
