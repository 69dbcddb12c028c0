"""What a study's server takes from listeners, what it refuses, and what it never tells."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from listening import Caller, now
from serving import ADDRESS, Lab, saved_lines
from starlette.testclient import TestClient

from ldm_sep.study.records import Method
from ldm_sep.study.server import Entrance, study_app
from ldm_sep.web.guard import LOOPBACK_NAMES
from ldm_sep.web.tokens import load_tokens

METHODS: tuple[Method, ...] = ("p835", "mushra", "bs2132", "ab")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    one = Lab(tmp_path, "mushra", seconds=0.5, stimuli=3)
    yield one
    one.desk.close()


@pytest.mark.parametrize("method", METHODS)
def test_a_listener_goes_from_consent_to_the_end_and_everything_is_on_disk(tmp_path: Path, method: Method) -> None:
    lab = Lab(tmp_path, method, seconds=0.5)
    lab.tab(1).finish()
    lines = saved_lines(lab.answers, 1)
    steps = [line["step"] for line in lines if line["kind"] == "milestone"]
    assert steps == ["consent", "level", "headphones", "training", "finished"]
    assert lines[-1]["comment"] == "ü, 好, 🎧\u2028\nend"
    rated = [(line["stimulus"], line["question"]) for line in lines if line["kind"] == "answer"]
    expected = [(s.id, q.id) for t in lab.study.training for s in t.stimuli for q in lab.study.questions]
    order = next(o for o in lab.study.listeners if o.number == 1)
    expected += [(name, q.id) for t in order.trials for name in t.stimuli for q in lab.study.questions]
    assert rated == expected
    assert {line["listener"] for line in lines} == {1} and saved_lines(lab.answers, 2) == []
    lab.desk.close()


def test_steps_cannot_be_skipped(lab: Lab) -> None:
    tab = lab.tab()
    for step in ("level", "headphones", "training", "finished"):
        assert tab.milestone(step).status_code == 409
    assert tab.milestone("consent").status_code == 200
    assert tab.milestone("finished").status_code == 409
    assert [line["step"] for line in saved_lines(lab.answers, 1)] == ["consent"]


def test_the_headphone_check_is_passed_at_five_of_six_and_every_attempt_is_kept(lab: Lab) -> None:
    tab = lab.tab()
    tab.milestone("consent")
    tab.milestone("level")
    assert tab.milestone("headphones").status_code == 409
    assert tab.milestone("headphones", correct=4).json()["step"] == "headphones"
    assert tab.milestone("headphones", correct=7).status_code == 422
    assert tab.milestone("headphones", correct=5).json()["step"] == "page"
    assert [line.get("correct") for line in saved_lines(lab.answers, 1)][2:] == [4, 5]


def test_a_study_without_the_check_or_practice_has_none(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "ab", seconds=0.5, headphones=False, training=0)
    lab.tab().finish()
    steps = [line["step"] for line in saved_lines(lab.answers, 1) if line["kind"] == "milestone"]
    assert steps == ["consent", "level", "finished"]
    lab.desk.close()


def change(rows: list[dict[str, Any]], **values: Any) -> list[dict[str, Any]]:
    return [{**rows[0], **values}, *rows[1:]]


def test_a_page_is_taken_only_heard_rated_and_in_its_turn(lab: Lab) -> None:
    tab = lab.tab()
    place = tab.arrive()
    rows = tab.answers(place)
    before = saved_lines(lab.answers, 1)
    other = next(t for t in lab.study.trials if t.id != place["page"]["trial"]["id"])
    wrong = {
        "unrated": rows[:-1],
        "nothing": [],
        "unheard": change(rows, listened=0.1),
        "off the scale": change(rows, rating=100.5),
        "between the steps": change(rows, rating=3.5),
        "another trial": [{**row, "trial": other.id} for row in rows],
        "another trial's sound": change(rows, stimulus=other.stimuli[0].id),
        "an unknown question": change(rows, question="loudness"),
        "twice the same": [*rows, {**rows[0], "event": "x"}],
    }
    for name, table in wrong.items():
        reply = tab.rate(table)
        assert reply.status_code == 409, name
        assert "error" in reply.json()
    for values in ({"rating": "loud"}, {"rating": None}, {"stimulus": "../key"}, {"event": "a b"}, {"extra": 1}):
        assert tab.rate(change(rows, **values)).status_code == 422, values
    assert saved_lines(lab.answers, 1) == before
    assert tab.rate(rows).status_code == 200


def test_an_ab_page_rates_both_sounds_as_one_choice(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "ab", seconds=0.5)
    tab = lab.tab()
    rows = tab.answers(tab.arrive())
    for pair in ((1, 1), (0, 0), (0.5, 1), (0.25, 0.75)):
        assert tab.rate([{**row, "rating": value} for row, value in zip(rows, pair, strict=True)]).status_code == 409
    assert tab.rate([{**row, "rating": 0.5} for row in rows]).status_code == 200
    lab.desk.close()


@pytest.mark.parametrize(
    "body", ["null", "1", '"x"', "[]", "{}", '{"answers": null}', '{"answers": {}}', '{"answers": [1]}']
)
def test_other_bodies_are_refused(lab: Lab, body: str) -> None:
    tab = lab.tab()
    tab.arrive()
    for path in ("/api/answers", "/api/milestones"):
        assert lab.client.post(path, content=body, headers=tab.headers).status_code == 422


def test_text_that_is_no_unicode_is_refused_and_not_a_defect(lab: Lab) -> None:
    lab.tab().arrive()
    headers = {**lab.tab().headers, "content-type": "application/json"}
    body = '{"kind":"milestone","session":"s","event":"e","step":"level","at":"%s","%s":"\\ud800"}'
    for name in ("comment", "\\ud800"):
        content = body % (now(), name)
        assert lab.client.post("/api/milestones", content=content, headers=headers).status_code == 422


def test_a_page_that_is_sent_again_counts_once(lab: Lab) -> None:
    tab, second_tab = lab.tab(), lab.tab()
    place = tab.arrive()
    rows = tab.answers(place, 20)
    first = tab.rate(rows).json()
    assert first["repeated"] is False
    # The same delivery again, as after a lost reply, and another rating of the same page from a second tab.
    again = tab.rate(rows)
    other = second_tab.rate(second_tab.answers(place, 90))
    for reply in (again, other):
        assert reply.status_code == 200
        assert reply.json() == {**first, "repeated": True}
    assert second_tab.milestone("consent").json()["repeated"] is True
    kept = [line["rating"] for line in saved_lines(lab.answers, 1) if line["kind"] == "answer"]
    assert kept == [20, 20, 20]


def test_two_ratings_of_one_event_are_refused_and_the_page_can_be_sent_anew(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "p835", seconds=0.5)
    tab = lab.tab()
    place = tab.arrive()
    rows = tab.answers(place)
    before = saved_lines(lab.answers, 1)
    assert tab.rate([{**row, "event": "e"} for row in rows]).status_code == 409
    assert saved_lines(lab.answers, 1) == before
    assert tab.rate(rows).status_code == 200
    # An event of an earlier page would not count either.
    again = tab.answers(tab.where())
    assert tab.rate([{**again[0], "event": rows[0]["event"]}, *again[1:]]).status_code == 409
    assert tab.rate(again).status_code == 200
    lab.desk.close()


def test_reload_and_second_device_go_on_where_the_listener_was(lab: Lab) -> None:
    tab = lab.tab()
    place = tab.arrive()
    after = tab.rate(tab.answers(place)).json()
    for other in (lab.tab(), Caller(lab.client, "1")):
        assert {key: other.where()[key] for key in after} == after
    lab.restart()
    assert {key: lab.tab().where()[key] for key in after} == after


def test_who_answers_is_said_by_the_link_and_not_by_the_body(lab: Lab) -> None:
    tab = lab.tab(2)
    place = tab.arrive()
    assert tab.rate([{**row, "listener": 1} for row in tab.answers(place)]).status_code == 200
    assert saved_lines(lab.answers, 1) == []
    assert {line["listener"] for line in saved_lines(lab.answers, 2)} == {2}


@pytest.mark.parametrize("code", ["", "0", "3", "-1", "1e0", "01x", "%EF%BC%91", "1%00", "9" * 5000, "%ff", "../1"])
def test_codes_that_are_nobodys_are_refused(lab: Lab, code: str) -> None:
    assert lab.client.get("/api/session", headers={"authorization": f"Bearer {code}"}).status_code == 401


def test_only_the_sounds_of_ones_own_pages_are_served(lab: Lab) -> None:
    (lab.folder / "study" / "audio" / "extra00.wav").write_bytes(b"not of this study")
    tab = lab.tab()
    place = tab.arrive()
    name = place["page"]["stimuli"][0]["audio"].removesuffix(".wav")
    reply = lab.client.get(f"/api/{name}", headers=tab.headers)
    assert reply.content == (lab.folder / "study" / f"{name}.wav").read_bytes()
    assert reply.headers["content-type"] == "audio/wav"
    assert lab.client.get(f"/api/{name}").status_code == 401
    for other in (
        "extra00",
        "..%2fstudy",
        "..%2f..%2fkey",
        "%2fetc%2fpasswd",
        "a%00",
        ".",
        "%2e%2e",
        "A000000",
        "x" * 5000,
    ):
        assert lab.client.get(f"/api/audio/{other}", headers=tab.headers).status_code == 404, other


def test_nothing_that_is_served_says_more_than_the_page_shows(lab: Lab) -> None:
    tab = lab.tab()
    seen = [lab.client.get(path, headers=tab.headers) for path in ("/", "/api/door", "/api/session", "/api/progress")]
    seen += [lab.client.get(f"/static/{path.name}") for path in (ROOT / "ldm_sep/study/static").iterdir()]
    place = tab.arrive()
    while place["step"] == "page":
        # A page lists its sounds in this listener's order only: that of study.json may be the order of the systems.
        assert set(place["page"]["trial"]) == {"id", "seconds", "reference"}
        reply = tab.rate(tab.answers(place))
        seen.append(reply)
        place = place | reply.json()
    text = "\n".join(f"{dict(reply.headers)} {reply.text}" for reply in seen)
    assert str(lab.folder) not in text and "key.json" not in text and ".jsonl" not in text
    assert set(lab.client.get("/api/progress", headers=tab.headers).json()["listeners"][0]) == {
        "listener",
        "step",
        "done",
        "total",
        "headphones",
        "first",
        "last",
    }


def test_on_a_network_everybody_needs_the_own_link(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "ab", seconds=0.5)
    tokens, made = load_tokens(lab.answers / "access.json", ["1", "2", "experimenter"])
    client = TestClient(study_app(lab.folder / "study", lab.desk, Entrance(lab.desk, tokens), LOOPBACK_NAMES), ADDRESS)
    Caller(client, made["1"]).finish()
    assert {line["listener"] for line in saved_lines(lab.answers, 1)} == {1}

    def get(path: str, code: str) -> int:
        return client.get(path, headers={"authorization": f"Bearer {code}"}).status_code

    assert get("/api/session", "1") == 401 and get("/api/session", made["experimenter"]) == 401
    assert client.get("/api/session").status_code == 401 and client.get("/api/progress").status_code == 401
    assert get("/api/progress", made["1"]) == 401 and get("/api/progress", made["experimenter"]) == 200
    # Guessing is slowed down, and does not lock out those who come from the same address with a right link.
    assert Counter(get("/api/session", f"guess{i}") for i in range(30))[429] >= 8
    assert get("/api/session", made["2"]) == 200
    lab.desk.close()
