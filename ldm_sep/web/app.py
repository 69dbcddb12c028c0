"""A guarded application of packaged files and endpoints, and the server that runs it until it is told to stop."""

import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from ipaddress import ip_address
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ldm_sep.errors import ConfigError, LdmSepError, need_package, reason
from ldm_sep.web.guard import LOOPBACK_NAMES, Guard, Limits
from ldm_sep.web.replies import RefusedError, refuse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

# Stated here, since what the system's table says for .js differs from machine to machine.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


@dataclass(frozen=True)
class Endpoint:
    """``handler`` answers ``method`` requests for ``path`` (``{name}`` stands for one part of a path)."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Callable[["Request"], Awaitable["Response"]]


def packaged_files(package: str) -> dict[str, bytes]:
    """Name -> file, of what a browser can be given of this package and of ``static/`` in ``package``.

    They are looked up by name in this table, never on the disk: no request can lead out of the folder. HTML files hold
    what is their page's own; the rest is that of ``frame.html`` here.
    """
    assets = {}
    before, behind = (files("ldm_sep.web") / "frame.html").read_bytes().split(b"<!-- of the page -->\n")
    for entry in chain.from_iterable((files(name) / "static").iterdir() for name in ("ldm_sep.web", package)):
        suffix = PurePath(entry.name).suffix
        if entry.is_file() and suffix in MEDIA_TYPES:
            own = entry.read_bytes()
            assets[entry.name] = before + own + behind if suffix == ".html" else own
    return assets


def create_app(
    endpoints: Sequence[Endpoint], assets: Mapping[str, bytes], *, names: frozenset[str], limits: Limits
) -> "ASGIApp":
    """An ASGI application: ``assets`` below /static/, index.html at /, and ``endpoints``, all behind a `Guard`.

    ``names``: what a Host header may say. A handler raises `RefusedError` for what it does not serve; it becomes a
    reply of that status with ``{"error": message}``, and an `LdmSepError` one of status 422.
    """
    need_package("serving a page", "starlette")
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import Response
    from starlette.routing import Route

    async def static(request: "Request") -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in assets:
            raise RefusedError(404, "There is no such page here.")
        kind = MEDIA_TYPES[PurePath(name).suffix]
        return Response(assets[name], headers={"content-type": kind, "cache-control": "no-cache"})

    async def on_error(request: "Request", error: Exception) -> Response:
        match error:
            case RefusedError():
                return refuse(error)
            case LdmSepError():
                return refuse(RefusedError(422, str(error)))
            case HTTPException():
                reply = refuse(RefusedError(error.status_code, "There is no such page here."))
                reply.headers.update(error.headers or {})
                return reply
        return refuse(RefusedError(500, "Something went wrong on the server; please try again."))

    routes = [Route("/", static, methods=["GET"]), Route("/static/{name}", static, methods=["GET"])]
    routes += [Route(one.path, one.handler, methods=[one.method]) for one in endpoints]
    kinds: tuple[type[Exception], ...] = (RefusedError, LdmSepError, HTTPException, Exception)
    app = Starlette(routes=routes, exception_handlers=dict.fromkeys(kinds, on_error))
    return Guard(app, names=names, limits=limits)


def open_socket(host: str, port: int) -> tuple[socket.socket, bool]:
    """A socket that listens at ``host`` and ``port`` (0: any free one), and whether only this machine reaches it.

    ConfigError if it cannot be opened.
    """
    if not 0 <= port < 65536:
        raise ConfigError(f"--port {port}: choose one from 1 to 65535, or 0 for any that is free")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({reason(error)}); choose another host or port"
        ) from None
    return opened, ip_address(str(address[0]).partition("%")[0]).is_loopback


def address_of(host: str, opened: socket.socket) -> str:
    """What a browser is told to open for a server at ``host`` that listens at ``opened``."""
    name = host
    if host in ("0.0.0.0", "::", ""):
        name = _outward_address(opened.family) or socket.gethostname()
    return f"http://{f'[{name}]' if ':' in name else name}:{opened.getsockname()[1]}"


def run(app: "ASGIApp", opened: socket.socket) -> None:
    """Serve ``app`` at ``opened`` until SIGINT or SIGTERM; requests that have begun are finished, within 5 seconds."""
    need_package("serving a page", "uvicorn")
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=5,
        limit_concurrency=500,
    )
    server = uvicorn.Server(config)
    if threading.current_thread() is not threading.main_thread():
        server.run(sockets=[opened])
        return
    # uvicorn raises a caught signal again when it is done; here an orderly stop is a normal end.
    previous = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[opened])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def names_for(host: str, address: str, names: Sequence[str]) -> frozenset[str]:
    """What a Host header may say to a server at ``host``: also what the printed ``address`` says, and ``names``."""
    printed = urlsplit(address).hostname or host
    return LOOPBACK_NAMES | {name.lower() for name in (host, printed, *names)}


def _outward_address(family: int) -> str | None:
    # Connecting a datagram socket sends nothing; the system says by which address it would. Both targets are reserved
    # for documentation.
    target = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
