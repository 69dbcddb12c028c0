"""What a request must be before a page looks at it: from our own page, small enough, not too frequent."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ldm_sep.web.replies import RefusedError, refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

# The page may run its own scripts and nothing else: no inline script, no other host, no frame around it.
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Limits:
    """``body``: bytes of one request, but for the paths in ``uploads``, which say their own. ``burst`` requests at once
    and ``per_second`` for long, of one address.
    """

    body: int = 64 * 1024
    uploads: Mapping[str, int] = field(default_factory=dict)
    burst: int = 600
    per_second: float = 40.0

    def largest(self, path: str) -> int:
        """Bytes that a request for ``path`` may send."""
        return self.uploads.get(path, self.body)


class RateLimit:
    """Token buckets (Turner 1986), one for each key; a bucket that nobody uses is full and is forgotten.

    ``clock`` gives seconds. At most ``keys`` buckets are kept, so a flood of addresses costs no memory.
    """

    def __init__(
        self, burst: int, per_second: float, *, clock: Callable[[], float] = time.monotonic, keys: int = 4096
    ) -> None:
        self._burst, self._per_second = burst, per_second
        self._clock, self._keys = clock, keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Seconds until ``key`` may go on: 0 if it may now, which takes one of its tokens."""
        now = self._clock()
        level, since = self._buckets.pop(key, (float(self._burst), now))
        level = min(self._burst, level + (now - since) * self._per_second)
        allowed = level >= 1
        self._buckets[key] = (level - allowed, now)
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - level) / self._per_second


def host_name(header: str) -> str | None:
    """The name or address in a Host header, in lower case and without port and brackets; None if it is none."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return None
    plain = parts.netloc == header and parts.username is None and header != ""
    return parts.hostname if plain else None


class Guard:
    """ASGI middleware around a whole application.

    Host: only names in ``names``, and the very address that the connection came in on. A page of another site that
    points its own name at this machine (DNS rebinding) sends that name and is refused.
    Origin: if there is one, it must be ours; browsers send it with everything that changes something.
    """

    def __init__(self, app: "ASGIApp", *, names: frozenset[str], limits: Limits) -> None:
        self._app = app
        self._names = names
        self._limits = limits
        self._rate = RateLimit(limits.burst, limits.per_second)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded_send(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                present = {name.lower() for name, _ in headers}
                headers += [
                    (name.encode(), value.encode())
                    for name, value in SECURITY_HEADERS.items()
                    if name.encode() not in present
                ]
            await send(message)

        try:
            self._check(scope)
        except RefusedError as refusal:
            await refuse(refusal)(scope, receive, guarded_send)
            return
        await self._app(scope, _counted(receive, self._limits.largest(scope["path"])), guarded_send)

    def _check(self, scope: "Scope") -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        name = host_name(host)
        if name is None or not (name in self._names or self._is_own_address(name, scope)):
            raise RefusedError(421, "This address is not served here; use the one that the server printed.")
        origin = headers.get("origin")
        if origin is not None and (urlsplit(origin).scheme not in ("http", "https") or urlsplit(origin).netloc != host):
            raise RefusedError(403, "This request came from another site and is refused.")
        length = headers.get("content-length", "0")
        largest = self._limits.largest(scope["path"])
        if not length.isdecimal() or int(length) > largest:
            raise RefusedError(413, f"More than {largest} bytes were sent at once.")
        client = scope.get("client")
        wait = self._rate.wait(client[0] if client else "")
        if wait > 0:
            raise RefusedError(429, "Too many requests; the page will try again in a moment.", retry_after=wait)

    @staticmethod
    def _is_own_address(name: str, scope: "Scope") -> bool:
        server = scope.get("server")
        try:
            return server is not None and ip_address(name) == ip_address(server[0])
        except ValueError:
            return False


def _counted(receive: "Receive", largest: int) -> "Receive":
    # A body may come in pieces and without a length: it is counted as it streams in.
    seen = 0

    async def counted() -> "Message":
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > largest:
            raise RefusedError(413, f"More than {largest} bytes were sent at once.")
        return message

    return counted
