"""Validation hears what users hear; mixed precision touches networks alone."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import RATE, ROOT, played, sung
from torch import Tensor
from typer.testing import CliRunner

from ldm_sep.cli import app
from ldm_sep.cli.options import load_experiment
from ldm_sep.config import SamplingConfig, load_config
from ldm_sep.data.items import Item
from ldm_sep.errors import DataError
from ldm_sep.separation.separator import Options, Separator
from ldm_sep.training.objectives import SeparatorObjective
from ldm_sep.training.pairs import make_pairs, needed_arrays
from ldm_sep.training.start import Start, begin_separator
from ldm_sep.training.validation import score_separator, separate_item, validation_plans, write_samples

CPU = torch.device("cpu")


def item(seconds: float = 0.96) -> Item:
    vocals, band = np.repeat(sung(seconds, 220, 0)[None], 2, 0), played(seconds, 0)
    return Item("one", "songs", vocals, band)


def test_items_are_separated_by_the_plan_that_users_get(trained: Path) -> None:
    user = Separator.load(trained / "stage1/separator", device="cpu")
    separator, sampling = user.model, user.manifest.config.sampling
    chosen = {"start": 0.6, "eta": 0.5, "averages": 2}
    plan = validation_plans(sampling.model_copy(update=chosen))[2]
    heard = separate_item(separator, item(), plan, CPU)
    expected = user.separate(item().mixture, RATE, Options(**chosen)).vocals
    assert np.abs(heard - expected).max() < 1e-4 * np.abs(expected).max()
    for change in ({"start": 1.0}, {"eta": 0.0}, {"averages": 1}):
        other = separate_item(separator, item(), plan.model_copy(update=change), CPU)
        assert np.abs(other - heard).max() > 1e-4, change


def test_samples_stay_in_their_folder_whatever_an_item_is_called(tiny_separator: Separator, tmp_path: Path) -> None:
    named = replace(item(), name="../../x\\y:z")
    (plan, *_) = validation_plans(tiny_separator.manifest.config.sampling).values()
    write_samples(tiny_separator.model, [named], plan, CPU, tmp_path / "a/b/samples/step")
    assert len(list((tmp_path / "a/b/samples").rglob("*.wav"))) == 3 == len(list(tmp_path.rglob("*.wav")))


def test_scores_are_taken_at_one_step_and_at_the_default() -> None:
    seen = []

    class Silent:
        codec = SimpleNamespace(hop=160, latent_channels=3, sample_rate=RATE, channels=2)

        def separate(self, mixture: Tensor, noises: list[Tensor], steps: int, **dials: object) -> Tensor:
            seen.append((steps, len(noises), dials["start"], dials["eta"], dials["speeds"]))
            return 0.5 * mixture

    sampling = SamplingConfig(steps=8, start=0.3, eta=0.2, averages=3, speeds=(1.0, 1.5))
    scores = score_separator(Silent(), [item()], validation_plans(sampling), CPU)
    assert seen == [(1, 3, 0.3, 0.2, (1.0, 1.5)), (8, 3, 0.3, 0.2, (1.0, 1.5))]
    # SI-SDR does not depend on scale: half of the mixture scores as the mixture does.
    assert scores["songs/si_sdr_gain_1"] == pytest.approx(0, abs=0.01) and "songs/lsd_8" in scores


def test_in_bf16_only_the_network_rounds(trained: Path) -> None:
    vocals, mixture = (torch.from_numpy(w)[None] for w in (item().vocals, item().mixture))
    heard, said = {}, {}
    for precision in ("fp32", "bf16"):
        # Stage 2 makes the condition in the objective, stage 1 beforehand.
        config = load_config(ROOT / "configs/tiny.toml", [f'training.precision="{precision}"', "training.stage=2"])
        separator, _ = begin_separator(config, Start(init=trained / "stage1/separator"))
        pairs = make_pairs(
            separator, vocals, mixture, needed_arrays(config), lambda wave, of=separator: of.predictor(wave)
        )
        noise = torch.randn(pairs.z0.shape, generator=torch.Generator().manual_seed(0))

        def listen(_: object, given: tuple[Tensor, ...], out: Tensor, precision: str = precision) -> None:
            heard[precision], said[precision] = given, out

        separator.unet.register_forward_hook(listen)
        objective = SeparatorObjective(separator, config.training)
        truth = torch.tensor([False])
        assert objective(pairs, noise, torch.tensor([0.4]), truth)["loss"].dtype == torch.float32
    for now, then in zip(heard["fp32"], heard["bf16"], strict=True):
        assert torch.equal(now, then)
    error = ((said["bf16"].float() - said["fp32"]).abs().max() / said["fp32"].abs().max()).item()
    assert said["bf16"].dtype == torch.bfloat16 and 1e-6 < error < 0.1


def test_validate_repeats_the_last_validation_of_the_training_and_writes_samples(
    trained: Path, stems_folder: Path, tmp_path: Path
) -> None:
    last = list(csv.DictReader((trained / "stage1/validation.csv").read_text().splitlines()))[-1]
    told = CliRunner().invoke(
        app,
        [
            *("validate", str(trained / "stage1/separator"), "--data", str(stems_folder)),
            *("--samples", str(tmp_path), "--device", "cpu"),
        ],
    )
    assert told.exit_code == 0, told.output
    values = dict(line.split() for line in told.stdout.splitlines() if "/" in line.split(" ")[0])
    assert values.keys() == last.keys() - {"step"}
    for name, value in values.items():
        # The checkpoint's weights are rounded to 16 bits.
        assert float(value) == pytest.approx(float(last[name]), abs=0.02)
    assert len(list(tmp_path.rglob("*-estimate.wav"))) == 1 and len(list(tmp_path.glob("*-vocals.wav"))) == 1


def test_a_layout_on_the_command_line_wins_over_the_configuration(stems_folder: Path, tmp_path: Path) -> None:
    tiny = load_experiment(ROOT / "configs/tiny.toml", [], "pairs")
    assert tiny.data.layout == "pairs" and load_config(ROOT / "configs/tiny.toml").data.layout == "stems"
    for song in sorted(stems_folder.glob("*/*")):
        pair = tmp_path / song.relative_to(stems_folder)
        pair.mkdir(parents=True)
        vocals, band = (sf.read(song / f"{name}.wav", always_2d=True)[0] for name in ("vocals", "drums"))
        sf.write(pair / "vocals.wav", vocals, RATE)
        sf.write(pair / "mixture.wav", 0.5 * band + vocals, RATE)
    for layout, found in (("pairs", 2), ("csv", None)):
        words = ["data", "preview", str(ROOT / "configs/tiny.toml"), "--data", str(tmp_path), "--layout", layout]
        words += ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--items", "1"]
        told = CliRunner().invoke(app, words)
        if found is None:
            assert isinstance(told.exception, DataError) and "tracks.csv" in str(told.exception)
        else:
            assert f"data: {found} tracks" in told.stdout
