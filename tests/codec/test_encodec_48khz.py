"""The 48 kHz EnCodec: parity with the package, and every way its weights can come or fail to come.

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
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from ldm_sep.codec import encodec_48khz
from ldm_sep.codec.base import Codec
from ldm_sep.codec.encodec_48khz import Encodec48kHz, default_cache, load_encodec_48khz
from ldm_sep.errors import CheckpointError
from ldm_sep.files import sha256_of
from ldm_sep.thirdparty import import_encodec


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = import_encodec().EncodecModel.encodec_model_48khz(pretrained=False)
    with torch.no_grad():
        for layer in model.quantizer.vq.layers:  # the package starts from empty codebooks
            layer._codebook.embed.normal_()
    return model


def save(value: object, folder: Path, stem: str = "encodec_48khz") -> Path:
    """``value`` as ``stem-XXXXXXXX.th``, named by its own hash."""
    file = folder / "unnamed"
    torch.save(value, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return file.rename(folder / f"{stem}-{digest[:8]}.th")


@pytest.fixture(scope="module")
def weights(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(model.state_dict(), tmp_path_factory.mktemp("published"))


@pytest.fixture
def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches Meta's address, nor a proxy."""
    monkeypatch.setattr(encodec_48khz, "WEIGHTS_URL", "http://127.0.0.1:9/encodec_48khz-7e698e3e.th")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """``offer(file, ...)`` serves ``file`` as if from Meta's address; returns the requests that come."""
    servers: list[ThreadingHTTPServer] = []

    def start(file: Path, *, share: float = 1.0, length: bool = True, status: int = 200) -> list[str]:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                body = file.read_bytes()
                self.send_response(status)
                if length:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):  # nobody reads the body of an error page
                    self.wfile.write(body[: int(share * len(body))])

            def log_message(self, *args: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        port = servers[-1].server_address[1]
        monkeypatch.setattr(encodec_48khz, "WEIGHTS_URL", f"http://127.0.0.1:{port}/v0/{file.name}")
        return requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@contextmanager
def refused(*parts: object) -> Iterator[None]:
    """The block raises a ``CheckpointError`` of one line that holds all ``parts``."""
    with pytest.raises(CheckpointError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def same(codec: Encodec48kHz, model: torch.nn.Module) -> bool:
    ours, theirs = codec.state_dict(), model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_encodes_and_decodes_as_the_package_does(model: torch.nn.Module) -> None:
    codec = Encodec48kHz(model.state_dict())
    assert isinstance(codec, Codec) and not codec.keeps_level
    assert (codec.sample_rate, codec.channels, codec.hop, codec.latent_channels) == (48000, 2, 320, 128)
    with torch.no_grad():
        wave = torch.randn(2, 2, 4 * 320)
        z = codec.encode(wave)
        assert z.shape == (2, 128, 4)
        assert torch.equal(z, model.encoder(wave))
        assert torch.equal(codec.decode(z), model.decoder(z))
        assert codec.decode(z).shape == wave.shape
        # What the package itself would send: the same codes from the quantiser's read access.
        model.set_target_bandwidth(6.0)
        mono = wave.mean(1, keepdim=True).pow(2).mean(2, keepdim=True).sqrt()
        codes = codec.quantizer.encode(codec.encode(wave / (mono + 1e-8)), 150, 6.0)
        assert torch.equal(codes.transpose(0, 1), model.encode(wave)[0][0])
        assert codec.quantizer.decode(codes).shape == z.shape


def test_level_is_lost_in_both_directions(model: torch.nn.Module) -> None:
    codec = Encodec48kHz(model.state_dict())
    wave = torch.randn(1, 2, 4 * 320)
    with torch.no_grad():
        latents = [codec.encode(gain * wave) for gain in (0.0, 1e-3, 1.0, 100.0)]
        outputs = [codec.decode(gain * latents[2]) for gain in (0.1, 1.0, 10.0)]
    for z in latents:
        assert z.std(correction=0).item() == pytest.approx(1.0, abs=1e-3)
    for out in outputs:
        assert out.pow(2).mean().sqrt().item() == pytest.approx(1.0, abs=1e-3)


def test_the_input_gain_is_that_of_the_package(model: torch.nn.Module) -> None:
    codec = Encodec48kHz(model.state_dict())
    model.set_target_bandwidth(6.0)
    wave = torch.randn(3, 2, 4 * 320) * torch.tensor([1.0, 0.1, 0.01])[:, None, None]
    with torch.no_grad():
        codes, scale = model.encode(wave)[0]
        gain = codec.input_gain(wave)
        torch.testing.assert_close(gain[:, 0], 1 / scale, rtol=1e-5, atol=0)
        assert torch.equal(codec.quantizer.encode(codec.encode(wave * gain), 150, 6.0).transpose(0, 1), codes)
        # The level matters: at a tenth of it the latents are others.
        z, quiet = codec.encode(wave * gain), codec.encode(0.1 * wave * gain)
    assert (z - quiet).norm() > 0.05 * z.norm()


def test_the_input_gain_is_bounded_for_silence_and_anti_phase() -> None:
    with torch.device("meta"):
        codec = Encodec48kHz()
    wave = 0.1 * torch.randn(1, 1, 3200)
    anti = torch.cat([wave, -wave], 1)
    for odd in (anti, 1e-6 * anti, torch.zeros(1, 2, 3200)):
        heard = odd * codec.input_gain(odd)
        assert torch.isfinite(codec.input_gain(odd)).all() and heard.square().mean().sqrt() < 4.01
    # Two unlike channels are no such case: their mono mean has exactly unit RMS.
    wide = torch.randn(1, 2, 3200)
    assert float((wide * codec.input_gain(wide)).mean(1).square().mean().sqrt()) == pytest.approx(1, rel=1e-5)


def test_what_cannot_be_coded_is_refused(model: torch.nn.Module) -> None:
    codec = Encodec48kHz(model.state_dict())
    wave, z = torch.zeros(1, 2, 640), torch.zeros(1, 128, 2)
    wave[0, 1, 7] = z[0, 5, 1] = float("nan")
    with pytest.raises(ValueError, match="1 of 1280 values of the wave are NaN or infinite"):
        codec.encode(wave)
    with pytest.raises(ValueError, match="1 of 256 values of the latents are NaN or infinite"):
        codec.decode(z)
    with pytest.raises(ValueError, match="pad the wave to 960 samples"):
        codec.encode(torch.zeros(1, 2, 641))


def test_construction_from_weights_leaves_the_random_generator_alone(state: dict[str, Tensor]) -> None:
    before = torch.get_rng_state()
    codec = Encodec48kHz(state)
    assert torch.equal(torch.get_rng_state(), before)
    assert not codec.training
    assert not any(value.is_meta for value in codec.state_dict().values())
    with torch.no_grad():
        codec.encoder.model[0].conv.conv.weight.zero_()
    assert state["encoder.model.0.conv.conv.weight"].abs().sum() > 0  # the caller's tensors are copied


def test_meta_device_costs_nothing() -> None:
    with torch.device("meta"):
        codec = Encodec48kHz()
    assert sum(p.numel() for p in codec.encoder.parameters()) == 7_428_336
    assert sum(p.numel() for p in codec.decoder.parameters()) == 7_427_958
    assert codec.encode(torch.zeros(1, 2, 640, device="meta")).shape == (1, 128, 2)


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
        ({"share": 0.5}, ("download failed", "invalid hash value", "put the file at")),
        ({"share": 0.5, "length": False}, ("download failed", "invalid hash value", "put the file at")),
        ({"status": 404}, ("HTTP Error 404", "put the file at")),
    ],
    ids=["cut", "cut_unannounced", "gone"],
)
def test_failed_downloads_leave_nothing(
    weights: Path, tmp_path: Path, offer: Callable, server: dict, parts: tuple[str, ...]
) -> None:
    offer(weights, **server)
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


def test_only_files_of_a_bounded_size_are_opened(state: dict[str, Tensor], tmp_path: Path) -> None:
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
    plain = tmp_path / "plain.th"
    torch.save({**state, "more": torch.zeros(100 << 20)}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(tmp_path / "bomb.th", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for entry in source.infolist():
            bomb.writestr(entry.filename, source.read(entry))
    plain.unlink()
    with refused(tmp_path / "bomb.th", "unpacks to"):
        load_encodec_48khz(tmp_path / "bomb.th")


def test_state_of_another_network(state: dict[str, Tensor], tmp_path: Path) -> None:
    first, last = "encoder.model.0.conv.conv.bias", "decoder.model.15.conv.conv.weight"
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({k: v for k, v in state.items() if k not in (first, last)}, f"lacks {first} and 1 more"),
        ({**state, "lm.bias": torch.zeros(1)}, "has unexpected lm.bias"),
        ({**state, first: torch.zeros(3)}, f"has another shape or type for {first}"),
        ({**state, first: torch.zeros(32, dtype=torch.int64)}, f"has another shape or type for {first}"),
        ({**state, last: state[last] / 0}, f"NaN or infinite values in {last}"),
    ]
    for changed, message in cases:
        with refused(message):
            Encodec48kHz(changed)
    file = tmp_path / "x.safetensors"
    safetensors.torch.save_file(cases[0][0], file)
    with refused(file, cases[0][1], "get the file again from"):
        load_encodec_48khz(file)
