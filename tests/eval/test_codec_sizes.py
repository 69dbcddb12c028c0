"""The table of codecs holds what their round trips really do."""

import json
from pathlib import Path

import codec_sizes
import numpy as np
import pytest
import torch
from conftest import ROOT

from ldm_sep.checkpoint.reading import load_codec
from ldm_sep.data.items import read_items
from ldm_sep.metrics import si_sdr


def test_rows_are_the_round_trips_of_trained_and_fresh_codecs(
    trained: Path, stems_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "items.csv"
    song = "train/song 0 – ü"
    table.write_text(
        "group,vocals,vocals_start,accompaniment,accompaniment_start,gain_db,seconds\n"
        f"a,{song}/vocals.wav,1,{song}/drums.wav,1,0,1.5\n",
        encoding="utf-8",
    )
    folder = trained / "codec_run/codec"
    words = ["--data", stems_folder, "--items", table, "--codec", folder, "--codec", ROOT / "configs/tiny.toml"]
    codec_sizes.main([*map(str, words), "--repeats", "1", "--out", str(tmp_path / "out")])
    ours, fresh = json.loads((tmp_path / "out/codec_sizes.json").read_text())["rows"]
    _, codec, _ = load_codec(folder)
    (item,) = read_items(table, stems_folder, 16000, 160)
    with torch.no_grad():
        again = codec.decode(codec.encode(torch.from_numpy(item.vocals)[None]))[0].numpy()
    assert ours["scores"]["vocals_si_sdr"] == pytest.approx(si_sdr(item.vocals, again).value, abs=1e-3)
    assert ours["scores"]["vocals_si_sdr_noise_0.1"] < ours["scores"]["vocals_si_sdr"]
    assert fresh["name"] == "tiny, untrained" and fresh["scores"] != ours["scores"]
    assert ours["latents"] == "32 x 100 Hz"
    assert ours["parameters"] == sum(p.numel() for p in codec.parameters())
    assert np.all(np.array(ours["seconds"]["cpu"]) > 0)
    assert (tmp_path / "out/codec_sizes.png").stat().st_size > 1000
    assert f"| {ours['scores']['vocals_si_sdr']:.2f} |" in capsys.readouterr().out
