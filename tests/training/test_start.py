"""What a training starts from, and what is refused before anything is decoded."""

from pathlib import Path

import pytest
import torch
from conftest import ROOT, mistake_of, run_here
from safetensors.torch import load_file

from ldm_sep.checkpoint.card import trainings
from ldm_sep.checkpoint.reading import load_separator


@pytest.mark.parametrize(
    ("command", "init"),
    [("train-codec", "codec_run/codec"), ("train", "stage1/separator")],
)
def test_a_start_from_a_codec_of_other_sizes_is_refused(
    command: str, init: str, trained: Path, stems_folder: Path, tmp_path: Path
) -> None:
    told = mistake_of(
        *(command, ROOT / "configs/tiny.toml", "--run", tmp_path / "run", "--data", stems_folder, "--cpu"),
        *("--cache", trained / "cache", "--init", trained / init, "--set", "codec.width=24"),
    )
    assert "its codec" in told and not (tmp_path / "run").exists()


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
    told = mistake_of(
        *("train", ROOT / "configs/tiny.toml", "--run", tmp_path / "run", "--data", stems_folder, "--cpu"),
        *("--cache", tmp_path / "cache", words[0], trained / words[1], *words[2:]),
    )
    assert needle in told and not list(tmp_path.iterdir())


def test_a_separators_folder_lends_its_codec_with_its_whitening(trained: Path, stems_folder: Path) -> None:
    done = run_here(
        *("train", ROOT / "configs/tiny.toml", "--run", trained / "lent", "--data", stems_folder, "--cpu"),
        *("--codec", trained / "stage1/separator", "--cache", trained / "cache", "--steps", 1),
    )
    assert done.returncode == 0 and "predictor untrained" in done.stderr, done.stderr
    lent, own = (load_file(trained / run / "separator/model.safetensors") for run in ("lent", "stage1"))
    for key in ("whitening.mean", "whitening.std"):
        assert torch.equal(lent[key], own[key])
    assert not torch.equal(own["whitening.std"], torch.ones_like(own["whitening.std"]))


def test_a_predictor_moves_to_a_separator_of_another_codec(trained: Path, stems_folder: Path) -> None:
    common = ["--data", stems_folder, "--cache", trained / "cache", "--cpu"]
    done = run_here(
        *("train", ROOT / "configs/tiny.toml", "--init", trained / "stage1/separator", "--run", trained / "donor"),
        *("--set", "training.stage=0", "--steps", 1, *common),
    )
    assert done.returncode == 0, done.stderr
    donor = trained / "donor/separator"
    common += ["--set", "codec.mid_bins=24"]
    done = run_here("train-codec", ROOT / "configs/tiny.toml", "--run", trained / "wider", "--steps", 1, *common)
    assert done.returncode == 0, done.stderr
    words = ["train", ROOT / "configs/tiny.toml", "--codec", trained / "wider/codec", "--predictor", donor, *common]
    # With another seed, so that a fresh predictor would be another one.
    done = run_here(*words, "--run", trained / "moved", "--steps", 1, "--set", "training.seed=9")
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
        if message is None:
            done = run_here(*words, "--run", trained / change, "--steps", 1, "--set", change)
            assert done.returncode == 0, done.stderr
        else:
            told = mistake_of(*words, "--run", trained / change, "--steps", 1, "--set", change)
            assert message in told
    told = mistake_of(*words[: -len(common) - 1], trained / "wider/codec", *common, "--run", trained / "none")
    assert "has no predictor; name a separator" in told


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["train", "configs/none.toml"], "none.toml: no such configuration"),
        (["train", "configs/tiny.toml"], "name a trained codec with --codec"),
        (["train", "configs/tiny.toml", "--codec", "configs"], "not a checkpoint"),
        (["train-codec", "configs/paper_stage1.toml"], "needs a [codec_training] table"),
        (
            ["train", "configs/tiny.toml", "--set", "training.rate=1"],
            "--set training.rate=1: training.rate: unknown key; there are",
        ),
        (["train", "configs/tiny.toml", "--set", "training.stage"], "write TABLE.KEY=VALUE"),
        (["train", "configs/tiny.toml", "--codec", "checkpoints/open"], "its codec has other sizes"),
        (["train", "configs/tiny.toml", "--set", "sampling.segment=0.5"], "greater than or equal to 1"),
        (["train", "configs/tiny.toml", "--set", "mix.silent=0.8", "--set", "mix.solo=0.8"], "together at most 1"),
        (["train-codec", "configs/tiny.toml", "--set", "codec.hop=161"], "hop must be even"),
        (["train", "configs/tiny.toml", "--init", "checkpoints/open", "--codec", "checkpoints/open"], "not both"),
        (["train", "configs/tiny.toml", "--set", "training.estimate_share=0.5"], "for a separator that refines"),
        (["train", "configs/tiny.toml", "--set", "training.latest=0.1"], "for a separator that refines"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], needle: str, stems_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    told = mistake_of(*words, "--data", stems_folder, "--run", tmp_path / "run", "--cache", tmp_path, "--cpu")
    assert needle in told and not list(tmp_path.iterdir())
