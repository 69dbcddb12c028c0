"""The preview shows the very items that training will see."""

from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from conftest import ROOT, run_here

from ldm_sep.build import build_mixer
from ldm_sep.config import load_config
from ldm_sep.data.decoded import DecodedAudio
from ldm_sep.data.layouts import read_tracks


def test_preview_writes_the_first_training_items_and_a_sheet(stems_folder: Path, tmp_path: Path) -> None:
    config, cache, out = ROOT / "configs/tiny.toml", tmp_path / "cache", tmp_path / "preview"
    words = ["--data", stems_folder, "--out", out, "--items", 7, "--cache", cache, "--set", "training.seed=5"]
    done = run_here("data", "preview", config, *words)
    assert done.returncode == 0, done.stderr
    assert (out / "sheet.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    tracks = [t for t in read_tracks("stems", stems_folder) if t.split == "train"]
    resolved = load_config(config)
    decoded = DecodedAudio(tracks, 16000, cache, torch.device("cpu"))
    size = resolved.training.batch_size
    assert size == 2
    for step, item in ((0, 1), (2, 1)):
        number = step * size + item
        mixture, rate = sf.read(out / f"{number:02d}-mixture.wav", dtype="float32")
        vocals, _ = sf.read(out / f"{number:02d}-vocals.wav", dtype="float32")
        batch = build_mixer(resolved.mix, decoded, len(mixture) / rate, 160).batch(size, 5, step)
        assert rate == 16000
        np.testing.assert_array_equal(mixture.T, batch.mixture[item].numpy())
        np.testing.assert_array_equal(vocals.T, batch.vocals[item].numpy())
    assert not (out / "07-mixture.wav").exists()


def test_preview_of_a_configuration_without_training_says_so(stems_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "bare.toml"
    config.write_text('name = "bare"\n[codec]\nkind = "spectral"\n[data]\nlayout = "stems"\n')
    done = run_here("data", "preview", config, "--data", stems_folder, "--out", tmp_path / "o")
    assert done.returncode == 1 and "needs a [training] or [codec_training] table" in done.stderr
    assert not (tmp_path / "o").exists()
