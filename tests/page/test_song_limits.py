"""What is refused, how politely, and what is left of it: nothing."""

import asyncio
import errno
import os
import shutil
import threading
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from songs import ADDRESS, RATE, House, as_file, deliver, song, until

from ldm_sep.page import uploads
from ldm_sep.page.job_store import now
from ldm_sep.page.records import Bounds
from ldm_sep.web.tokens import load_tokens

SMALL = Bounds(upload=400_000, minutes=0.1, places=3, memory=300 << 20)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, untrained: Path) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house"), untrained, SMALL) as one:
        yield one


@pytest.fixture
def clean(house: House) -> Iterator[House]:
    """The page, which holds nothing before and nothing unfinished afterwards."""
    yield house
    for job in house.store.all():
        house.queue.delete(job)
    assert left(house) == []


def left(house: House) -> list[str]:
    root = house.store.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.name not in ("jobs", "incoming"))


def pieces(data: bytes, size: int = 10_000) -> Iterator[bytes]:
    """A body without a declared length."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_upload_is_counted_and_one_that_is_too_large_leaves_nothing(clean: House, streamed: bool) -> None:
    data = os.urandom(400_001)
    reply = clean.client.post("/api/jobs", content=pieces(data) if streamed else data)
    assert reply.status_code == 413 and "400000" in reply.json()["error"]
    assert left(clean) == []
    # Only uploads may be that large.
    reply = clean.client.post("/api/door", content=bytes(70_000))
    assert reply.status_code == 413


def test_an_empty_upload_is_refused(clean: House) -> None:
    assert clean.client.post("/api/jobs", content=b"").status_code == 400
    assert left(clean) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Dear Sir or Madam", "holds text"),
        (b"RIFF" + bytes(5000), "read"),
        (as_file(song(6.2)), "longer than 0.1 minutes"),
        (as_file(song(5))[:-40_000], "cut off"),
        (os.urandom(20_000), "read"),
    ],
    ids=["text", "header only", "too long", "cut off", "noise"],
)
def test_a_file_that_cannot_be_used_is_told_at_once_in_its_owner_s_words(clean: House, data: bytes, words: str) -> None:
    job = clean.await_state(clean.add(data, "my demo.wav"), "done", "failed", "queued")
    assert job["state"] == "failed" and words in job["error"] and job["take"] == 0
    assert "my demo.wav" in job["error"] and str(clean.store.root) not in job["error"]
    assert clean.client.get(f"/api/jobs/{job['id']}/files/vocals.wav").status_code == 409
    for suffix in ("wav", "flac", "mp3"):
        reply = clean.client.get(f"/api/jobs/{job['id']}/files/mixture.{suffix}")
        assert reply.status_code == 409 and "/" not in reply.json()["error"]
    # Nothing of the song was kept but the upload, for another try.
    assert [name for name in left(clean) if name.endswith((".wav", ".peaks"))] == []


def test_a_decoder_has_only_so_much_memory(clean: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A small file of many channels: decoding keeps some seconds of all of them.
    path = tmp_path / "wide.flac"
    sf.write(path, np.zeros((4 * 655_350, 8), np.int16), 655_350, "PCM_16")
    monkeypatch.setattr(clean.queue, "bounds", SMALL.model_copy(update={"memory": 1 << 20}))
    job = clean.await_state(clean.add(path.read_bytes()), "done", "failed")
    assert job["state"] == "failed" and "memory" in job["error"]


def test_a_decoder_has_only_so_much_time(clean: House, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = SMALL.model_copy(update={"minutes": 1})
    # Long enough that the decoder is still at work when its time is found to be over.
    silence = as_file(np.zeros((2, 40 * 44100), np.float32), "FLAC", rate=44100)
    monkeypatch.setattr(clean.queue, "bounds", longer.model_copy(update={"decoding_seconds": 0.0001}))
    job = clean.await_state(clean.add(silence), "queued", "done", "failed")
    assert job["state"] == "failed" and "was not decoded within" in job["error"]
    monkeypatch.setattr(clean.queue, "bounds", longer)
    # Another try, with more time, reads the same upload.
    reply = clean.client.post(f"/api/jobs/{job['id']}/order", json={})
    assert reply.status_code == 202 and clean.await_state(job, "done", "failed")["state"] == "done"


def test_a_full_queue_says_when_to_come_again(clean: House) -> None:
    data = as_file(song(1))
    gate = threading.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield data[:1000]
        while not gate.is_set():
            await asyncio.sleep(0.02)
        yield data[1000:]

    with ThreadPoolExecutor(3) as senders:
        sent = [senders.submit(deliver, clean.app, slow) for _ in range(3)]
        # Places are taken while uploads last, so that nobody uploads in vain.
        until(lambda: len(list((clean.store.root / "incoming").iterdir())) == 3)
        refused = clean.client.post("/api/jobs", content=data)
        assert refused.status_code == 429 and "full" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) > 0
        gate.set()
        jobs = [job for status, job in (one.result() for one in sent) if status == 201]
    assert len(jobs) == 3
    for job in jobs:
        assert clean.await_state(job, "done", "failed")["state"] == "done"
    assert clean.client.post("/api/jobs", content=data).status_code == 201


def test_a_sender_who_pauses_crawls_or_goes_away_leaves_nothing(clean: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def pausing() -> AsyncIterator[bytes]:
        yield b"RIFF"
        await asyncio.sleep(60)

    async def leaving() -> AsyncIterator[bytes | None]:
        yield as_file(song(1))
        yield None

    async def crawling() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"RIFF"

    assert deliver(clean.app, leaving)[0] == 400
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_PAUSE_SECONDS", 0.2)
        assert deliver(clean.app, pausing)[0] == 408
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_GRACE_SECONDS", -1.0)
        assert deliver(clean.app, crawling)[0] == 408
    assert left(clean) == [] and clean.client.get("/api/jobs").json() == {"jobs": []}


def test_a_disk_without_room_is_told_before_and_in_the_midst(clean: House, monkeypatch: pytest.MonkeyPatch) -> None:
    Usage = namedtuple("Usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 10**8, 10**8))
        reply = clean.client.post("/api/jobs", content=as_file(song(1)))
        assert reply.status_code == 507 and "room" in reply.json()["error"]

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        reply = clean.client.post("/api/jobs", content=as_file(song(1)))
        assert reply.status_code == 507 and "No space left" in reply.json()["error"], reply.text
    assert left(clean) == []


def test_other_sites_and_other_names_are_refused(clean: House) -> None:
    for headers, status in (({"origin": "https://evil.example"}, 403), ({"host": "evil.example"}, 421)):
        for method, path in (("POST", "/api/jobs"), ("GET", "/api/jobs"), ("DELETE", "/api/jobs/x")):
            assert clean.client.request(method, path, headers=headers).status_code == status
    assert clean.client.put("/api/jobs", content=b"x").status_code == 405
    assert clean.client.get("/api/jobs/..%2f..%2fetc%2fpasswd").status_code == 404
    policy = clean.client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy


def test_over_a_network_nothing_is_told_without_the_token(tmp_path: Path, untrained: Path) -> None:
    tokens, made = load_tokens(tmp_path / "access.json", ["everybody"])
    with House(tmp_path / "songs", untrained, tokens=tokens) as house:
        client = house.client
        for method, path in (
            ("GET", "/api/jobs"),
            ("POST", "/api/jobs"),
            ("GET", "/api/model"),
            ("GET", "/api/jobs/x"),
        ):
            assert client.request(method, path).status_code == 401
            assert client.request(method, path, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/api/door").json() == {"open": False} and client.get("/").status_code == 200
        assert client.post("/api/door", json={"token": "wrong"}).status_code == 401
        bearer = {"authorization": f"Bearer {made['everybody']}"}
        assert client.get("/api/jobs", headers=bearer).status_code == 200
        # A browser gets a cookie that no script can read and no other site can send.
        reply = client.post("/api/door", json={"token": made["everybody"]})
        assert {"httponly", "samesite=strict"} <= set(reply.headers["set-cookie"].lower().split("; "))
        assert client.get("/api/jobs").status_code == 200
        client.cookies.clear()
        codes = [client.post("/api/door", json={"token": f"guess {k}"}).status_code for k in range(30)]
        assert codes[-1] == 429


def test_songs_go_by_age_and_by_size_and_what_waits_stays(clean: House) -> None:
    jobs = [clean.await_state(clean.add(as_file(song(2)), f"{k}.wav"), "done") for k in range(3)]
    store = clean.store

    def there() -> list[str]:
        return [job.name for job in store.all()]

    size = store.size(store.get(jobs[0]["id"]))
    assert size > 3 * 2 * RATE * 2 * 4
    assert store.sweep(1, 10 * size, now()) == [] and len(there()) == 3
    # The oldest goes first.
    assert [job.name for job in store.sweep(1, int(2.5 * size), now())] == ["0.wav"]
    store.change_until_restart(store.get(jobs[1]["id"]), state="queued")
    assert [job.name for job in store.sweep(1, 10, now() + timedelta(days=2))] == ["2.wav"]
    assert there() == ["1.wav"]
    assert clean.client.get(f"{ADDRESS}/api/jobs/{jobs[2]['id']}").status_code == 404


@pytest.mark.parametrize("seed", ["-1", "x", "2147483648", "9" * 5000])
def test_a_seed_that_is_none_is_refused(clean: House, seed: str) -> None:
    reply = clean.client.post("/api/jobs", content=as_file(song(1)), params={"seed": seed})
    assert reply.status_code == 422 and "the seed is a whole number" in reply.json()["error"]


def test_a_song_that_waits_can_be_deleted_on_a_full_disk(
    tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its queue is not started, so the song waits.
    one = House(tmp_path, untrained)
    job = one.add(as_file(song(1)))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(one.store, "change", full)
    assert one.client.delete(f"/api/jobs/{job['id']}").status_code == 200
    assert left(one) == []


def test_others_are_served_while_the_queue_is_at_work_on_the_disk(
    clean: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean.await_state(clean.add(as_file(song(1))), "done")
    asked, held, enough = threading.Event(), threading.Event(), threading.Event()
    known = clean.queue.outlook

    def watched(job: Any) -> Any:
        asked.set()
        return known(job)

    def hold() -> None:
        with clean.queue._changed:
            held.set()
            enough.wait(60)

    monkeypatch.setattr(clean.queue, "outlook", watched)
    with ThreadPoolExecutor(3) as pool:
        try:
            pool.submit(hold)
            assert held.wait(20)
            listed = pool.submit(clean.client.get, "/api/jobs")
            assert asked.wait(20)
            door = pool.submit(clean.client.get, "/api/door")
            assert door.result(20).status_code == 200 and not listed.done()
        finally:
            enough.set()
        assert listed.result(20).status_code == 200
