"""Whitening constants: what they are measured on, and for which codec."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile as sf
import torch
from conftest import mistake_of

from ldm_sep.checkpoint.reading import load_codec
from ldm_sep.training.codec import measure_whitening


def test_whitening_constants_whiten_what_the_codec_makes(trained: Path, stems_folder: Path) -> None:
    _, codec, whitening = load_codec(trained / "codec_run/codec")
    wave, _ = sf.read(next(stems_folder.glob("train/*/vocals.wav")), dtype="float32")
    mixture = torch.from_numpy(wave[: 160 * 500]).repeat(2, 1)[None]
    z = whitening(codec.encode(mixture * 0.1 / mixture.square().mean().sqrt()))
    # Of other waves than those it was measured on, hence loosely.
    assert 0.2 < z[:, :20].std() < 5 and not torch.equal(whitening.std, torch.ones_like(whitening.std))
    assert torch.allclose(whitening.inverse(z), codec.encode(mixture * 0.1 / mixture.square().mean().sqrt()), atol=1e-4)


def test_whitening_is_measured_on_vocals_and_mixtures_in_equal_shares_at_the_working_level() -> None:
    def batch(size: int, seed: int, step: int) -> SimpleNamespace:
        generator = torch.Generator().manual_seed(step)
        mixture = (step + 1) * torch.randn(size, 2, 512, generator=generator)
        return SimpleNamespace(vocals=0.5 * mixture, mixture=mixture)

    scale, offset = torch.tensor([[1.0], [4.0]]), torch.tensor([[0.0], [3.0]])
    codec = SimpleNamespace(
        latent_channels=2,
        encoder=lambda wave: scale * wave + offset,
        input_gain=lambda wave: wave.new_ones(len(wave), 1, 1),
    )
    measured = measure_whitening(codec, SimpleNamespace(batch=batch), 3, 0)
    # Mixtures are heard at an RMS of 0.1, vocals then at 0.05.
    std = scale * np.sqrt((0.1**2 + 0.05**2) / 2)
    torch.testing.assert_close(measured.std.reshape(2, 1), std.float(), rtol=0.02, atol=0)
    torch.testing.assert_close(measured.mean.reshape(2, 1), offset, rtol=0, atol=0.01)
    # A codec with an input level of its own gets vocals and mixture at that level.
    codec.input_gain = lambda wave: 3 / wave.square().mean((1, 2), keepdim=True).sqrt()
    measured = measure_whitening(codec, SimpleNamespace(batch=batch), 3, 0)
    torch.testing.assert_close(measured.std.reshape(2, 1), 3 * scale, rtol=0.02, atol=0)


def test_a_codec_is_whitened_only_under_its_own_configuration(
    trained: Path, stems_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "other.toml"
    config.write_text('extends = "tiny.toml"\nname = "other"\n[codec]\nexponent = 0.9\n')
    words = ["--codec", trained / "codec_run/codec", "--data", stems_folder, "--cache", tmp_path / "cache", "--cpu"]
    told = mistake_of("whiten", config, "--out", tmp_path / "codec", *words)
    assert "its codec" in told
    assert [p.name for p in tmp_path.iterdir()] == ["other.toml"]
