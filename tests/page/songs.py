"""Songs to upload, and a page to upload them to, in this process or in one of its own."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from conftest import played, sung
from servers import Served, serving
from starlette.testclient import TestClient

from ldm_sep.checkpoint.manifest import read_manifest
from ldm_sep.page.api import COOKIE, Page
from ldm_sep.page.job_queue import JobQueue
from ldm_sep.page.job_store import JobStore
from ldm_sep.page.media import page_app
from ldm_sep.page.records import Bounds
from ldm_sep.page.work import SeparationWorker
from ldm_sep.web.door import Door
from ldm_sep.web.guard import LOOPBACK_NAMES
from ldm_sep.web.tokens import Tokens

ADDRESS = "http://127.0.0.1:8766"
RATE = 16000


def song(seconds: float, seed: int = 0) -> np.ndarray:
    """A quiet voice and band, 16 bit (2, T): what the untrained networks make of it stays within full scale."""
    wave = 0.25 * (sung(seconds, 220, seed)[None] + played(seconds, seed))
    return (np.rint(wave * 32768) / 32768).astype(np.float32)


def as_file(wave: np.ndarray, kind: str = "WAV", subtype: str | None = "PCM_16", rate: int = RATE) -> bytes:
    """The bytes of a file of ``wave (C, T)``."""
    out = io.BytesIO()
    sf.write(out, wave.T, rate, subtype, format=kind)
    return out.getvalue()


class House:
    """The page in this process, with its queue, and a client of it. A context manager."""

    def __init__(self, folder: Path, checkpoint: Path, bounds: Bounds = Bounds(), tokens: Tokens | None = None) -> None:
        self.reports: list[str] = []
        self.store = JobStore(folder)
        self.queue = JobQueue(self.store, SeparationWorker(str(checkpoint), "cpu", 1), bounds, self.reports.append)
        self.page = Page(read_manifest(checkpoint), self.store, self.queue, bounds, Door(tokens, COOKIE))
        self.app = page_app(self.page, LOOPBACK_NAMES)
        self.client = TestClient(self.app, ADDRESS, raise_server_exceptions=False)

    def __enter__(self) -> "House":
        self.queue.start()
        self.client.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.__exit__(*error)
        self.queue.close()

    def add(self, data: bytes, name: str = "song.wav", **query: Any) -> dict[str, Any]:
        """Upload a song; what is told of it."""
        reply = self.client.post("/api/jobs", content=data, params={"name": name, **query})
        assert reply.status_code == 201, reply.text
        return reply.json()

    def job(self, job: dict[str, Any]) -> dict[str, Any]:
        """What is told of a song now."""
        reply = self.client.get(f"/api/jobs/{job['id']}")
        assert reply.status_code == 200, reply.text
        return reply.json()

    def await_state(self, job: dict[str, Any], *states: str) -> dict[str, Any]:
        """The song, once it is in one of ``states``."""
        return until(lambda: (now := self.job(job))["state"] in states and now, lambda: self.job(job))

    def file(self, job: dict[str, Any], name: str, **query: Any) -> tuple[np.ndarray, int]:
        """A downloaded file, decoded: (C, T) and its rate."""
        reply = self.client.get(f"/api/jobs/{job['id']}/files/{name}", params=query)
        assert reply.status_code == 200, reply.text
        wave, rate = sf.read(io.BytesIO(reply.content), dtype="float32", always_2d=True)
        return wave.T, rate


def until(condition: Callable[[], Any], shown: Callable[[], Any] = str, seconds: float = 120) -> Any:
    """What ``condition()`` gives once that is true. AssertionError with ``shown()`` if that takes too long."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, shown()
        time.sleep(0.1)
    return found


def workers_of(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def server(folder: Path, checkpoint: Path, *words: str) -> AbstractContextManager[Served]:
    """`serving` of the page."""
    line = ["serve", "--folder", folder, "-n", checkpoint, "--port=0", "--device=cpu", "--threads=1", *words]
    return serving(*line, patience=120)


def deliver(app: Any, parts: Callable[[], AsyncIterator[bytes]]) -> tuple[int, dict[str, Any]]:
    """Upload ``parts()`` as they come, with no length declared; the status and what was said. None as a part: the
    sender goes away.
    """
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/jobs",
        "raw_path": b"/api/jobs",
        "query_string": b"name=song.wav",
        "headers": [(b"host", b"127.0.0.1:8766")],
        "client": ("127.0.0.1", 1),
    }
    sent: list[dict[str, Any]] = []

    async def run() -> None:
        source = parts()

        async def receive() -> dict[str, Any]:
            try:
                part = await anext(source)
            except StopAsyncIteration:
                return {"type": "http.request", "body": b"", "more_body": False}
            if part is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part, "more_body": True}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await app(scope, receive, send)

    asyncio.run(run())
    return sent[0]["status"], json.loads(b"".join(one.get("body", b"") for one in sent) or b"{}")
