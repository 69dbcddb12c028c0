"""A real server process: many listeners at once, killed and started again, on a full disk, over a network."""

import os
import resource
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from listening import Caller
from serving import make_study, saved_lines, server

from ldm_sep.errors import LdmSepError
from ldm_sep.study.server import serve


def answers_of(folder: Path, number: int) -> list[tuple[str, str, float]]:
    lines = [line for line in saved_lines(folder, number) if line["kind"] == "answer"]
    return [(line["stimulus"], line["question"], line["rating"]) for line in lines]


def test_fifteen_listeners_at_once_each_with_two_tabs(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "mushra", listeners=15, trials=3, stimuli=4, seconds=0.5)
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _), httpx2.Client(base_url=address) as client:
        gate = threading.Barrier(15)

        def listen(number: int) -> None:
            one, two = Caller(client, str(number)), Caller(client, str(number))
            gate.wait()
            place = one.arrive()
            with ThreadPoolExecutor(2) as tabs:
                while place["step"] != "finished":
                    if place["step"] == "page":
                        sent = [(tab, tab.answers(place, rating)) for tab, rating in ((one, number), (two, 99))]
                        replies = list(tabs.map(lambda pair: pair[0].rate(pair[1]).json(), sent))
                        assert sorted(reply["repeated"] for reply in replies) == [False, True]
                    else:
                        one.milestone(place["step"])
                    place = one.where()
            one.finish()

        with ThreadPoolExecutor(15) as pool:
            list(pool.map(listen, range(1, 16)))
        everybody = Caller(client, "1").client.get("/api/progress", headers={}).json()["listeners"]
    assert [(one["step"], one["done"]) for one in everybody] == [("done", 4)] * 15
    for order in study.listeners:
        rated = answers_of(tmp_path / "answers", order.number)
        expected = [s.id for t in study.training for s in t.stimuli] + [s for t in order.trials for s in t.stimuli]
        assert [name for name, _, _ in rated] == expected
        # A page is one tab's as a whole.
        pages = [{rating for _, _, rating in rated[k : k + 4]} for k in range(0, len(rated), 4)]
        assert all(len(page) == 1 and page <= {order.number, 99} for page in pages)


def test_a_server_killed_in_mid_study_forgets_nothing_that_it_confirmed(tmp_path: Path) -> None:
    make_study(tmp_path / "study", "p835", listeners=6, trials=30, stimuli=1, seconds=0.5)
    folder = tmp_path / "answers"
    confirmed: dict[int, list[str]] = {number: [] for number in range(1, 7)}
    for _ in range(3):
        with server(tmp_path / "study", folder) as (process, address, _):

            def listen(number: int, address: str = address, pid: int = process.pid) -> None:
                with httpx2.Client(base_url=address) as client:
                    tab = Caller(client, str(number))
                    try:
                        place = tab.arrive()
                        for count in range(8):
                            if place["step"] == "training":
                                place |= tab.milestone("training").json()
                            rows = tab.answers(place)
                            reply = tab.rate(rows)
                            place |= reply.json()
                            confirmed[number] += [row["event"] for row in rows]
                            if number == 3 and count == 5:
                                os.kill(pid, signal.SIGKILL)
                    except httpx2.TransportError:
                        # The server is gone in mid-answer, as planned.
                        return

            with ThreadPoolExecutor(6) as pool:
                list(pool.map(listen, confirmed))
            assert process.wait(30) == -signal.SIGKILL
    with server(tmp_path / "study", folder) as (_, address, _), httpx2.Client(base_url=address) as client:
        for number, events in confirmed.items():
            saved = [line["event"] for line in saved_lines(folder, number) if line["kind"] == "answer"]
            assert set(events) <= set(saved) and len(saved) == len(set(saved)) and len(saved) % 3 == 0
            Caller(client, str(number)).finish()
    for number in confirmed:
        cells = [(stimulus, question) for stimulus, question, _ in answers_of(folder, number)]
        assert len(cells) == len(set(cells)) == 31 * 3


def test_a_full_disk_in_mid_study(tmp_path: Path) -> None:
    make_study(tmp_path / "study", "ab", trials=4, seconds=0.5)
    path = tmp_path / "answers/1.jsonl"
    with (
        server(tmp_path / "study", tmp_path / "answers") as (process, address, _),
        httpx2.Client(base_url=address) as client,
    ):
        tab = Caller(client, "1")
        place = tab.arrive()
        before = path.read_bytes()
        # The system takes another 100 bytes of this file and no more.
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (len(before) + 100, hard))
        rows = tab.answers(place)
        for _ in range(3):
            reply = tab.rate(rows)
            assert reply.status_code == 507 and "could not be saved" in reply.json()["error"]
        assert path.read_bytes() == before
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert tab.rate(rows).json()["repeated"] is False
        tab.finish()
    assert len(answers_of(tmp_path / "answers", 1)) == 10


def test_links_over_a_network_are_said_once_and_stay_valid(tmp_path: Path) -> None:
    make_study(tmp_path / "study", "ab", seconds=0.5)
    links: list[str] = []
    for start in range(2):
        with server(tmp_path / "study", tmp_path / "answers", host="0.0.0.0") as (_, address, said):
            links += [line.split()[-1] for line in said if "#" in line]
            assert len(links) == 3 and len(set(links)) == 3
            assert (start == 0) == any("shown this once" in line for line in said)
            assert all(link.startswith(("http://",)) for link in links)
            token = links[0].partition("#")[2]
            with httpx2.Client(base_url=address) as client:
                assert Caller(client, token).where()["listener"] == 1
                assert client.get("/api/session", headers={"authorization": "Bearer 1"}).status_code == 401
                assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert token not in (tmp_path / "answers/access.json").read_text()


def test_an_orderly_stop_is_a_normal_end(tmp_path: Path) -> None:
    make_study(tmp_path / "study", "ab", seconds=0.5)
    for number in (signal.SIGINT, signal.SIGTERM):
        with server(tmp_path / "study", tmp_path / "answers") as (process, _, _):
            process.send_signal(number)
            assert process.wait(30) == 0
            assert process.stdout is not None
            assert process.stdout.read() == f"stopped; the answers are in {tmp_path / 'answers'}\n"


def test_what_cannot_be_served_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    study, answers = tmp_path / "study", tmp_path / "answers"
    make_study(study, "ab", seconds=0.5)
    make_study(tmp_path / "other", "ab", seconds=0.5, trials=3)

    def fails(*words: str, of: Path = study, to: Path = answers, **settings: int) -> None:
        with pytest.raises(LdmSepError) as error:
            serve(of, to, port=0, **settings)
        assert "\n" not in str(error.value)
        assert all(word in str(error.value) for word in words), str(error.value)

    fails("no such file", "prepare", of=tmp_path / "nothing")
    fails("2", "listeners", listeners=3)
    (tmp_path / "file").write_text("not a folder")
    fails("file", to=tmp_path / "file")
    fails("outside", to=study / "answers")
    with server(study, answers):
        fails("another server", str(answers))
    fails("another study", str(answers), of=tmp_path / "other")
    gone = next((study / "audio").iterdir())
    gone.rename(tmp_path / "gone")
    fails(gone.name, "prepare the study again", to=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "gone").rename(gone)
    (answers / "1.jsonl").unlink()
    (answers / "1.jsonl").mkdir()
    fails("1.jsonl")
