"""Every way the weights of the 48 kHz EnCodec can come or fail to come.

Meta's file is never used: a file of the same format, with random weights and its own hash in its name, stands
for it, and a server on 127.0.0.1 for Meta's address.
"""

import hashlib
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import safetensors.torch
import torch
from published import package_model, refused, same, save

from ldm_sep.codec import encodec_weights
from ldm_sep.codec.encodec_weights import default_cache, load_encodec_48khz
from ldm_sep.files import sha256_of


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return package_model()


@pytest.fixture(scope="module")
def weights(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(model.state_dict(), tmp_path_factory.mktemp("published"))


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches Meta's address, nor a proxy."""
    monkeypatch.setattr(encodec_weights, "WEIGHTS_URL", "http://127.0.0.1:9/encodec_48khz-7e698e3e.th")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """``offer(file, ...)`` serves ``file`` as if from Meta's address; returns the requests that come."""
    servers: list[ThreadingHTTPServer] = []
    over = threading.Event()

    def start(
        file: Path,
        *,
        share: float = 1.0,
        length: bool | int = True,
        status: int = 200,
        spoilt: bool = False,
        then: str = "",
    ) -> list[str]:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                body = file.read_bytes()
                if spoilt:
                    body = body[:1000] + bytes(len(body) - 1000)
                self.send_response(status)
                if length:
                    self.send_header("Content-Length", str(len(body) if length is True else length))
                self.end_headers()
                with suppress(ConnectionError):  # nobody reads the body of an error page
                    self.wfile.write(body[: int(share * len(body))])
                    # Until nobody listens any more.
                    while then and not over.wait({"silence": 0.1, "drips": 0.1, "more": 0}[then]):
                        if then != "silence":
                            self.wfile.write(b"." if then == "drips" else body)

            def log_message(self, *args: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        port = servers[-1].server_address[1]
        monkeypatch.setattr(encodec_weights, "WEIGHTS_URL", f"http://127.0.0.1:{port}/v0/{file.name}")
        return requests

    yield start
    over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def test_local_files_are_read_where_they_lie(
    model: torch.nn.Module, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDM_SEP_CACHE", str(tmp_path / "cache"))
    plain = tmp_path / "mine.safetensors"
    safetensors.torch.save_file(model.state_dict(), plain)
    old_format = tmp_path / "old.th"
    torch.save(model.state_dict(), old_format, _use_new_zipfile_serialization=False)
    for file in (weights, plain, old_format):
        assert same(load_encodec_48khz(file), model)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine.safetensors", "old.th"]


def test_download_is_kept_and_later_loads_need_no_network(
    model: torch.nn.Module, weights: Path, tmp_path: Path, offer: Callable
) -> None:
    cache = tmp_path / "new" / "cache"
    requests = offer(weights)
    assert same(load_encodec_48khz(cache=cache), model)
    kept, record = cache / f"{weights.stem}.safetensors", cache / f"{weights.stem}.json"
    assert sorted(cache.iterdir()) == sorted([kept, record])
    assert kept.stat().st_mode == record.stat().st_mode
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (weights, kept)]
    assert [sha256_of(weights), sha256_of(kept)] == hashes
    wanted = {"file": weights.name, "sha256": hashes[0], "safetensors_sha256": hashes[1]}
    assert json.loads(record.read_text()) == wanted
    assert same(load_encodec_48khz(cache=cache), model)
    assert same(load_encodec_48khz(kept), model)
    assert requests == [f"/v0/{weights.name}"]
    # A record that is lost, as by a kill between the two files, only costs another download.
    record.unlink()
    assert same(load_encodec_48khz(cache=cache), model)
    assert len(requests) == 2 and record.is_file()
    # Whatever touches the kept weights later is noticed, wherever they are loaded from.
    blob = bytearray(kept.read_bytes())
    blob[-1] ^= 1
    kept.write_bytes(blob)
    for load in (lambda: load_encodec_48khz(cache=cache), lambda: load_encodec_48khz(kept)):
        with refused(kept, "SHA-256 is not the recorded one", f"remove it and {record.name}"):
            load()
    record.write_text("[]")
    with refused(record, "not a record", "remove"):
        load_encodec_48khz(cache=cache)


def test_file_placed_in_the_cache_by_hand(
    model: torch.nn.Module, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offer: Callable
) -> None:
    requests = offer(weights)
    monkeypatch.setenv("LDM_SEP_CACHE", str(tmp_path))
    with refused(tmp_path / weights.name, "downloading is off", "http://127.0.0.1", "put it there", "local copy"):
        load_encodec_48khz(download=False)
    shutil.copy(weights, tmp_path)
    assert same(load_encodec_48khz(download=False), model)
    assert (tmp_path / weights.name).is_file() and (tmp_path / f"{weights.stem}.safetensors").is_file()
    assert requests == []


def test_cache_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("LDM_SEP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == Path("/home/someone/.cache/ldm_sep")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert default_cache() == Path("/scratch/ldm_sep")
    monkeypatch.setenv("LDM_SEP_CACHE", "~/mine")
    assert default_cache() == Path("/home/someone/mine")


def test_no_network_names_address_place_and_option(tmp_path: Path) -> None:
    place = tmp_path / "encodec_48khz-7e698e3e.th"
    with refused("http://127.0.0.1:9/", "Connection refused", f"put the file at {place}", "local copy as weights"):
        load_encodec_48khz(cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("server", "parts"),
    [
        ({"share": 0.5}, ("download failed", "its SHA-256 begins with", "put the file at")),
        ({"share": 0.5, "length": False}, ("download failed", "its SHA-256 begins with", "put the file at")),
        ({"spoilt": True}, ("download failed", "its SHA-256 begins with", "put the file at")),
        ({"share": 0.5, "then": "silence"}, ("download failed", "timed out", "put the file at")),
        ({"share": 0.5, "then": "drips"}, ("download failed", "not complete after 1 s", "put the file at")),
        ({"length": False, "then": "more"}, ("download failed", "more than", "bytes", "put the file at")),
        ({"length": 10**12}, ("download failed", "more than", "bytes", "put the file at")),
        ({"status": 404}, ("HTTP Error 404", "put the file at")),
    ],
    ids=["cut", "cut_unannounced", "spoilt", "stalls", "drips", "endless", "announces_too_much", "gone"],
)
def test_failed_downloads_leave_nothing(
    weights: Path,
    tmp_path: Path,
    offer: Callable,
    server: dict,
    parts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(weights, **server)
    monkeypatch.setattr(encodec_weights, "_LARGEST", weights.stat().st_size + 1000)
    # Nobody is impatient but with the servers that this is about: others may be slow beside other work.
    then = server.get("then")
    monkeypatch.setattr(encodec_weights, "_STALLED_SECONDS", 0.5 if then == "silence" else 60.0)
    monkeypatch.setattr(encodec_weights, "_LONGEST_SECONDS", 1.0 if then == "drips" else 60.0)
    with refused(weights.name, *parts):
        load_encodec_48khz(cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_download_of_other_weights_is_not_kept(tmp_path: Path, offer: Callable) -> None:
    (tmp_path / "server").mkdir()
    offer(save({"weight": torch.zeros(3)}, tmp_path / "server"))
    with refused("is not a 48 kHz EnCodec"):
        load_encodec_48khz(cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_that_cannot_be_written(
    weights: Path, tmp_path: Path, offer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    offer(weights)
    monkeypatch.setattr("os.fsync", full)
    with refused(f"{weights.stem}.safetensors", "No space left", "LDM_SEP_CACHE"):
        load_encodec_48khz(cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    with refused(weights, "cannot be written", "LDM_SEP_CACHE"):
        load_encodec_48khz(cache=weights / "cache")


class Malice:
    """Pickles to a call that would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    file = save({"weight": Malice(trace)}, tmp_path)
    with refused(file, "refused", "could run code", "get the file again from"):
        load_encodec_48khz(file)
    assert not trace.exists()


def test_damaged_and_foreign_files(weights: Path, tmp_path: Path) -> None:
    renamed = shutil.copy(weights, tmp_path / "encodec_48khz-7e698e3e.th")
    with refused(renamed, f"begins with {weights.stem[-8:]}, its name says 7e698e3e", "get the file again"):
        load_encodec_48khz(renamed)
    cases = {"empty.th": b"", "text.th": b"<html>", "cut.th": weights.read_bytes()[:100_000]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with refused(tmp_path / name, "damaged"):
            load_encodec_48khz(tmp_path / name)
    (tmp_path / "bad.safetensors").write_bytes(b"<html>")
    with refused(tmp_path / "bad.safetensors", "cannot be read as safetensors", "remove it"):
        load_encodec_48khz(tmp_path / "bad.safetensors")
    with refused("is not a mapping from names to tensors"):
        load_encodec_48khz(save([torch.zeros(2)], tmp_path))
    for name in ("absent.th", "absent.safetensors"):
        with refused(tmp_path / name, "cannot be read", "No such file"):
            load_encodec_48khz(tmp_path / name)


def test_only_files_of_a_bounded_size_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.th")
    (tmp_path / "zero.th").symlink_to("/dev/zero")
    (tmp_path / "pipe.safetensors").symlink_to("pipe.th")
    for name in ("pipe.th", "zero.th", "pipe.safetensors"):
        with refused(tmp_path / name, "not a regular file"):
            load_encodec_48khz(tmp_path / name)
    with (tmp_path / "sparse.th").open("wb") as file:
        file.truncate(1 << 40)
    with refused(tmp_path / "sparse.th", "bytes, more than"):
        load_encodec_48khz(tmp_path / "sparse.th")
    # A small archive that unpacks to much more.
    monkeypatch.setattr(encodec_weights, "_LARGEST", 1 << 20)
    plain = tmp_path / "plain.th"
    torch.save({"more": torch.zeros(1 << 19)}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(tmp_path / "bomb.th", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in source.infolist():
            bomb.writestr(entry.filename, source.read(entry))
    plain.unlink()
    with refused(tmp_path / "bomb.th", "unpacks to"):
        load_encodec_48khz(tmp_path / "bomb.th")
