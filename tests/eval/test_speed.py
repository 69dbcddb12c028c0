"""The cost tables of a tiny checkpoint, and the arithmetic behind them."""

import json
import subprocess
import sys
from pathlib import Path

import beside
import numpy as np
import pytest
import speed
import torch
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode

from ldm_sep.checkpoint.writing import parameter_count
from ldm_sep.errors import ConfigError
from ldm_sep.separation.separator import Options, Separator


def test_every_figure_is_measured_printed_and_written(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["--name", trained / "stage2/separator", "--durations", "0.5,1,2", "--repeats", 2, "--device", "cpu"]
    words += ["--beside", 1, "--peers", ""]
    # Others who compute have less of the machine than a table would take: one preset has processes of its own.
    monkeypatch.setattr("beside._BUSY_LOOPS", 1)
    own = beside.measured
    monkeypatch.setattr(
        beside, "measured", lambda system, *sizes: (own if "fast" in system else beside.cost_of)(system, *sizes)
    )
    speed.main([*map(str, words), "--out", str(tmp_path)])
    record = json.loads((tmp_path / "speed.json").read_text())
    (cost,) = record["devices"]
    assert set(cost["parts"]) == {
        "predictor",
        "latents",
        "U-Net, one step",
        "decoding",
        "whole separation",
    }
    for values in (*cost["parts"].values(), *cost["durations"].values()):
        assert len(values) == 2 and min(values) > 0
    # A fresh interpreter that imports torch cannot be faster than the warm run.
    assert cost["cold_seconds"] > max(cost["durations"]["0.5"])
    assert cost["peak_memory_mib"] > 50
    assert (tmp_path / "speed.png").stat().st_size > 1000
    # Presets beside each other, beside nothing and beside a loop.
    assert [name.rpartition(":")[2] for name in record["beside"]] == ["fast", "balanced", "best"]
    for idle, busy in record["beside"].values():
        assert min(idle["wall"], idle["cpu"], busy["wall"], busy["cpu"]) > 0 and idle["peak_mib"] > 50
    printed = capsys.readouterr().out
    for words in (
        "GFLOP per audio second",
        "times faster than real time",
        "R^2",
        "busy: wall / CPU s",
        "cold, a process of its own",
    ):
        assert words in printed


def test_operations_and_parameters_are_those_of_the_networks(trained: Path) -> None:
    separator = Separator.load(trained / "stage2/separator", device="cpu")
    codec = separator.model.codec
    sizes, work = speed.parameters(separator), speed.flops(separator, Options())
    assert sizes["U-Net, one step"] == sum(p.numel() for p in separator.model.unet.parameters())
    encoder, predictor = (
        sum(p.numel() for p in part.parameters()) for part in (codec.encoder, separator.model.predictor)
    )
    assert (sizes["latents"], sizes["predictor"]) == (encoder, predictor)
    assert sum(sizes.values()) == parameter_count(separator.model)
    # The parts are the whole: nothing of a separation is left out.
    mixture = 0.1 * torch.randn(1, 2, 16000)
    noise = torch.randn(1, 32, 100)
    with FlopCounterMode(display=False) as counter:
        separator.model.separate(mixture, [noise], 3)
    assert work["predictor"] + work["latents"] + 3 * work["U-Net, one step"] + work["decoding"] == pytest.approx(
        counter.get_total_flops(), rel=1e-6
    )
    # The encoder's dense layers, by hand: two pointwise layers and the block's pair. The MDCT is a fast one.
    frames, hop = codec.sample_rate / codec.hop, codec.hop
    width, latent = 16, codec.latent_channels
    bands = sum(r.mean.numel() for r in (codec.encoder.mid_replication, codec.encoder.side_replication))
    residual = 2 * hop * width + width * 7 + 2 * 4 * width * width + width * latent
    with FlopCounterMode(display=False) as counter:
        codec.encoder(mixture)
    assert counter.get_total_flops() == pytest.approx(2 * frames * (bands + residual), rel=0.02)


def test_a_preset_is_measured_at_its_own_settings(trained: Path) -> None:
    separator = Separator.load(trained / "stage2/separator", device="cpu")
    default, best = (speed.flops(separator, Options(preset=preset)) for preset in (None, "best"))
    with FlopCounterMode(display=False) as counter:
        separator.model.estimate(0.1 * torch.randn(1, 2, 16000), (1.0, 1.25))
    # The preset hears the mixture at two speeds.
    assert best["predictor"] == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert best["predictor"] > 1.3 * default["predictor"]
    assert best["decoding"] == default["decoding"]
    # Without steps nothing but the predictor is at work.
    assert speed.flops(separator, Options(steps=0)) == {"predictor": default["predictor"]}


def test_mistakes_are_named() -> None:
    for words in (["--durations", "abc"], ["--durations", "0,5"], ["--repeats", "0"]):
        with pytest.raises(ConfigError, match="--durations"):
            speed.main(words)


def test_the_line_is_least_squares() -> None:
    line = speed.fit_line([1, 2, 3, 4], [1.5, 2.0, 2.5, 3.0])
    assert (line.slope, line.intercept, line.r2) == pytest.approx((0.5, 1.0, 1.0))
    durations = np.array([5.0, 10, 20, 40])
    assert speed.fit_line(durations, 0.1 * durations).power == pytest.approx(1)
    assert speed.fit_line(durations, 0.1 * durations**2).power == pytest.approx(2)
    rng = np.random.default_rng(0)
    x = np.arange(1.0, 21.0)
    y = 10 + 2 * x + rng.normal(0, 1, 20)
    noisy = speed.fit_line(x, y)
    assert noisy.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it() -> None:
    ballast = np.ones(40_000_000)
    code = f"import sys\nsys.path.insert(0, {str(ROOT / 'eval')!r})\nfrom beside import peak_mib\nprint(peak_mib())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5 < float(done.stdout) < ballast.nbytes / 2**20
