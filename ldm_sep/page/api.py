"""What the page and other programs can ask for: the endpoints that `static/openapi.json` describes."""

import errno
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ldm_sep.checkpoint.manifest import Manifest
from ldm_sep.errors import ConfigError, reason
from ldm_sep.files import shown
from ldm_sep.page.job_queue import ActiveError, FullError, JobQueue
from ldm_sep.page.job_store import JobStore
from ldm_sep.page.records import ACTIVE, Bounds, Job, Order, Settings, Stretch
from ldm_sep.page.uploads import receive
from ldm_sep.records import Record, checked
from ldm_sep.separation.options import presets
from ldm_sep.web.app import Endpoint
from ldm_sep.web.door import Door
from ldm_sep.web.replies import RefusedError, json_reply, read_json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Handler = Callable[["Request"], Awaitable["Response"]]

UPLOADS = "/api/jobs"
COOKIE = "ldm-sep"
_COOKIE_SECONDS = 30 * 24 * 3600
_LONGEST_NAME = 200
_SHORTEST_STRETCH = 0.05
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Page:
    """What the endpoints work with."""

    manifest: Manifest
    store: JobStore
    queue: JobQueue
    bounds: Bounds
    door: Door

    def job(self, request: "Request") -> Job:
        """The job that the path names. RefusedError if there is none."""
        job = self.store.get(request.path_params["id"])
        if job is None:
            raise RefusedError(404, "There is no such song here; it may have been deleted.")
        return job


class Again(Record):
    """The body of a request to separate a song anew or, with ``start`` and ``end`` in seconds, a stretch of it."""

    preset: str | None = None
    seed: int = 0
    start: float | None = None
    end: float | None = None


def guarded(page: Page, act: Handler) -> Handler:
    """``act`` for those who may use the page; errors become refusals in plain words."""

    async def handler(request: "Request") -> "Response":
        from starlette.requests import ClientDisconnect
        from starlette.responses import Response

        if not page.door.admits(request):
            raise RefusedError(401, "This page needs its link. Please open the one that you were given.")
        try:
            return await act(request)
        except FullError as error:
            raise RefusedError(429, "The queue is full; try again in a while.", retry_after=error.seconds) from None
        except ActiveError:
            raise RefusedError(409, "This song is being worked on; wait for it, or cancel that first.") from None
        except KeyError:
            raise RefusedError(404, "This song was deleted meanwhile.") from None
        except ClientDisconnect:
            # Nobody reads the reply.
            return Response(status_code=400)
        except OSError as error:
            status = 507 if error.errno in _NO_ROOM else 500
            raise RefusedError(status, f"The server could not do this ({reason(error)}); try again later.") from None

    return handler


def job_endpoints(page: Page) -> list[Endpoint]:
    """Endpoints of access, of the checkpoint, and of the songs with their orders."""
    from starlette.concurrency import run_in_threadpool

    async def door(request: "Request") -> "Response":
        return json_reply({"open": page.door.admits(request)})

    async def enter(request: "Request") -> "Response":
        body = await read_json(request)
        token = body.get("token") if isinstance(body, dict) else None
        if not page.door.local and not (isinstance(token, str) and page.door.name_of(token, request)):
            raise RefusedError(401, "This link is not valid. Please use the link that you were given.")
        reply = json_reply({"open": True})
        if isinstance(token, str) and not page.door.local:
            reply.set_cookie(COOKIE, token, max_age=_COOKIE_SECONDS, path="/", httponly=True, samesite="strict")
        return reply

    async def model(request: "Request") -> "Response":
        return json_reply(_model(page))

    async def list_jobs(request: "Request") -> "Response":
        return json_reply({"jobs": await run_in_threadpool(lambda: [view(page, job) for job in page.store.all()])})

    async def add(request: "Request") -> "Response":
        query = request.query_params
        name = shown(query.get("name", "")).strip()[:_LONGEST_NAME] or "song"
        seed = query.get("seed", "0")
        # Python converts no endless rows of digits; no seed has more than ten.
        number = int(seed) if seed.isdecimal() and len(seed) <= 10 else -1
        order = _order(page, Again(preset=query.get("preset") or None, seed=number), None)
        with page.queue.place():
            job = await receive(request, page.store, page.bounds, name, order)
        return json_reply(await run_in_threadpool(view, page, job), 201)

    async def one(request: "Request") -> "Response":
        return json_reply(await run_in_threadpool(view, page, page.job(request)))

    async def delete(request: "Request") -> "Response":
        job = page.job(request)
        await run_in_threadpool(page.queue.delete, job)
        return json_reply({"deleted": job.id})

    async def again(request: "Request") -> "Response":
        job = page.job(request)
        order = _order(page, checked(Again, await read_json(request), "the request"), job)
        return json_reply(await run_in_threadpool(lambda: view(page, page.queue.renew(job, order))), 202)

    async def cancel(request: "Request") -> "Response":
        job = page.job(request)
        return json_reply(await run_in_threadpool(lambda: view(page, page.queue.cancel(job))))

    return [
        Endpoint("GET", "/api/door", door),
        Endpoint("POST", "/api/door", enter),
        Endpoint("GET", "/api/model", guarded(page, model)),
        Endpoint("GET", UPLOADS, guarded(page, list_jobs)),
        Endpoint("POST", UPLOADS, guarded(page, add)),
        Endpoint("GET", "/api/jobs/{id}", guarded(page, one)),
        Endpoint("DELETE", "/api/jobs/{id}", guarded(page, delete)),
        Endpoint("POST", "/api/jobs/{id}/order", guarded(page, again)),
        Endpoint("DELETE", "/api/jobs/{id}/order", guarded(page, cancel)),
    ]


def view(page: Page, job: Job) -> dict[str, Any]:
    """A job as JSON, with its place in the queue."""
    table = job.model_dump(mode="json", exclude={"queued"})
    expires = None
    if job.state not in ACTIVE:
        expires = ((job.finished or job.created) + timedelta(days=page.bounds.keep_days)).isoformat()
    seconds = job.sound.seconds if job.sound else None
    return table | asdict(page.queue.outlook(job)) | {"seconds": seconds, "expires": expires}


def _model(page: Page) -> dict[str, Any]:
    """The checkpoint, and what is taken here."""
    config, bounds = page.manifest.config, page.bounds
    return {
        "name": config.name,
        "description": config.description,
        "presets": list(presets(config.sampling)),
        **config.card.model_dump(include={"licence", "training_data", "limitations"}, mode="json"),
        "largest_bytes": bounds.upload,
        "longest_minutes": bounds.minutes,
        "keep_days": bounds.keep_days,
    }


def _order(page: Page, asked: Again, job: Job | None) -> Order:
    """The order in a request. ConfigError for a preset that the checkpoint has not, and a stretch outside the song."""
    known = presets(page.manifest.config.sampling)
    if asked.preset is not None and asked.preset not in known:
        raise ConfigError(f"there is no preset {asked.preset}; choose from {', '.join(known)}")
    if not 0 <= asked.seed < 2**31:
        raise ConfigError("the seed is a whole number from 0 to 2147483647")
    if asked.start is None and asked.end is None:
        return Order(settings=Settings(preset=asked.preset, seed=asked.seed))
    if job is None or job.sound is None or not job.take:
        raise ConfigError("a stretch can be renewed when the whole song has been separated")
    start, end = asked.start or 0.0, job.sound.seconds if asked.end is None else asked.end
    if not 0 <= start <= end - _SHORTEST_STRETCH or end > job.sound.seconds + 1e-3:
        raise ConfigError(f"the stretch must lie between 0 and {job.sound.seconds:.2f} s and have some length")
    stretch = Stretch(start=start, end=min(end, job.sound.seconds), seed=asked.seed)
    return Order(settings=job.settings, stretch=stretch)
