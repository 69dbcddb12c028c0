"""What is seen, heard and downloaded of a song, as endpoints."""

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ldm_sep.files import as_file_name
from ldm_sep.page import pictures, sounds
from ldm_sep.page.api import UPLOADS, Page, guarded, job_endpoints
from ldm_sep.page.job_store import MIXTURE
from ldm_sep.page.records import LANES, Job
from ldm_sep.separation.naming import STEMS
from ldm_sep.web.app import Endpoint, create_app, packaged_files
from ldm_sep.web.guard import Limits
from ldm_sep.web.replies import RefusedError, json_reply

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

# The address of a take's files holds its number, so browsers may keep them.
_LASTING = {"cache-control": "private, max-age=86400, immutable"}
# +12 dB.
_MOST_GAIN = 4.0
# Files that are made at once; others wait.
_MAKERS = 2


def page_app(page: Page, names: frozenset[str]) -> "ASGIApp":
    """The application: the page of `static/`, and everything that `static/openapi.json` describes."""
    assets = packaged_files("ldm_sep.page")
    return create_app(page_endpoints(page), assets, names=names, limits=Limits(uploads={UPLOADS: page.bounds.upload}))


def page_endpoints(page: Page) -> list[Endpoint]:
    """Everything that can be asked for."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import FileResponse, Response

    makers = asyncio.Semaphore(_MAKERS)

    async def peaks(request: "Request") -> "Response":
        folder, lane, job = _lane(page, request)
        seconds = job.sound.seconds if job.sound else 0.0
        start, end = _number(request, "start", 0.0, seconds), _number(request, "end", seconds, seconds)
        pixels = int(_number(request, "pixels", 800, pictures.MOST_PIXELS))
        if end <= start or pixels < 1:
            raise RefusedError(422, "The part that is asked for has no length.")
        found = await run_in_threadpool(pictures.peaks, folder, lane, start, end, pixels)
        reply = json_reply({"start": start, "end": end, "peaks": found})
        reply.headers.update(_LASTING)
        return reply

    async def tile(request: "Request") -> "Response":
        folder, lane, _ = _lane(page, request)
        level, index = _whole(request, "level", pictures.TOP_LEVEL), _whole(request, "index", 2**31)
        return _picked(await run_in_threadpool(pictures.tile, folder, lane, level, index), "image/png")

    async def piece(request: "Request") -> "Response":
        folder, lane, _ = _lane(page, request)
        index = _whole(request, "index", 2**31)
        data, kind = await run_in_threadpool(sounds.piece, folder / f"{lane}.wav", index) or (None, "")
        return _picked(data, kind)

    async def file(request: "Request") -> "Response":
        job = page.job(request)
        stem, _, suffix = request.path_params["name"].rpartition(".")
        if suffix not in sounds.FORMATS or stem not in (*LANES, "blend"):
            raise RefusedError(404, "There is no such file; songs are mixture, vocals, instrumental or blend.")
        if not job.take and stem != "mixture":
            raise RefusedError(409, "This song has not been separated yet.")
        path, parts = _source(page, job, request, stem, suffix)
        async with makers:
            await run_in_threadpool(sounds.make_file, parts, path)
        title = as_file_name(Path(job.name).stem or "song", 100)
        return FileResponse(path, media_type=sounds.FORMATS[suffix], filename=f"{title} {stem}.{suffix}")

    def _picked(data: bytes | None, kind: str) -> "Response":
        if data is None:
            raise RefusedError(404, "The song ends before that.")
        return Response(data, media_type=kind, headers=_LASTING)

    of_take = "/api/jobs/{id}/takes/{take}/{lane}"
    return [
        *job_endpoints(page),
        Endpoint("GET", f"{of_take}/peaks", guarded(page, peaks)),
        Endpoint("GET", f"{of_take}/tiles/{{level}}/{{index}}", guarded(page, tile)),
        Endpoint("GET", f"{of_take}/pieces/{{index}}", guarded(page, piece)),
        Endpoint("GET", "/api/jobs/{id}/files/{name}", guarded(page, file)),
    ]


def _lane(page: Page, request: "Request") -> tuple[Path, str, Job]:
    """The folder and name of the lane in a path. RefusedError if it is not there, or of another take."""
    job, lane = page.job(request), request.path_params["lane"]
    if lane not in LANES or job.sound is None or str(job.take) != request.path_params["take"]:
        raise RefusedError(404, "This is not the result any more, or not yet; ask for the song again.")
    if lane != "mixture" and not job.take:
        raise RefusedError(404, "This song has not been separated yet.")
    return (page.store.folder(job) if lane == "mixture" else page.store.take(job, job.take)), lane, job


def _source(page: Page, job: Job, request: "Request", stem: str, suffix: str) -> tuple[Path, dict[Path, float]]:
    """The file that is asked for, and what it is made of where it is not there yet, with gains."""
    mixture, take = page.store.folder(job) / MIXTURE, page.store.take(job, job.take)
    made = take / "made"
    if stem == "blend":
        gains = {one: _number(request, one, 1.0, _MOST_GAIN) for one in STEMS}
        parts = {take / f"{one}.wav": gain for one, gain in gains.items() if gain} or {take / f"{STEMS[0]}.wav": 0.0}
        return made / sounds.blend_name(gains, suffix), parts
    original = mixture if stem == "mixture" else take / f"{stem}.wav"
    if not original.is_file():
        raise RefusedError(409, "This song has not been read yet.")
    if suffix == "wav":
        return original, {}
    return made / f"{stem}.{suffix}", {original: 1.0}


def _number(request: "Request", name: str, default: float, most: float) -> float:
    """A number from 0 to ``most`` in the query."""
    text = request.query_params.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = math.nan
    # The tolerance is for the browser's rounding.
    if not -1e-3 <= value <= most + 1e-3:
        raise RefusedError(422, f"{name} is a number from 0 to {most:g}.")
    return min(max(value, 0.0), most)


def _whole(request: "Request", name: str, most: int) -> int:
    """A whole number from 0 to ``most`` in the path."""
    text = request.path_params[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and int(text) <= most):
        raise RefusedError(404, f"{name} is a whole number from 0 to {most}.")
    return int(text)
