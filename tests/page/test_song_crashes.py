"""Killed processes, a full disk, a restart: nothing half-done is shown as done, and nothing that waits is forgotten."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from conftest import ROOT
from servers import serving_here
from songs import RATE, House, as_file, server, song, until, workers_of

from ldm_sep.audio import read
from ldm_sep.errors import ConfigError, LdmSepError
from ldm_sep.page import job_queue
from ldm_sep.page.events import Finished
from ldm_sep.page.job_store import JobStore
from ldm_sep.page.outlook import Running
from ldm_sep.page.records import Sound
from ldm_sep.page.server import serve

# Takes long enough for a test to act meanwhile.
LONG = {"preset": "best"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, untrained: Path) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house"), untrained) as one:
        # The checkpoint is loaded from here on.
        one.await_state(one.add(as_file(song(1))), "done")
        yield one


def stems_below(folder: Path) -> list[Path]:
    return [*folder.rglob("vocals.wav"), *folder.rglob("instrumental.wav")]


def midway(house: House, job: dict[str, Any]) -> dict[str, Any]:
    """The song, once a part of it has been separated."""
    return until(
        lambda: (now := house.job(job))["state"] == "separating" and now["progress"] > 0 and now, lambda: house.job(job)
    )


def folder_of(house: House, job: dict[str, Any]) -> Path:
    return house.store.root / "jobs" / job["id"]


def test_a_killed_worker_costs_an_attempt_and_a_second_one_the_song(house: House) -> None:
    job = house.add(as_file(song(30)), **LONG)
    behind = house.add(as_file(song(1, 7)))
    assert house.await_state(behind, "queued")["position"] == 1
    killed: list[int] = []
    for _ in range(2):
        midway(house, job)
        worker = separating(killed)
        os.kill(worker, signal.SIGKILL)
        killed.append(worker)
        until(lambda worker=worker: worker not in workers_of(os.getpid()))
        assert stems_below(folder_of(house, job)) == []
        assert house.client.get(f"/api/jobs/{job['id']}/files/vocals.wav").status_code == 409
    failed = house.await_state(job, "failed", "done")
    assert failed["state"] == "failed" and "its process ended (signal 9" in failed["error"] and failed["take"] == 0
    assert house.await_state(behind, "done", "failed")["state"] == "done"
    house.client.delete(f"/api/jobs/{job['id']}")


def separating(passed: Sequence[int] = ()) -> int:
    """The process that separates, none of those ``passed``. The one that decodes uploads has no networks: it is
    smaller.
    """
    pids = [pid for pid in workers_of(os.getpid()) if pid not in passed and b"workers.process" in command(pid)]
    return max(pids, key=lambda pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]))


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_cancelling_ends_the_work_and_leaves_the_result_of_before(house: House) -> None:
    job = house.await_state(house.add(as_file(song(30)), preset="fast"), "done")
    before = house.file(job, "vocals.wav")[0]
    order = {"preset": "best", "seed": 1}
    assert house.client.post(f"/api/jobs/{job['id']}/order", json=order).status_code == 202
    assert house.client.post(f"/api/jobs/{job['id']}/order", json=order).status_code == 409
    running = midway(house, job)
    assert running["take"] == 1 and running["order"]["settings"] == order
    # It is heard while the next one is made.
    assert np.array_equal(house.file(job, "vocals.wav")[0], before)
    after = house.client.delete(f"/api/jobs/{job['id']}/order").json()
    assert after["state"] == "done" and after["take"] == 1 and after["order"] is None
    assert after["settings"] == {"preset": "fast", "seed": 0}
    assert len(stems_below(folder_of(house, job))) == 2
    first = house.add(as_file(song(30)), **LONG)
    midway(house, first)
    assert house.client.delete(f"/api/jobs/{first['id']}/order").json()["state"] == "cancelled"
    assert stems_below(folder_of(house, first)) == []
    again = house.client.post(f"/api/jobs/{first['id']}/order", json={"preset": "fast"})
    assert again.status_code == 202 and house.await_state(first, "done", "failed")["state"] == "done"


def test_a_full_disk_fails_the_song_and_leaves_nothing_half_written(house: House) -> None:
    house.await_state(house.add(as_file(song(1))), "done")
    worker = separating()
    # From here on the system takes 100 kB of a file from the process that separates, and no more.
    _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (100_000, hard))
    job = house.await_state(house.add(as_file(song(5)), "my song.wav"), "done", "failed")
    assert job["state"] == "failed" and "written" in job["error"] and job["take"] == 0
    assert str(house.store.root) not in job["error"]
    assert stems_below(folder_of(house, job)) == []
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
    assert house.client.post(f"/api/jobs/{job['id']}/order", json={}).status_code == 202
    assert house.await_state(job, "done", "failed")["state"] == "done"


def test_a_result_that_cannot_be_recorded_is_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    change = JobStore.change

    def full(store: JobStore, job: Any, **news: Any) -> Any:
        if news.get("state") == "done":
            raise OSError(28, "No space left on device")
        return change(store, job, **news)

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "change", full)
        job = house.await_state(house.add(as_file(song(1))), "done", "failed")
    assert job["state"] == "failed" and job["take"] == 0 and "No space left" in job["error"]
    # A restarted server finds the song still queued.
    again = JobStore(house.store.root)
    assert next(one for one in again.all() if one.id == job["id"]).state == "queued"


def test_a_killed_server_forgets_nothing_and_shows_nothing_half_done(tmp_path: Path, untrained: Path) -> None:
    folder = tmp_path / "songs"
    with server(folder, untrained) as (process, address, _), httpx2.Client(base_url=address) as client:
        long = client.post("/api/jobs", content=as_file(song(30)), params={"name": "long.wav", **LONG}).json()
        short = client.post("/api/jobs", content=as_file(song(2)), params={"name": "short.wav", "seed": 3}).json()
        # A browser in the midst of an upload.
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as tab:
            tab.sendall(
                f"POST /api/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000000\r\n\r\n".encode()
                + bytes(2_000_000)
            )
            until(lambda: list(folder.glob("incoming/.*")))
            until(lambda: client.get(f"/api/jobs/{long['id']}").json()["progress"] > 0)
            children = workers_of(process.pid)
            process.kill()
            process.wait(120)
        # Its workers end with it.
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert stems_below(folder) == []
    with server(folder, untrained) as (process, address, _), httpx2.Client(base_url=address) as client:
        jobs = {job["id"]: job for job in client.get("/api/jobs").json()["jobs"]}
        assert list(jobs) == [long["id"], short["id"]] and list(folder.glob("incoming/.*")) == []
        assert jobs[short["id"]]["order"]["settings"] == {"preset": None, "seed": 3}
        assert client.get(f"/api/jobs/{long['id']}/files/vocals.wav").status_code == 409
        assert client.delete(f"/api/jobs/{long['id']}/order").json()["state"] == "cancelled"
        until(lambda: client.get(f"/api/jobs/{short['id']}").json()["state"] == "done")
        check_the_client_in_the_guide(tmp_path, address)
        with pytest.raises(ConfigError, match="another process is writing there"):
            serve(folder, checkpoint=str(untrained), port=0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    with House(folder, untrained) as again:
        done = again.job(short)
    assert done["state"] == "done" and done["take"] == 1


def check_the_client_in_the_guide(folder: Path, address: str) -> None:
    """The program in docs/serve.md, as it stands there."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/serve.md").read_text(), re.S)
    assert code is not None and len(code[1].splitlines()) <= 10
    (folder / "song.wav").write_bytes(as_file(song(2)))
    told = code[1].replace("http://127.0.0.1:8766", address)
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    vocals, instrumental = (read(folder / f"{stem}.wav")[0] for stem in ("vocals", "instrumental"))
    assert np.array_equal(vocals + instrumental, song(2))


def test_a_slow_download_keeps_nobody_waiting_and_stays_that_of_its_time(house: House) -> None:
    # More bytes than the network's buffers hold. Only the end sounds, so there is little to compute.
    wave = np.pad(song(3), ((0, 0), (57 * RATE, 0)))
    job = house.await_state(house.add(as_file(wave), preset="fast"), "done")
    path = f"/api/jobs/{job['id']}/files/vocals.wav"
    before = house.client.get(path).content
    with serving_here(house.app) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
            reader.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
            got = bytearray(reader.recv(1000))
            # Others are served, and the song gets another result, while it waits.
            assert httpx2.get(f"{address}/api/jobs", timeout=30).status_code == 200
            order = {"preset": "fast", "seed": 5}
            assert house.client.post(f"/api/jobs/{job['id']}/order", json=order).status_code == 202
            house.await_state(job, "done")
            assert house.job(job)["take"] == 2
            while part := reader.recv(1 << 16):
                got += part
    head, _, body = bytes(got).partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0] and body == before and len(body) > 5_000_000
    house.client.delete(f"/api/jobs/{job['id']}")


def test_a_process_that_cannot_be_started_costs_no_song(
    tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, real = [], job_queue.work_through

    def once(function: Any, jobs: Any, *rest: Any) -> Any:
        if not isinstance(jobs, list) and not begun:
            begun.append(next(iter(jobs)))
            raise LdmSepError("a process could not be started")
        return real(function, jobs, *rest)

    monkeypatch.setattr(job_queue, "work_through", once)
    with House(tmp_path, untrained) as one:
        job = one.add(as_file(song(1)))
        until(lambda: one.job(job)["state"] == "done", lambda: one.job(job), seconds=40)
        assert one.reports == ["ldm-sep: a process could not be started; trying again"]
    assert begun


def test_a_folder_that_vanishes_while_it_is_measured_stops_no_work(
    tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept, real = [], JobStore.sweep

    def vanished(store: JobStore, *bounds: Any) -> Any:
        swept.append(bounds)
        if len(swept) == 1:
            raise FileNotFoundError(2, "No such file or directory")
        return real(store, *bounds)

    monkeypatch.setattr(JobStore, "sweep", vanished)
    with House(tmp_path, untrained) as one:
        until(lambda: swept)
        job = one.add(as_file(song(1)))
        until(lambda: one.job(job)["state"] == "done", lambda: one.job(job), seconds=40)


def test_a_song_that_is_cancelled_as_its_reading_ends_stays_cancelled(tmp_path: Path, untrained: Path) -> None:
    one = House(tmp_path, untrained)
    job = one.add(as_file(song(1)))
    one.queue._running[job["id"]] = Running("reading", 0.0, cancelled=True)
    one.queue._take(Finished(job["id"], {"mixture": 0.5}, (), Sound(sample_rate=RATE, channels=2, frames=RATE)))
    assert one.job(job)["state"] == "cancelled" and one.job(job)["sound"]["frames"] == RATE
    # What was decoded is not decoded again.
    assert one.client.post(f"/api/jobs/{job['id']}/order", json={}).json()["state"] == "queued"
