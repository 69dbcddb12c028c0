"""A study's records: what belongs together is checked, pages follow the method."""

import json
from pathlib import Path
from typing import Any

import pytest

from ldm_sep.errors import LdmSepError, StudyError
from ldm_sep.study.records import Study, load_study, pages

TEXTS = {name: "words" for name in ("consent", "instructions", "training", "thanks", "reference")}
QUESTION = {"id": "quality", "text": "How good?", "minimum": 1, "maximum": 5, "step": 1, "labels": []}


def trial(name: str, count: int, reference: bool) -> dict[str, Any]:
    stimuli = [{"id": f"{name}stim{i}", "audio": f"audio/{name}stim{i}.wav"} for i in range(count)]
    return {
        "id": name,
        "seconds": 10.0,
        "reference": f"audio/{name}reference.wav" if reference else None,
        "stimuli": stimuli,
    }


def table(method: str, reference: bool = True, count: int = 2) -> dict[str, Any]:
    trials = [trial(f"trial{i}", count, reference) for i in range(3)]
    order = [{"trial": t["id"], "stimuli": [s["id"] for s in reversed(t["stimuli"])]} for t in trials]
    return {
        "format": 1,
        "title": "A study",
        "method": method,
        "questions": [QUESTION, {**QUESTION, "id": "noise"}] if method == "p835" else [QUESTION],
        "texts": TEXTS,
        "headphones": True,
        "sample_rate": 48000,
        "loudness_lufs": -23.0,
        "training": [trial("practice", count, reference)],
        "trials": trials,
        "listeners": [{"number": 1, "trials": order[::-1]}, {"number": 2, "trials": order[:2]}],
    }


def test_a_page_is_a_stimulus_in_p835_and_a_trial_in_the_other_methods() -> None:
    one = pages(Study.model_validate(table("p835")), 1)
    names = [[s.id for s in page.stimuli] for page in one]
    assert names[:3] == [["practicestim0"], ["practicestim1"], ["trial2stim1"]] and len(one) == 8
    assert [page.training for page in one] == [True] * 2 + [False] * 6
    together = pages(Study.model_validate(table("mushra")), 2)
    assert [[s.id for s in page.stimuli] for page in together[1:]] == [
        ["trial0stim1", "trial0stim0"],
        ["trial1stim1", "trial1stim0"],
    ]
    with pytest.raises(StudyError, match="listener 3"):
        pages(Study.model_validate(table("p835")), 3)


@pytest.mark.parametrize(
    ("method", "reference", "count", "change", "needle"),
    [
        ("ab", False, 3, {}, "two stimuli"),
        ("mushra", False, 3, {}, "gives a reference"),
        ("bs2132", True, 3, {}, "no reference"),
        ("bs2132", False, 3, {"questions": [QUESTION, {**QUESTION, "id": "noise"}]}, "one question"),
        ("p835", True, 2, {"questions": [QUESTION, QUESTION]}, "two questions"),
        (
            "p835",
            True,
            2,
            {"listeners": [{"number": 1, "trials": [{"trial": "trial9", "stimuli": ["x" * 6]}]}]},
            "trial9",
        ),
        ("p835", True, 2, {"systems": ["ours"]}, "systems"),
    ],
)
def test_what_does_not_belong_together_is_one_line(
    tmp_path: Path, method: str, reference: bool, count: int, change: dict[str, Any], needle: str
) -> None:
    (tmp_path / "study.json").write_text(json.dumps(table(method, reference, count) | change))
    with pytest.raises(LdmSepError, match=needle) as error:
        load_study(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_a_whole_study_is_read_back(tmp_path: Path) -> None:
    study = Study.model_validate(table("ab", reference=False))
    (tmp_path / "study.json").write_text(study.model_dump_json())
    assert load_study(tmp_path) == study
