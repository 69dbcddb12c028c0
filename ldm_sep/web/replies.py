"""Reading of request bodies, and replies."""

import asyncio
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

BODY_SECONDS = 20.0


class RefusedError(Exception):
    """A request that is not served: an HTTP status and one sentence that the page can show."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


async def read_json(request: "Request") -> Any:
    """The JSON body of ``request``. RefusedError if it is none, or does not arrive within `BODY_SECONDS`."""
    try:
        body = await asyncio.wait_for(request.body(), BODY_SECONDS)
    except TimeoutError:
        raise RefusedError(408, "The request did not arrive in time.") from None
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise RefusedError(400, "The request is not JSON.") from None


def json_reply(value: object, status: int = 200) -> "Response":
    """``value`` as JSON."""
    from starlette.responses import Response

    return Response(json.dumps(value, allow_nan=False), status, media_type="application/json")


def file_reply(path: Path, media_type: str) -> "Response":
    """The file at ``path``, by ranges if the browser asks so. RefusedError if it is gone."""
    from starlette.responses import FileResponse

    if not path.is_file():
        raise RefusedError(404, "A file of this page is missing on the server.")
    return FileResponse(path, media_type=media_type, headers={"cache-control": "private, max-age=3600"})


def refuse(refusal: RefusedError) -> "Response":
    """The reply for ``refusal``."""
    reply = json_reply({"error": refusal.message}, refusal.status)
    if refusal.retry_after is not None:
        reply.headers["retry-after"] = str(math.ceil(refusal.retry_after))
    return reply


def _no_number(word: str) -> None:
    raise ValueError(word)
