"""Every way the weights of the 48 kHz EnCodec can come or fail to come.

Meta's file is never used: a file of the same format, with random weights and its own hash in its name, stands
for it, and a server on 127.0.0.1 for Meta's address.
"""

import os
import resource
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from published import package_model, refused, same, save

from ldm_sep.codec import encodec_weights
from ldm_sep.codec.encodec_weights import default_cache, load_encodec_48khz


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

    def start(
        file: Path, *, share: float = 1.0, announced: bool = True, status: int = 200, spoilt: bool = False
    ) -> list[str]:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                body = file.read_bytes()
                if spoilt:
                    body = body[:1000] + bytes(len(body) - 1000)
                self.send_response(status)
                if announced:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):  # nobody reads the body of an error page
                    self.wfile.write(body[: int(share * len(body))])

            def log_message(self, *args: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        port = servers[-1].server_address[1]
        monkeypatch.setattr(encodec_weights, "WEIGHTS_URL", f"http://127.0.0.1:{port}/v0/{file.name}")
        return requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, not made yet."""
    monkeypatch.setenv("LDM_SEP_CACHE", str(tmp_path / "new/cache"))
    return tmp_path / "new/cache"


def test_local_files_are_read_where_they_lie(
    model: torch.nn.Module, weights: Path, tmp_path: Path, cache: Path
) -> None:
    old_format = tmp_path / "old.th"
    torch.save(model.state_dict(), old_format, _use_new_zipfile_serialization=False)
    for file in (weights, old_format):
        assert same(load_encodec_48khz(file), model)
    assert list(tmp_path.iterdir()) == [old_format]


def test_download_is_kept_and_later_loads_need_no_network(
    model: torch.nn.Module, weights: Path, cache: Path, offer: Callable, capfd: pytest.CaptureFixture[str]
) -> None:
    requests = offer(weights)
    assert same(load_encodec_48khz(), model)
    told = capfd.readouterr()
    # Standard output may be a stem.
    assert told.out == "" and weights.name in told.err
    kept = cache / weights.name
    assert list(cache.iterdir()) == [kept] and kept.read_bytes() == weights.read_bytes()
    # A cache may be shared: what is kept can be read by those who can read any new file.
    (cache / "other").touch()
    assert kept.stat().st_mode == (cache / "other").stat().st_mode
    for file in (None, kept):
        assert same(load_encodec_48khz(file), model)
    assert requests == [f"/v0/{weights.name}"]
    # Whatever touches the kept weights later is noticed, wherever they are loaded from.
    blob = bytearray(kept.read_bytes())
    blob[-1] ^= 1
    kept.write_bytes(blob)
    for file in (None, kept):
        with refused(kept, "it is damaged", "remove it", f"get it again from {encodec_weights.WEIGHTS_URL}"):
            load_encodec_48khz(file)
    # Following that advice works.
    kept.unlink()
    assert same(load_encodec_48khz(), model)
    assert len(requests) == 2 and kept.read_bytes() == weights.read_bytes()


def test_file_placed_in_the_cache_by_hand(model: torch.nn.Module, weights: Path, cache: Path, offer: Callable) -> None:
    requests = offer(weights)
    cache.mkdir(parents=True)
    shutil.copy(weights, cache)
    assert same(load_encodec_48khz(), model)
    assert list(cache.iterdir()) == [cache / weights.name]
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


def test_no_network_names_address_place_and_option(cache: Path) -> None:
    place = cache / "encodec_48khz-7e698e3e.th"
    with refused("http://127.0.0.1:9/", "Connection refused", place, "put the file there", "--codec-weights"):
        load_encodec_48khz()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ({"share": 0.5}, "invalid hash value"),
        ({"share": 0.5, "announced": False}, "invalid hash value"),
        ({"spoilt": True}, "invalid hash value"),
        ({"status": 404}, "HTTP Error 404"),
    ],
    ids=["cut", "cut_unannounced", "spoilt", "gone"],
)
def test_failed_downloads_leave_nothing(
    weights: Path, cache: Path, offer: Callable, server: dict, problem: str
) -> None:
    offer(weights, **server)
    with refused(encodec_weights.WEIGHTS_URL, cache / weights.name, "failed", problem, "put the file there"):
        load_encodec_48khz()
    assert list(cache.iterdir()) == []


def test_other_weights_are_refused(cache: Path, offer: Callable, tmp_path: Path) -> None:
    offer(save({"weight": torch.zeros(3)}, tmp_path))
    with refused("is not a 48 kHz EnCodec", "get the file again from"):
        load_encodec_48khz()


def test_cache_that_cannot_be_written(
    weights: Path, cache: Path, offer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(weights)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files stands for a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with refused(cache / weights.name, "File too large", "LDM_SEP_CACHE"):
            load_encodec_48khz()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(cache.iterdir()) == []
    monkeypatch.setenv("LDM_SEP_CACHE", str(weights / "cache"))
    with refused(weights / "cache", "Not a directory", "LDM_SEP_CACHE"):
        load_encodec_48khz()


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
    with refused(renamed, f"begins with {weights.stem[-8:]}, its name says 7e698e3e", "get it again"):
        load_encodec_48khz(renamed)
    cases = {"empty.th": b"", "text.th": b"<html>", "cut.th": weights.read_bytes()[:100_000]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with refused(tmp_path / name, "damaged"):
            load_encodec_48khz(tmp_path / name)
    with refused("is not a mapping from names to tensors"):
        load_encodec_48khz(save([torch.zeros(2)], tmp_path))
    with refused(tmp_path / "absent.th", "cannot be read", "No such file"):
        load_encodec_48khz(tmp_path / "absent.th")


def test_only_files_of_a_bounded_size_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.th")
    (tmp_path / "zero.th").symlink_to("/dev/zero")
    for name in ("pipe.th", "zero.th"):
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
