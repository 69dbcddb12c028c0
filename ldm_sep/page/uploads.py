"""Uploads: counted while they stream onto the disk, and a job only when they are whole."""

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from ldm_sep.page.job_store import UPLOAD, JobStore, now
from ldm_sep.page.records import Bounds, Job, Order
from ldm_sep.web.replies import RefusedError

if TYPE_CHECKING:
    from starlette.requests import Request

# Bytes that are collected before they are written.
_BUFFER = 1 << 20
# A sender who pauses longer, or is slower than this on the whole, gives its place to others.
_PAUSE_SECONDS = 30.0
_GRACE_SECONDS = 60.0
_LEAST_BYTES_PER_SECOND = 20_000
# Left free on the disk for what is being worked on.
_SPARE_BYTES = 200 << 20


async def receive(request: "Request", store: JobStore, bounds: Bounds, name: str, order: Order) -> Job:
    """The body of ``request`` as a new job in the store. RefusedError for one that is empty, too slow or too large for
    the disk; OSError if that is full; and whatever the request raises when its sender goes away. Nothing is left then.
    """
    from starlette.concurrency import run_in_threadpool

    declared = int(request.headers.get("content-length", "0"))
    incoming = await run_in_threadpool(store.incoming)
    try:
        if declared + _SPARE_BYTES > (await run_in_threadpool(shutil.disk_usage, incoming)).free:
            raise RefusedError(507, "There is no room for this file on the server now.")
        if not await _write(_timely(request.stream()), incoming / UPLOAD):
            raise RefusedError(400, "The file is empty.")
        # 128 random bits: who was not told an id does not find it.
        job = Job(id=secrets.token_urlsafe(16), name=name, created=now(), queued=now(), order=order)
        await run_in_threadpool(store.put, job, incoming)
        return job
    finally:
        await run_in_threadpool(store.discard, incoming)


async def _write(parts: AsyncIterator[bytes], path: Path) -> int:
    """Write what comes to ``path``; returns how many bytes that were."""
    from starlette.concurrency import run_in_threadpool

    total = 0
    with path.open("wb", buffering=_BUFFER) as file:
        async for part in parts:
            total += await run_in_threadpool(file.write, part)
    return total


async def _timely(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    began = time.monotonic()
    total = 0
    while True:
        try:
            part = await asyncio.wait_for(anext(parts), _PAUSE_SECONDS)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RefusedError(408, "The file did not arrive in time.") from None
        total += len(part)
        if time.monotonic() - began > _GRACE_SECONDS + total / _LEAST_BYTES_PER_SECOND:
            raise RefusedError(408, "The file came too slowly.")
        yield part
