"""What each stage trains, and what it leaves in the run's folder."""

import csv
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile as sf
import torch
from conftest import RATE, ROOT, mistake_of, mixture, run_here
from safetensors.torch import load_file

from ldm_sep.checkpoint.card import trainings
from ldm_sep.checkpoint.reading import load_separator
from ldm_sep.config import load_config
from ldm_sep.method.level import normalising_gain
from ldm_sep.separation import Options, Separator
from ldm_sep.training.losses import thresholded_snr_loss
from ldm_sep.training.objectives import PredictorObjective
from ldm_sep.training.separator import draw_predictor_step


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
    stage0.write_text(
        'extends = "tiny.toml"\nname = "tiny0"\n[training]\nstage = 0\nlearning_rate = 1e-2\n'
        "steps = 30\nvalidate_every = 30\nsave_every = 30\n"
    )
    common = ["--data", stems_folder, "--cache", trained / "cache", "--cpu"]
    for words in (
        ["train", stage0, "--run", trained / "stage0", "--codec", trained / "codec_run/codec", *common],
        ["train", ROOT / "configs/tiny.toml", "--run", trained / "from0", "--init", trained / "stage0/separator"],
    ):
        done = run_here(*words, *([] if words[-1] == "--cpu" else common))
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


def test_stage_0_without_a_predictor_says_what_is_missing(trained: Path, stems_folder: Path) -> None:
    tiny = (ROOT / "configs/tiny.toml").read_text().replace("codec_residual = true\n", "")
    tiny = tiny.replace("stage = 1", "stage = 0")
    before, _, after = tiny.partition("[predictor]")
    config = trained / "nothing.toml"
    config.write_text(before + after[after.index("[separator]") :])
    told = mistake_of(
        *("train", config, "--run", trained / "nothing", "--data", stems_folder, "--cpu"),
        *("--codec", trained / "codec_run/codec", "--cache", trained / "cache"),
    )
    assert "stage 0 trains the predictor, and there is none; add a [predictor] table" in told


def test_stage_3_gives_a_separator_a_post_filter_and_leaves_all_else_alone(trained: Path, stems_folder: Path) -> None:
    config = trained / "stage3.toml"
    config.write_text(
        'extends = "tiny.toml"\nname = "tiny3"\n[post_filter]\nwindow = 512\nhop = 128\nchannels = [4, 8]\n'
        "[training]\nstage = 3\nlearning_rate = 1e-2\n[sampling.presets.natural]\npost_filter = true\n"
    )
    done = run_here(
        *("train", config, "--run", trained / "stage3", "--init", trained / "stage2/separator", "--steps", 30),
        *("--data", stems_folder, "--cache", trained / "cache", "--cpu"),
    )
    assert done.returncode == 0, done.stderr
    before, after = (load_file(trained / f"{run}/separator/model.safetensors") for run in ("stage2", "stage3"))
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert {key.split(".")[0] for key in after.keys() - before.keys()} == {"post_filter"}
    losses = [float(r["loss"]) for r in csv.DictReader((trained / "stage3/train.csv").read_text().splitlines())]
    assert sum(losses[-5:]) < sum(losses[:5])
    manifest, separator = load_separator(trained / "stage3/separator")
    assert trainings(manifest.facts, ["post_filter"])[-1]["command"] == trainings(manifest.facts)[-1]["command"]
    assert manifest.facts["parameters"]["post_filter"] == sum(p.numel() for p in separator.post_filter.parameters())

    natural = Separator.load(trained / "stage3/separator", device="cpu")
    wave = mixture(2)
    plain, filtered = (natural.separate(wave, RATE, Options(preset=name)) for name in (None, "natural"))
    assert not np.array_equal(plain.vocals, filtered.vocals)
    assert np.array_equal(filtered.instrumental, plain.instrumental)


def test_stage_3_without_a_post_filter_says_what_is_missing(trained: Path, stems_folder: Path) -> None:
    told = mistake_of(
        *("train", ROOT / "configs/tiny.toml", "--run", trained / "nothing", "--data", stems_folder, "--cpu"),
        *("--init", trained / "stage2/separator", "--cache", trained / "cache", "--set", "training.stage=3"),
    )
    assert "stage 3 trains the post-filter of a [predictor]; add a [post_filter] table" in told


def test_bf16_trains(trained: Path, stems_folder: Path) -> None:
    config = trained / "bf16.toml"
    config.write_text('extends = "tiny.toml"\nname = "bf16"\n[training]\nsteps = 4\nprecision = "bf16"\n')
    done = run_here(
        *("train", config, "--run", trained / "bf16", "--data", stems_folder, "--cpu"),
        *("--codec", trained / "codec_run/codec", "--cache", trained / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert "precision: bf16" in done.stdout
    losses = [float(r["loss"]) for r in csv.DictReader((trained / "bf16/train.csv").read_text().splitlines())]
    assert all(0 < loss < 10 for loss in losses)


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
        "[training]\nstage = 1\nsteps = 2\nbatch_size = 1\nseconds = 0.32\nlearning_rate = 1e-3\n"
        "[sampling]\nsteps = 2\nsegment = 1.0\n"
    )
    common = ["--data", stems_folder, "--cache", tmp_path / "cache", "--cpu", "--codec-weights", weights]
    for words in (
        ["whiten", config, "--out", tmp_path / "codec", *common],
        ["train", config, "--run", tmp_path / "run", "--codec", tmp_path / "codec", *common],
        [
            *("separate", next(stems_folder.glob("valid/*/vocals.wav")), "-o", tmp_path / "out", "-d", "cpu"),
            *("--duration", "2"),
            *("-n", tmp_path / "run/separator", "--codec-weights", weights),
        ],
    ):
        done = run_here(*words)
        assert done.returncode == 0, done.stderr[-2000:]
    whitening = load_file(tmp_path / "codec/whitening.safetensors")
    assert whitening["std"].shape == (128, 1) and float(whitening["std"].min()) > 0
    # The codec's weights are Meta's and stay in their own file.
    assert not (tmp_path / "run/separator/codec.safetensors").exists()
    assert sf.info(tmp_path / "out/vocals/vocals.wav").frames == 2 * 16000
