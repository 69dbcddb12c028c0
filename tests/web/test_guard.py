"""Requests that are refused before a page looks at them."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ldm_sep.errors import ConfigError
from ldm_sep.web.app import Endpoint, address_of, create_app, names_for, open_socket, packaged_files
from ldm_sep.web.guard import LOOPBACK_NAMES, Limits, RateLimit, host_name
from ldm_sep.web.replies import RefusedError, file_reply, json_reply, read_json
from ldm_sep.web.tokens import load_tokens

HOME = "http://127.0.0.1:8765"


def page_app(limits: Limits = Limits(body=1000), names: frozenset[str] = LOOPBACK_NAMES) -> Any:
    async def echo(request: Any) -> Any:
        return json_reply({"got": await read_json(request)})

    async def broken(request: Any) -> Any:
        raise KeyError("/secret/path")

    endpoints = [Endpoint("POST", "/api/echo", echo), Endpoint("GET", "/api/broken", broken)]
    return create_app(endpoints, packaged_files("ldm_sep.study"), names=names, limits=limits)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(page_app(), HOME, raise_server_exceptions=False) as one:
        yield one


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("127.0.0.1:8765", True),
        ("localhost:1", True),
        ("LOCALHOST", True),
        ("[::1]:8765", True),
        ("evil.example", False),
        ("evil.example:8765", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example@127.0.0.1", False),
        ("127.0.0.1:8765/x", False),
        ("127.0.0.1:port", False),
        ("", False),
    ],
)
def test_only_our_own_names_are_served(client: TestClient, host: str, served: bool) -> None:
    reply = client.get("/", headers={"host": host})
    assert reply.status_code == (200 if served else 421)
    assert served or "error" in reply.json()


def test_on_a_network_the_address_of_the_connection_is_served_and_no_other() -> None:
    with TestClient(page_app(names=LOOPBACK_NAMES | {"lab.example"}), "http://192.0.2.7:80") as client:
        # starlette's test client says that the connection came in on the address of its base URL.
        assert client.get("/").status_code == 200
        assert client.get("/", headers={"host": "lab.example"}).status_code == 200
        assert client.get("/", headers={"host": "192.0.2.8"}).status_code == 421


@pytest.mark.parametrize(
    ("origin", "served"),
    [(None, True), (HOME, True), ("http://evil.example", False), ("null", False), ("http://127.0.0.1:1", False)],
)
def test_other_sites_cannot_send_anything(client: TestClient, origin: str | None, served: bool) -> None:
    headers = {} if origin is None else {"origin": origin}
    reply = client.post("/api/echo", json=1, headers=headers)
    assert reply.status_code == (200 if served else 403)
    assert "access-control-allow-origin" not in reply.headers


def test_a_body_is_counted_with_and_without_a_length(client: TestClient) -> None:
    assert client.post("/api/echo", content=b"1" * 900).status_code == 200
    assert client.post("/api/echo", content=b"1" * 1001).status_code == 413
    pieces = client.post("/api/echo", content=iter([b"1" * 600, b"1" * 600]))
    assert pieces.status_code == 413 and "1000 bytes" in pieces.json()["error"]
    for length in ("-1", "1e3", "²"):
        assert client.post("/api/echo", headers={"content-length": length.encode()}).status_code == 413


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b"[" * 990])
def test_what_is_no_json_is_refused(client: TestClient, body: bytes) -> None:
    assert client.post("/api/echo", content=body).status_code == 400


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldm_sep.web.replies.BODY_SECONDS", 0.05)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/echo",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "server": ("127.0.0.1", 8765),
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(page_app()(scope, receive, send))
    assert sent[0]["status"] == 408


def test_too_many_requests_are_told_when_to_come_back() -> None:
    with TestClient(page_app(Limits(burst=5, per_second=0.5)), HOME) as client:
        assert [client.get("/").status_code for _ in range(7)] == [200] * 5 + [429] * 2
        assert client.get("/").headers["retry-after"] == "2"


def test_the_rate_is_what_it_says_for_each_address() -> None:
    now = 0.0
    rate = RateLimit(3, 2.0, clock=lambda: now, keys=2)
    assert [rate.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rate.wait("b") == 0
    now = 1.0
    assert [rate.wait("a") for _ in range(3)] == [0, 0, 0.5]
    # A third address takes the place of the one that was away the longest: memory is bounded.
    assert rate.wait("c") == 0
    assert rate.wait("b") == 0


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static/..%5cserver.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/main.js%00.html",
        "/static/",
        "/static/.",
        "/study.json",
        "/api/nothing",
    ],
)
def test_no_path_leads_out_of_the_packaged_files(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 404 and set(reply.json()) == {"error"}


def test_files_have_their_media_type_and_pages_may_run_no_foreign_script(client: TestClient) -> None:
    expected = {
        "index.html": "text/html",
        "main.js": "text/javascript",
        "style.css": "text/css",
        "icon.svg": "image/svg",
    }
    for name, kind in expected.items():
        reply = client.get(f"/static/{name}")
        assert reply.headers["content-type"].startswith(kind)
        assert reply.headers["x-content-type-options"] == "nosniff"
        policy = reply.headers["content-security-policy"]
        assert "script-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy


def test_wrong_methods_are_refused(client: TestClient) -> None:
    assert client.get("/api/echo").status_code == 405
    assert client.post("/").status_code == 405
    assert client.options("/api/echo", headers={"access-control-request-method": "POST"}).status_code == 405


def test_a_defect_shows_nothing_of_the_inside(client: TestClient) -> None:
    reply = client.get("/api/broken")
    assert reply.status_code == 500 and "secret" not in reply.text
    assert "content-security-policy" in reply.headers


def test_a_file_that_is_gone_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="missing") as error:
        file_reply(tmp_path / "gone.wav", "audio/wav")
    assert str(tmp_path) not in error.value.message


def test_host_headers_are_read_like_browsers_write_them() -> None:
    assert host_name("[2001:DB8::1]:80") == "2001:db8::1"
    assert host_name("Lab.Example:80") == "lab.example"
    assert host_name("a b:x") is None and host_name("[::1") is None


def test_tokens_are_kept_as_hashes_and_shown_once(tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    tokens, made = load_tokens(path, ["1", "2"])
    assert set(made) == {"1", "2"} and all(len(token) >= 22 for token in made.values())
    assert [tokens.name_of(made[name]) for name in ("1", "2")] == ["1", "2"]
    assert tokens.name_of("") is None and tokens.name_of(made["1"] + "x") is None and tokens.name_of("\ud800") is None
    assert not any(token in path.read_text() for token in made.values())
    assert path.stat().st_mode & 0o077 == 0
    # A later start knows the same tokens, and makes one for whoever is new.
    again, new = load_tokens(path, ["1", "2", "ü – 3"])
    assert set(new) == {"ü – 3"} and again.name_of(made["2"]) == "2"
    # Who is no longer asked for has no access any more.
    assert load_tokens(path, ["1"])[0].name_of(made["2"]) is None


def test_the_last_line_of_a_token_file_may_be_deleted_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    _, made = load_tokens(path, ["1", "experimenter"])
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "experimenter" not in line))
    again, new = load_tokens(path, ["1", "experimenter"])
    assert set(new) == {"experimenter"} and again.name_of(made["1"]) == "1"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"1": 2}', '{"1": "short"}'])
def test_a_damaged_token_file_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "access.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"access\.json.*delete it") as error:
        load_tokens(path, ["1"])
    assert "\n" not in str(error.value)
    assert path.read_text() == content


def test_an_address_that_is_taken_is_one_line() -> None:
    opened, local = open_socket("127.0.0.1", 0)
    with opened:
        assert local
        port = opened.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}.*choose another"):
            open_socket("127.0.0.1", port)
    for host in ("no such host.invalid", "192.0.2.1", "x" * 70):
        with pytest.raises(ConfigError, match="cannot listen there"):
            open_socket(host, 0)
    for number in (-1, 70000):
        with pytest.raises(ConfigError, match="65535"):
            open_socket("127.0.0.1", number)


def test_only_loopback_counts_as_this_machine_alone() -> None:
    for host, local in (("localhost", True), ("127.0.0.2", True), ("0.0.0.0", False)):
        opened, alone = open_socket(host, 0)
        opened.close()
        assert alone is local


def test_the_address_that_is_told_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldm_sep.web.app._outward_address", lambda family: None)
    monkeypatch.setattr("socket.gethostname", lambda: "Lab-PC")
    opened, _ = open_socket("0.0.0.0", 0)
    with opened:
        address = address_of("0.0.0.0", opened)
    assert address.startswith("http://Lab-PC:")
    with TestClient(page_app(names=names_for("0.0.0.0", address, ["lab.example"])), HOME) as client:
        for host, status in (("Lab-PC", 200), ("lab-pc:80", 200), ("lab.example", 200), ("other-pc", 421)):
            assert client.get("/", headers={"host": host}).status_code == status


def test_the_address_that_is_told_is_of_the_socket_s_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldm_sep.web.app._outward_address", {socket.AF_INET6: "2001:db8::7"}.get)
    try:
        opened, _ = open_socket("::", 0)
    except ConfigError:
        pytest.skip("no IPv6 here")
    with opened:
        assert address_of("::", opened).startswith("http://[2001:db8::7]:")
