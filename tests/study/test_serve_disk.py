"""Answers and the disk: full, failing, torn and damaged."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Lab, saved_lines


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    one = Lab(tmp_path, "mushra", seconds=0.5, stimuli=3)
    yield one
    one.desk.close()


@pytest.mark.parametrize("failing", ["write", "fsync", "half"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_disk_is_told_and_nothing_is_lost(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, failing: str, code: int
) -> None:
    tab = lab.tab()
    place = tab.arrive()
    before = (lab.answers / "1.jsonl").read_bytes()
    rows = tab.answers(place)
    write = os.write

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    def half(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", refuse)
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as full:
        full.setattr(os, "write" if failing == "half" else failing, half if failing == "half" else refuse)
        reply = tab.rate(rows)
        assert reply.status_code == 507
        assert os.strerror(code) in reply.json()["error"] and str(lab.answers) not in reply.text
        monkeypatch.undo()
    assert (lab.answers / "1.jsonl").read_bytes() == before
    # The answers were not confirmed: the page is still open, and the same events are accepted now.
    assert tab.where()["page"] == place["page"]
    reply = tab.rate(rows)
    assert reply.status_code == 200 and reply.json()["repeated"] is False
    assert (lab.answers / "1.jsonl").read_bytes().startswith(before)
    assert [line["event"] for line in saved_lines(lab.answers, 1)[-3:]] == [row["event"] for row in rows]


def test_what_could_not_be_undone_is_undone_before_the_next_answer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    tab = lab.tab()
    rows = tab.answers(tab.arrive())
    write = os.write

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    def half(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", refuse)
        monkeypatch.setattr(os, "ftruncate", refuse)
        return write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    assert tab.rate(rows).status_code == 507
    monkeypatch.undo()
    assert tab.rate(rows).status_code == 200
    assert len(saved_lines(lab.answers, 1)) == 6


def test_the_disk_has_the_answers_before_the_reply_leaves(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    tab = lab.tab()
    rows = tab.answers(tab.arrive())
    synced: list[bytes] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((lab.answers / "1.jsonl").read_bytes())

    monkeypatch.setattr(os, "fsync", watched)
    assert tab.rate(rows).status_code == 200
    assert synced and all(row["event"].encode() in synced[-1] for row in rows)


@pytest.mark.parametrize(("rows", "more"), [(0, 1), (0, 9), (1, 0), (1, 1), (1, 99)])
def test_a_torn_page_is_set_aside_told_and_asked_again(tmp_path: Path, rows: int, more: int) -> None:
    """What is missing at the end: of the two lines of a page so many, and so many bytes."""
    lab = Lab(tmp_path, "ab", seconds=0.5)
    path, aside = lab.answers / "1.jsonl", lab.answers / "1.aside.txt"
    tab = lab.tab()
    place = tab.arrive()
    before = path.read_bytes()
    tab.rate(tab.answers(place))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    cut = sum(map(len, lines[len(lines) - rows :])) + more
    path.write_bytes(whole[:-cut])
    lab.restart()
    assert lab.desk.notes == [f"{path}: its last page was torn in mid-writing; set aside in {aside}, it comes again"]
    assert aside.read_bytes().rstrip(b"\n") == whole[len(before) : -cut].rstrip(b"\n")
    assert lab.tab().where()["page"] == place["page"]
    lab.tab().finish()
    assert path.read_bytes().startswith(before)
    assert sum(line["kind"] == "answer" for line in saved_lines(lab.answers, 1)) == 6
    lab.restart()
    assert lab.desk.notes == []
    lab.desk.close()


def test_damaged_lines_stay_are_told_and_only_their_page_comes_again(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "p835", trials=3, stimuli=1, seconds=0.5)
    path = lab.answers / "1.jsonl"
    lab.tab().finish(rating=2)
    lines = path.read_bytes().splitlines(keepends=True)
    rated = [k for k, line in enumerate(lines) if b'"answer"' in line]
    stimulus = json.loads(lines[rated[4]])["stimulus"]
    lines[rated[4]] = b"\xff\x00{damaged\n"
    path.write_bytes(b"".join(lines))
    lab.restart()
    assert lab.desk.notes == [f"{path}: line {rated[4] + 1} is damaged and is passed over"]
    place = lab.tab().where()
    assert [s["id"] for s in place["page"]["stimuli"]] == [stimulus] and place["done"] == 3
    lab.tab().finish(rating=5)
    assert path.read_bytes().startswith(b"".join(lines))
    lab.desk.close()
