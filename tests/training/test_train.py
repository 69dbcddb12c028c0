"""Training as a user sees it: files, logs, stages, and a killed run that goes on as if nothing had happened."""

import csv
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import ROOT, run_cli
from safetensors.torch import load_file

from ldm_sep.checkpoint.card import trainings
from ldm_sep.checkpoint.reading import load_codec, load_separator
from ldm_sep.codec.base import unit_gain
from ldm_sep.config import OptimiserConfig, load_config
from ldm_sep.errors import CheckpointError
from ldm_sep.method.level import normalising_gain
from ldm_sep.training.codec import measure_whitening
from ldm_sep.training.loop import fit, learning_rate_scale
from ldm_sep.training.losses import thresholded_snr_loss
from ldm_sep.training.objectives import PredictorObjective
from ldm_sep.training.separator import draw_predictor_step
from ldm_sep.training.state import ExponentialMovingAverage, Reached, find_states, load_state, save_state


def test_both_stages_leave_loadable_checkpoints_logs_and_samples(trained: Path) -> None:
    for stage in ("stage1", "stage2"):
        manifest, _ = load_separator(trained / stage / "separator")
        assert manifest.facts["steps"] == 8
        # A card tells the whole way: the codec's training, and the stages so far.
        way = [run["command"].split()[1] for run in trainings(manifest.facts)]
        assert way == ["train-codec", "train", "train"][: 2 if stage == "stage1" else 3]
        card = (trained / stage / "separator/README.md").read_text()
        assert all(run["command"] in card for run in trainings(manifest.facts))
        assert any(key.startswith("songs/si_sdr_gain") for key in manifest.facts["scores"])
        rows = list(csv.DictReader((trained / stage / "train.csv").read_text().splitlines()))
        assert [int(r["step"]) for r in rows] == [2, 4, 6, 8]
        assert float(rows[-1]["loss"]) > 0
        assert list((trained / stage / "tensorboard").iterdir())
        estimate = next((trained / stage / "samples").glob("00000008/*-estimate.wav"))
        assert sf.info(estimate).samplerate == 16000
        assert "songs" in (trained / stage / "separator/README.md").read_text()


def test_stage_1_leaves_the_conditioner_bit_identical_and_stage_2_does_not(trained: Path) -> None:
    codec = load_file(trained / "codec_run/codec/codec.safetensors")
    encoder = {k.removeprefix("encoder."): v for k, v in codec.items() if k.startswith("encoder.")}
    assert encoder
    for stage, same in (("stage1", True), ("stage2", False)):
        model = load_file(trained / stage / "separator/model.safetensors")
        conditioner = {k.removeprefix("conditioner."): v for k, v in model.items() if k.startswith("conditioner.")}
        assert conditioner.keys() == encoder.keys()
        assert all(torch.equal(conditioner[k], encoder[k]) for k in encoder) is same
    assert (trained / "stage2/separator/codec.safetensors").read_bytes() == (
        trained / "codec_run/codec/codec.safetensors"
    ).read_bytes()


def test_the_predictor_is_trained_at_the_speeds_at_which_it_will_hear(trained: Path) -> None:
    settings = load_config(ROOT / "configs/tiny.toml").training
    wave = 0.1 * torch.randn(2, 2, 2, 16000, generator=torch.Generator().manual_seed(0))
    pairs = SimpleNamespace(vocals=wave[0], mixture=wave[0] + wave[1])
    speeds = (0.8, 1.25, 1.5)
    settings = settings.model_copy(update={"outline_weight": 0.0})
    drawn = [draw_predictor_step(lambda *_: pairs, settings, speeds, step, 0) for step in range(40)]
    assert {round(float(speed), 3) for _, _, speed in drawn} == set(speeds)
    assert float(draw_predictor_step(lambda *_: pairs, settings, speeds, 7, 0)[2]) == float(drawn[7][2])
    _, separator = load_separator(trained / "stage1/separator")
    vocals, mixture, _ = drawn[0]
    gain = normalising_gain(mixture)
    with torch.no_grad():
        loss = PredictorObjective(separator, settings)(vocals, mixture, torch.tensor(1.25))["loss"]
        heard = separator.predictor(mixture * gain, (1.25,))
    torch.testing.assert_close(loss, thresholded_snr_loss(heard, vocals * gain, mixture * gain))


def test_stage_0_trains_the_predictor_alone_and_stage_1_goes_on_from_it(trained: Path, stems_folder: Path) -> None:
    stage0 = trained / "stage0.toml"
    stage0.write_text('extends = "tiny.toml"\nname = "tiny0"\n[training]\nstage = 0\nlearning_rate = 1e-2\n')
    common = ["--data", stems_folder, "--cache", trained / "cache", "--cpu"]
    for words in (
        ["train", stage0, "--run", trained / "stage0", "--codec", trained / "codec_run/codec", "--steps", 30, *common],
        ["train", ROOT / "configs/tiny.toml", "--run", trained / "from0", "--init", trained / "stage0/separator"],
    ):
        done = run_cli(*words, *([] if words[-1] == "--cpu" else common))
        assert done.returncode == 0, done.stderr
    before, after, fresh = (
        load_file(trained / f"{run}/separator/model.safetensors") for run in ("stage0", "from0", "stage1")
    )
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"unet"}
    assert any(not torch.equal(before[k], fresh[k]) for k in before if k.startswith("predictor."))
    losses = [float(r["loss"]) for r in csv.DictReader((trained / "stage0/train.csv").read_text().splitlines())]
    # In bels over silence: it learns something, and quickly.
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.05


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
    codec = SimpleNamespace(latent_channels=2, encoder=lambda wave: scale * wave + offset, input_gain=unit_gain)
    measured = measure_whitening(codec, SimpleNamespace(batch=batch), 3, 0)
    # Mixtures are heard at an RMS of 0.1, vocals then at 0.05.
    std = scale * np.sqrt((0.1**2 + 0.05**2) / 2)
    torch.testing.assert_close(measured.std.reshape(2, 1), std.float(), rtol=0.02, atol=0)
    torch.testing.assert_close(measured.mean.reshape(2, 1), offset, rtol=0, atol=0.01)
    # A codec that wants a level of its own hears both at that.
    codec.input_gain = lambda wave: 3 / wave.square().mean((1, 2), keepdim=True).sqrt()
    measured = measure_whitening(codec, SimpleNamespace(batch=batch), 3, 0)
    torch.testing.assert_close(measured.std.reshape(2, 1), 3 * scale, rtol=0.02, atol=0)


def test_a_codec_is_whitened_only_under_its_own_configuration(
    trained: Path, stems_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "other.toml"
    config.write_text('extends = "tiny.toml"\nname = "other"\n[codec]\nexponent = 0.9\n')
    words = ["--codec", trained / "codec_run/codec", "--data", stems_folder, "--cache", tmp_path / "cache", "--cpu"]
    done = run_cli("whiten", config, "--out", tmp_path / "codec", *words)
    assert done.returncode == 1 and "its codec has other sizes" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["other.toml"]


def test_a_run_killed_and_resumed_equals_an_uninterrupted_one(trained: Path, stems_folder: Path) -> None:
    run = trained / "killed"
    words = [
        *("train", str(ROOT / "configs/tiny.toml"), "--run", str(run), "--data", str(stems_folder), "--cpu"),
        *("--codec", str(trained / "codec_run/codec"), "--cache", str(trained / "cache")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ldm_sep", *words], env=environment, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    deadline = time.monotonic() + 120
    while not (run / "state-00000002/progress.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    refused = run_cli(*words)
    assert refused.returncode == 1 and "--resume" in refused.stderr and refused.stderr.count("\n") == 1
    resumed = run_cli(*words, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    killed, whole = run / "separator/model.safetensors", trained / "stage1/separator/model.safetensors"
    assert killed.read_bytes() == whole.read_bytes()
    rows = [r["step"] for r in csv.DictReader((run / "train.csv").read_text().splitlines())]
    assert rows == ["2", "4", "6", "8"]
    assert len(list(run.glob("state-*"))) == 2
    assert "resumed" in resumed.stderr and "changed" not in resumed.stderr
    other = run_cli(*words, "--resume", "--set", "unet.time_features=24", "--steps", "9")
    assert other.returncode == 1 and "undo what changed" in other.stderr and "delete" not in other.stderr
    # What a failed start asked for is not remembered.
    failed = run_cli(*words, "--resume", "--set", "mix.reverb=0.7", "--items", "none.csv")
    assert failed.returncode == 1 and "none.csv" in failed.stderr
    changed = run_cli(*words, "--resume", "--set", "mix.reverb=0.5", "--set", "training.steps=9")
    assert changed.returncode == 0, changed.stderr
    assert "changed: mix.reverb 0.3 -> 0.5, training.steps 8 -> 9" in changed.stderr


def test_what_a_killed_run_left_unfinished_is_gone_when_it_goes_on(tmp_path: Path) -> None:
    from accelerate import Accelerator

    module = _Flaky()
    (tmp_path / ".ldm-sep-0011223344556677").mkdir()
    (tmp_path / ".ldm-sep-0011223344556677/model.safetensors").write_bytes(b"half a state")
    (tmp_path / ".ldm-sep-8899aabbccddeeff.csv").write_text("half a log")
    fit(
        Accelerator(cpu=True),
        module,
        torch.optim.AdamW(module.parameters(), 0.1),
        lambda step: (torch.tensor(step),),
        loop(1, 0.5),
        tmp_path,
        resume=True,
        max_minutes=None,
        record="{}",
        validate=lambda _: {"weight": 0.0},
        report=lambda _: None,
    )
    names = {path.name for path in tmp_path.iterdir()} - {"tensorboard"}
    assert names == {"config.json", "train.csv", "validation.csv", "state-00000001"}


def test_minutes_add_up_over_the_processes_of_a_run(tmp_path: Path) -> None:
    from accelerate import Accelerator

    module = _Flaky()
    optimizer = torch.optim.AdamW(module.parameters(), 0.1)
    ema = ExponentialMovingAverage(list(module.parameters()), 0.5)
    state = save_state(tmp_path, Reached(3, 1, 7.5), module, ema, optimizer)
    assert load_state(state, module, ema, optimizer) == Reached(3, 1, 7.5)
    reached, _ = fit(
        Accelerator(cpu=True),
        module,
        optimizer,
        lambda step: (torch.tensor(step),),
        loop(5, 0.5),
        tmp_path,
        resume=True,
        max_minutes=None,
        record="{}",
        validate=lambda _: {"weight": 0.0},
        report=lambda _: None,
    )
    assert reached.step == 5 and 7.5 < reached.minutes < 8


@pytest.mark.parametrize(
    ("command", "init"),
    [("train-codec", "codec_run/codec"), ("train", "stage1/separator")],
)
def test_a_start_from_a_codec_of_other_sizes_is_refused(
    command: str, init: str, trained: Path, stems_folder: Path, tmp_path: Path
) -> None:
    done = run_cli(
        *(command, ROOT / "configs/tiny.toml", "--run", tmp_path / "run", "--data", stems_folder, "--cpu"),
        *("--cache", trained / "cache", "--init", trained / init, "--set", "codec.width=24"),
    )
    assert done.returncode == 1 and "its codec has other sizes" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["--init", "codec_run/codec"], "holds a codec, not a separator; name it with --codec"),
        (["--codec", "codec_run/codec", "--set", "unet.levels=[{channels=15}]"], "15 channels; use a multiple"),
        (["--codec", "codec_run/codec", "--set", "separator.texture_above=9000"], "texture_above"),
    ],
)
def test_what_cannot_be_built_is_told_before_anything_is_decoded(
    words: list[str], needle: str, trained: Path, stems_folder: Path, tmp_path: Path
) -> None:
    done = run_cli(
        *("train", ROOT / "configs/tiny.toml", "--run", tmp_path / "run", "--data", stems_folder, "--cpu"),
        *("--cache", tmp_path / "cache", words[0], trained / words[1], *words[2:]),
    )
    assert done.returncode == 1 and needle in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_a_separators_folder_lends_its_codec_with_its_whitening(trained: Path, stems_folder: Path) -> None:
    done = run_cli(
        *("train", ROOT / "configs/tiny.toml", "--run", trained / "lent", "--data", stems_folder, "--cpu"),
        *("--codec", trained / "stage1/separator", "--cache", trained / "cache", "--steps", 1),
    )
    assert done.returncode == 0 and "predictor untrained" in done.stderr, done.stderr
    lent, own = (load_file(trained / run / "separator/model.safetensors") for run in ("lent", "stage1"))
    for key in ("whitening.mean", "whitening.std"):
        assert torch.equal(lent[key], own[key])
    assert not torch.equal(own["whitening.std"], torch.ones_like(own["whitening.std"]))


def test_max_minutes_stops_early_with_everything_saved(trained: Path, stems_folder: Path) -> None:
    run = trained / "short"
    done = run_cli(
        *("train", ROOT / "configs/tiny.toml", "--run", run, "--data", stems_folder, "--cpu"),
        *("--codec", trained / "codec_run/codec", "--cache", trained / "cache", "--max-minutes", 0),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "separator/config.json").read_text())["steps"] == 1
    assert (run / "state-00000001/progress.json").exists()


def loop(steps: int, ema_decay: float) -> OptimiserConfig:
    """A log at every step; state and validation at the end only."""
    return OptimiserConfig(
        steps=steps,
        batch_size=1,
        seconds=1,
        learning_rate=0.1,
        warmup=0,
        ema_decay=ema_decay,
        log_every=1,
        validate_every=steps,
        save_every=steps,
    )


class _Flaky(torch.nn.Module):
    """A quadratic whose third loss is not a number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([2.0]))
        self.set_to_train: list[bool] = []
        # As networks are when they come from a checkpoint.
        self.eval()

    def forward(self, step: torch.Tensor) -> dict[str, torch.Tensor]:
        self.set_to_train.append(self.training)
        loss = self.weight.square().sum()
        return {"loss": loss * torch.nan if int(step) == 2 else loss}


def test_steps_that_are_not_finite_are_skipped_and_counted(tmp_path: Path) -> None:
    from accelerate import Accelerator

    module = _Flaky()
    reports = []
    reached, _ = fit(
        Accelerator(cpu=True),
        module,
        torch.optim.AdamW(module.parameters(), 0.1),
        lambda step: (torch.tensor(step),),
        loop(6, 0.5),
        tmp_path,
        resume=False,
        max_minutes=None,
        record="{}",
        validate=lambda _: {"weight": float(module.weight)},
        report=reports.append,
    )
    assert (reached.step, reached.skipped) == (6, 1) and reports[-1].skipped == 1
    weights = [float(r["weight"]) for r in csv.DictReader((tmp_path / "validation.csv").read_text().splitlines())]
    assert 0 < weights[-1] < 2
    losses = {r["step"]: float(r["loss"]) for r in csv.DictReader((tmp_path / "train.csv").read_text().splitlines())}
    # Nothing is known of a step that was skipped; nothing else is spoilt by it.
    assert [step for step, loss in losses.items() if not 0 < loss < 5] == ["3"]
    assert module.set_to_train == [True] * 6
    # Averaged weights are kept apart from the live ones.
    saved = load_file(tmp_path / "state-00000006/model.safetensors")["weight"]
    averaged = load_file(tmp_path / "state-00000006/ema.safetensors")["0"]
    assert 0 < float(saved) < float(averaged) < 2


def test_every_validation_is_made_once_with_the_averaged_weights(tmp_path: Path) -> None:
    from accelerate import Accelerator

    module = _Flaky()
    seen: list[tuple[int, float]] = []

    def validate(step: int) -> dict[str, float]:
        seen.append((step, module.weight.item()))
        return {"weight": module.weight.item()}

    def run(steps: int) -> tuple[int, dict[str, float]]:
        reached, scores = fit(
            Accelerator(cpu=True),
            module,
            torch.optim.AdamW(module.parameters(), 0.1),
            lambda step: (torch.tensor(step),),
            loop(steps, 0.5).model_copy(update={"validate_every": 2}),
            tmp_path,
            resume=True,
            max_minutes=None,
            record="{}",
            validate=validate,
            report=lambda _: None,
        )
        return reached.step, dict(scores)

    # What the checkpoint says of itself is the last validation, of the weights that are in place then.
    assert run(4) == (4, {"weight": module.weight.item()})
    assert [step for step, _ in seen] == [2, 4]
    # A run that was complete already is validated, since nothing else says how good it is.
    assert run(4) == (4, {"weight": seen[1][1]})
    assert [step for step, _ in seen] == [2, 4, 4]


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_resumed_run_decays_weights_as_it_is_told_now(decay: float, tmp_path: Path) -> None:
    from accelerate import Accelerator

    class Still(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([2.0]))

        def forward(self) -> dict[str, torch.Tensor]:
            return {"loss": 0 * self.weight.sum()}

    module = Still()
    before = torch.optim.AdamW(module.parameters(), 0.1, weight_decay=0.1)
    save_state(tmp_path, Reached(0), module, ExponentialMovingAverage([module.weight], 0.5), before)
    fit(
        Accelerator(cpu=True),
        module,
        torch.optim.AdamW(module.parameters(), 0.1, weight_decay=decay),
        lambda step: (),
        loop(1, 0.0),
        tmp_path,
        resume=True,
        max_minutes=None,
        record="{}",
        validate=lambda _: {},
        report=lambda _: None,
    )
    saved = float(load_file(tmp_path / "state-00000001/model.safetensors")["weight"])
    # One step of AdamW without a gradient: w (1 - rate x decay), the rate at its warm-up's end.
    assert saved == pytest.approx(2 * (1 - 0.1 * decay), rel=1e-5)


def test_a_disk_without_room_is_one_line_and_leaves_the_older_state(tmp_path: Path) -> None:
    module = _Flaky()
    optimizer, ema = torch.optim.AdamW(module.parameters()), ExponentialMovingAverage([module.weight], 0.9)
    save_state(tmp_path, Reached(1), module, ema, optimizer)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files of more than 40 bytes are refused, as a full disk refuses them.
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step 2 could not be saved .*; see that there is room"):
            save_state(tmp_path, Reached(2), module, ema, optimizer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["state-00000001"]


def test_a_state_with_weights_that_are_not_finite_is_never_written(tmp_path: Path) -> None:
    module = _Flaky()
    optimizer = torch.optim.AdamW(module.parameters())
    ema = ExponentialMovingAverage(list(module.parameters()), 0.9)
    save_state(tmp_path, Reached(1), module, ema, optimizer)
    module.weight.data.fill_(torch.inf)
    with pytest.raises(CheckpointError, match="not finite at step 2; nothing was saved"):
        save_state(tmp_path, Reached(2), module, ema, optimizer)
    assert [p.name for p in find_states(tmp_path)] == ["state-00000001"]


def test_bf16_trains(trained: Path, stems_folder: Path) -> None:
    config = trained / "bf16.toml"
    config.write_text('extends = "tiny.toml"\nname = "bf16"\n[training]\nsteps = 4\nprecision = "bf16"\n')
    done = run_cli(
        *("train", config, "--run", trained / "bf16", "--data", stems_folder, "--cpu"),
        *("--codec", trained / "codec_run/codec", "--cache", trained / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert "precision: bf16" in done.stdout
    losses = [float(r["loss"]) for r in csv.DictReader((trained / "bf16/train.csv").read_text().splitlines())]
    assert all(0 < loss < 10 for loss in losses)


def test_learning_rate_warms_up_and_decays() -> None:
    scales = [learning_rate_scale(step, 1000, 100) for step in range(1000)]
    assert scales[0] == 0.01 and scales[99] == 1.0
    assert max(scales) == 1.0 and abs(scales[-1] - 0.05) < 1e-3
    assert all(b <= a for a, b in itertools.pairwise(scales[99:]))


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["train", "configs/none.toml"], "none.toml: no such configuration"),
        (["train", "configs/tiny.toml"], "name a trained codec with --codec"),
        (["train", "configs/tiny.toml", "--codec", "configs"], "not a checkpoint"),
        (["train-codec", "configs/paper_stage1.toml"], "needs a [codec_training] table"),
        (
            ["train", "configs/tiny.toml", "--set", "training.rate=1"],
            "--set training.rate=1: training.rate: extra inputs",
        ),
        (["train", "configs/tiny.toml", "--set", "training.stage"], "write TABLE.KEY=VALUE"),
        (["train", "configs/tiny.toml", "--codec", "checkpoints/open"], "its codec has other sizes"),
        (["train", "configs/tiny.toml", "--set", "sampling.segment=0.5"], "greater than or equal to 1"),
        (["train", "configs/tiny.toml", "--set", "mix.silent=0.8", "--set", "mix.solo=0.8"], "together at most 1"),
        (["train-codec", "configs/tiny.toml", "--set", "codec.hop=161"], "hop must be even"),
        (["train", "configs/tiny.toml", "--init", "checkpoints/open", "--codec", "checkpoints/open"], "not both"),
    ],
)
def test_mistakes_are_one_line(words: list[str], needle: str, stems_folder: Path, tmp_path: Path) -> None:
    done = run_cli(*words, "--data", stems_folder, "--run", tmp_path / "run", "--cache", tmp_path, "--cpu")
    assert done.returncode == 1
    assert needle in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_predictor_moves_to_a_separator_of_another_codec(trained: Path, stems_folder: Path) -> None:
    common = ["--data", stems_folder, "--cache", trained / "cache", "--cpu"]
    done = run_cli(
        *("train", ROOT / "configs/tiny.toml", "--init", trained / "stage1/separator", "--run", trained / "donor"),
        *("--set", "training.stage=0", "--steps", 1, *common),
    )
    assert done.returncode == 0, done.stderr
    donor = trained / "donor/separator"
    common += ["--set", "codec.mid_bins=24"]
    done = run_cli("train-codec", ROOT / "configs/tiny.toml", "--run", trained / "wider", "--steps", 1, *common)
    assert done.returncode == 0, done.stderr
    words = ["train", ROOT / "configs/tiny.toml", "--codec", trained / "wider/codec", "--predictor", donor, *common]
    # With another seed, so that a fresh predictor would be another one.
    done = run_cli(*words, "--run", trained / "moved", "--steps", 1, "--set", "training.seed=9")
    assert done.returncode == 0 and "untrained" not in done.stderr, done.stderr
    old, new = (load_file(run / "model.safetensors") for run in (donor, trained / "moved/separator"))
    assert all(torch.equal(v, new[k]) for k, v in old.items() if k.startswith("predictor."))
    assert new["whitening.std"].shape != old["whitening.std"].shape
    # Its history is that of the new codec and of the predictor, not of the codec and U-Net that stayed behind.
    ways = [trainings(load_separator(f)[0].facts) for f in (donor, trained / "moved/separator")]
    assert [run["parts"] for run in ways[0]] == [["codec"], ["unet"], ["predictor"]]
    assert [run["parts"] for run in ways[1]] == [["codec"], ["predictor"], ["unet"]]
    assert ways[1][1] == ways[0][2]

    for change, message in (
        ("predictor.window=1024", "its predictor has another rate or other sizes than the [predictor] table of tiny"),
        ("predictor.exponent=0.5", None),
    ):
        done = run_cli(*words, "--run", trained / change, "--steps", 1, "--set", change)
        assert done.returncode == (0 if message is None else 1), done.stderr
        assert message is None or message in done.stderr.splitlines()[-1]
    done = run_cli(*words[: -len(common) - 1], trained / "wider/codec", *common, "--run", trained / "none")
    assert done.returncode == 1 and "has no predictor; name a separator" in done.stderr.splitlines()[-1]


def test_stage_0_without_a_predictor_says_what_is_missing(trained: Path, stems_folder: Path) -> None:
    tiny = (ROOT / "configs/tiny.toml").read_text().replace("codec_residual = true\n", "")
    tiny = tiny.replace("stage = 1", "stage = 0")
    before, _, after = tiny.partition("[predictor]")
    config = trained / "nothing.toml"
    config.write_text(before + after[after.index("[separator]") :])
    done = run_cli(
        *("train", config, "--run", trained / "nothing", "--data", stems_folder, "--cpu"),
        *("--codec", trained / "codec_run/codec", "--cache", trained / "cache"),
    )
    assert done.returncode == 1
    assert "stage 0 trains the predictor, and there is none; add a [predictor] table" in done.stderr.splitlines()[-1]


def test_two_processes_train_together(trained: Path, stems_folder: Path) -> None:
    run = trained / "two"
    words = [
        *("-m", "--", "ldm_sep", "train", str(ROOT / "configs/tiny.toml"), "--run", str(run), "--steps", "4"),
        *("--data", str(stems_folder), "--codec", str(trained / "codec_run/codec"), "--cache", str(trained / "cache")),
    ]
    # Without --cpu: several processes must find each other where no GPU is, too.
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("processes: 2") == 1
    two = load_file(run / "separator/model.safetensors")
    facts = json.loads((run / "separator/config.json").read_text())
    assert facts["steps"] == 4
    assert facts["command"].startswith("torchrun --nproc-per-node 2 -m -- ldm_sep train ")
    # The second process brings data of its own, so the result is another one than that of a single process.
    alone = run_cli(*words[3:], "--run", trained / "one", "--cpu")
    assert alone.returncode == 0, alone.stderr
    one = load_file(trained / "one/separator/model.safetensors")
    assert max(float((one[k] - two[k]).abs().max()) for k in one) > 1e-4


def test_the_pretrained_codecs_path_from_weight_file_to_separated_song(stems_folder: Path, tmp_path: Path) -> None:
    """With weights made here in the published file's format: only their values differ from the real ones."""
    from ldm_sep.codec.encodec_48khz import Encodec48kHz
    from ldm_sep.thirdparty import import_encodec

    encodec = import_encodec()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        published = encodec.EncodecModel.encodec_model_48khz(pretrained=False)
    weights = tmp_path / "encodec_made_here.th"
    torch.save(published.state_dict(), weights)
    assert Encodec48kHz().sample_rate == 48000
    config = tmp_path / "encodec_tiny.toml"
    config.write_text(
        'name = "encodec_tiny"\n[codec]\nkind = "encodec_48khz"\n[data]\nlayout = "stems"\n'
        "[unet]\ntime_features = 16\nlevels = [{ channels = 16, factor = 2, inject = true }]\n"
        "[training]\nstage = 1\nsteps = 2\nbatch_size = 1\nseconds = 0.64\nlearning_rate = 1e-3\n"
        "[sampling]\nsteps = 2\nsegment = 1.0\n"
    )
    common = ["--data", stems_folder, "--cache", tmp_path / "cache", "--cpu", "--codec-weights", weights]
    for words in (
        ["whiten", config, "--out", tmp_path / "codec", *common],
        ["train", config, "--run", tmp_path / "run", "--codec", tmp_path / "codec", *common],
        [
            *("separate", next(stems_folder.glob("valid/*/vocals.wav")), "-o", tmp_path / "out", "-d", "cpu"),
            *("-n", tmp_path / "run/separator", "--codec-weights", weights),
        ],
    ):
        done = run_cli(*words)
        assert done.returncode == 0, done.stderr[-2000:]
    whitening = load_file(tmp_path / "codec/whitening.safetensors")
    assert whitening["std"].shape == (128, 1) and float(whitening["std"].min()) > 0
    # The codec's weights are Meta's and stay in their own file.
    assert not (tmp_path / "run/separator/codec.safetensors").exists()
    assert sf.info(tmp_path / "out/vocals/vocals.wav").frames == 6 * 16000
