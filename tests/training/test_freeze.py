"""Packs: the items of a training, written once and read in its place."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, mistake_of, run_here
from safetensors.torch import load_file
from scipy.signal import stft

from ldm_sep.config import Config, load_config
from ldm_sep.data.pack import Pack
from ldm_sep.errors import DataError
from ldm_sep.training.estimates import varied_estimates
from ldm_sep.training.freeze import freeze, open_pack
from ldm_sep.training.objectives import SeparatorObjective
from ldm_sep.training.pairs import frozen_pairs, mix_pairs
from ldm_sep.training.separator import draw_step
from ldm_sep.training.sources import Sources
from ldm_sep.training.start import Start, begin_separator

CPU = torch.device("cpu")


def tiny(*changes: str) -> Config:
    return load_config(ROOT / "configs/tiny.toml", changes)


def frozen(trained: Path, data: Path, out: Path, config: Config, **options: object) -> int:
    """The items of a pack of about 24 s, from the separator of stage 1."""
    separator, _ = begin_separator(config, Start(init=trained / "stage1/separator"))
    decoded = Sources(config, [data], print, print).open_decoded(trained / "cache", CPU)
    given = {"hours": 24 / 3600, "seed": 4, "varied": 0.0, "waves": False, "progress": lambda *_: None}
    return freeze(config, separator, decoded, out, **{**given, **options})


def bytes_of(pack: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pack.iterdir()}


@pytest.fixture(scope="module")
def pack(trained: Path, stems_folder: Path) -> Path:
    """Latents and waves, for every stage."""
    frozen(trained, stems_folder, trained / "pack", tiny("training.decoder_weight=0.5"))
    return trained / "pack"


def test_the_same_seed_gives_the_same_bytes_and_more_hours_keep_them(
    trained: Path, stems_folder: Path, tmp_path: Path, pack: Path
) -> None:
    config = tiny("training.decoder_weight=0.5")
    count = frozen(trained, stems_folder, tmp_path / "again", config, hours=12 / 3600)
    assert count * 0.64 >= 12 > (count - 8) * 0.64
    first, longer = bytes_of(tmp_path / "again"), bytes_of(pack)
    assert set(first) == {f"{n}.i16" for n in ("vocals", "mixture", "estimate")} | {
        "z0.f16",
        "cond.f16",
        "facts.f32",
        "index.json",
    }
    assert all(longer[name].startswith(data) for name, data in first.items() if name != "index.json")
    frozen(trained, stems_folder, tmp_path / "again", config)
    assert bytes_of(tmp_path / "again") == longer
    frozen(trained, stems_folder, tmp_path / "other", config, seed=5)
    assert bytes_of(tmp_path / "other")["mixture.i16"] != longer["mixture.i16"]


def test_a_training_on_a_pack_minimises_the_same_as_one_that_mixes_the_same_items(
    trained: Path, stems_folder: Path, pack: Path
) -> None:
    # A pack is made in batches of eight, and its mixes have its own seed.
    config = tiny("training.decoder_weight=0.5", "training.batch_size=8", "training.seed=4")
    separator, _ = begin_separator(config, Start(init=trained / "stage1/separator"))
    decoded = Sources(config, [stems_folder], print, print).open_decoded(trained / "cache", CPU)
    objective = SeparatorObjective(separator, config.training)
    stored = Pack(pack)
    for stage in (1, 2):
        of_stage = config.model_copy(update={"training": config.training.model_copy(update={"stage": stage})})
        mixed, *draws = draw_step(mix_pairs(of_stage, separator, decoded, CPU), of_stage.training, 1, 0)
        # The second batch: items 8 to 15.
        stored.order = lambda *_: np.arange(8, 16)
        read = frozen_pairs(stored, separator, of_stage, CPU)(1, 0)
        now, then = (objective(pairs, *draws) for pairs in (mixed, read))
        assert now.keys() == then.keys() and "decoder_loss" in now
        assert then["v_loss"].item() == pytest.approx(now["v_loss"].item(), rel=1e-3)
        # The outline compares logarithms down to 120 dB under full scale, where these toys are digitally silent.
        assert then["loss"].item() == pytest.approx(now["loss"].item(), rel=2e-2)


def test_every_process_reads_all_items_in_an_order_of_its_own(pack: Path) -> None:
    stored = Pack(pack)
    count = len(stored)
    orders = {rank: [i for step in range(2 * count) for i in stored.order(3, 7, step, rank)] for rank in (0, 1)}
    for order in orders.values():
        assert all(sorted(order[k * count : (k + 1) * count]) == list(range(count)) for k in range(6))
        assert order[:count] != order[count : 2 * count]
    assert orders[0] != orders[1]
    assert list(stored.order(3, 7, 5, 1)) == orders[1][15:18]
    assert list(stored.order(3, 8, 5, 1)) != orders[1][15:18]


def test_a_freeze_killed_and_given_again_equals_an_uninterrupted_one(
    trained: Path, stems_folder: Path, tmp_path: Path
) -> None:
    words = [
        *("data", "freeze", ROOT / "configs/tiny.toml", "--data", stems_folder, "--cache", trained / "cache"),
        *("--init", trained / "stage1/separator", "--hours", "0.025", "--varied", "0.5", "--waves"),
    ]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-m", "ldm_sep", *map(str, words), "--out", str(killed)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 300
    while not (killed / "facts.f32").exists() or not (killed / "facts.f32").stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(DataError, match=r"of 144 items; go on with the same 'ldm-sep data freeze'"):
        Pack(killed)
    # What a crash may leave behind the last whole item.
    with (killed / "z0.f16").open("ab") as file:
        file.write(b"half an item")
    for folder in (killed, whole):
        done = run_here(*words, "--out", folder)
        assert done.returncode == 0, done.stderr
        assert "144 items of 0.64 s" in done.stdout
    assert bytes_of(killed) == bytes_of(whole)
    refused = run_here(*words, "--out", killed, "--seed", "9")
    assert refused.returncode == 1 and "made with seed 0, not 9" in refused.stderr.splitlines()[-1]
    refused = run_here(*words, "--out", trained / "stage1")
    assert refused.returncode == 1 and "holds something else than a pack" in refused.stderr.splitlines()[-1]


def test_another_checkpoint_or_other_settings_are_refused_in_one_line(trained: Path, pack: Path) -> None:
    separator, _ = begin_separator(tiny(), Start(init=trained / "stage1/separator"))
    open_pack(pack, tiny(), separator, CPU)
    for change, needle in (
        ("mix.reverb=0.7", "made with mix.reverb 0.3, not 0.7; make them equal"),
        ("training.seconds=1.28", "made with training.seconds 0.64, not 1.28"),
    ):
        with pytest.raises(DataError, match=needle) as error:
            open_pack(pack, tiny(change), separator, CPU)
        assert str(pack) in str(error.value) and "\n" not in str(error.value)
    # Another U-Net may be trained on it, but not with another predictor.
    next(separator.unet.parameters()).data += 1
    open_pack(pack, tiny(), separator, CPU)
    next(separator.predictor.parameters()).data += 1
    with pytest.raises(DataError, match="made with weights"):
        open_pack(pack, tiny(), separator, CPU)
    # A predictor that is trained itself does not matter.
    open_pack(pack, tiny("training.stage=0", "predictor.exponent=0.5"), separator, CPU)


def test_a_pack_without_waves_says_how_to_get_them(trained: Path, stems_folder: Path, tmp_path: Path) -> None:
    frozen(trained, stems_folder, tmp_path / "pack", tiny(), hours=1 / 3600)
    assert "vocals" not in Pack(tmp_path / "pack")
    separator, _ = begin_separator(tiny(), Start(init=trained / "stage1/separator"))
    with pytest.raises(DataError, match="holds no vocals, which this training needs; freeze with --waves"):
        open_pack(tmp_path / "pack", tiny("training.decoder_weight=1"), separator, CPU)
    frozen(trained, stems_folder, tmp_path / "waves", tiny("training.stage=0"), hours=1 / 3600)
    with pytest.raises(DataError, match="holds no z0, which this training needs; freeze with this configuration"):
        open_pack(tmp_path / "waves", tiny(), separator, CPU)


@pytest.mark.parametrize(
    ("index", "needle"), [("{}", "items"), ("[]", "the file"), ("{", "JSON"), (None, "not a pack")]
)
def test_what_is_no_pack_is_one_line(index: str | None, needle: str, tmp_path: Path) -> None:
    if index is not None:
        (tmp_path / "index.json").write_text(index)
    with pytest.raises(DataError, match=needle) as error:
        Pack(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_training_from_a_pack_reduces_the_loss_and_mixes_nothing(
    trained: Path, stems_folder: Path, pack: Path, tmp_path: Path
) -> None:
    words = [
        *("train", ROOT / "configs/tiny.toml", "--data", stems_folder, "--cpu", "--cache", tmp_path / "cache"),
        *("--init", trained / "stage1/separator", "--pack", pack, "--steps", 150, "--set", "training.batch_size=8"),
        *("--set", "training.learning_rate=5e-3", "--set", "training.validate_every=150"),
        *("--set", "training.save_every=150"),
    ]
    done = run_here(*words, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "cache").exists()
    losses = [float(r["loss"]) for r in csv.DictReader((tmp_path / "run/train.csv").read_text().splitlines())]
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])
    before, after = (load_file(run / "separator/model.safetensors") for run in (trained / "stage1", tmp_path / "run"))
    assert {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])} == {"unet"}


def test_varied_estimates_differ_from_the_predictors_own_in_the_share_that_is_asked_for() -> None:
    class Half(torch.nn.Module):
        """A mask of a half, to its power; what it is heard at does not matter."""

        exponent = 1.0

        def forward(self, mixture: torch.Tensor, speeds: list[float]) -> torch.Tensor:
            assert 0 < len(speeds) <= 2
            return 0.5**self.exponent * mixture

    mixture = torch.randn(120, 2, 14000, generator=torch.Generator().manual_seed(0))
    predictor = Half()
    for share in (0.0, 0.4, 1.0):
        estimates = varied_estimates(predictor, mixture, (1.0, 1.5), 48000, share, np.random.default_rng(1))
        changed = (estimates - 0.5 * mixture).abs().amax((1, 2)) > 1e-5
        assert float(changed.float().mean()) == pytest.approx(share, abs=0.08)
        again = varied_estimates(predictor, mixture, (1.0, 1.5), 48000, share, np.random.default_rng(1))
        assert torch.equal(estimates, again)
    assert predictor.exponent == 1.0
    # Levels against the mixture's in cells of a thousand hertz and 11 ms: which are taken out of an estimate.
    cells = stft(torch.stack([mixture, estimates]).numpy(), 48000, nperseg=1024)[2]
    power = np.square(np.abs(cells[..., 2:-2])).mean(2)[:, :, 1:505].reshape(2, 120, 24, 21, -1).mean(3)
    taken = power[1] < 1e-3 * power[0]
    stretch = taken.all(1).any(1)
    band = taken[:, -1].all(1) & ~stretch
    patch = taken.any((1, 2)) & ~stretch & ~band
    for kind in (stretch, band, patch):
        assert 4 < kind.sum() < 60
    # The band limits lie between 8 and 16 kHz.
    ends = (~taken[band].all(2)).sum(1)
    assert ends.min() >= 7 and ends.max() <= 16


def test_a_device_that_is_not_there_is_one_line_before_any_work(tmp_path: Path) -> None:
    words = ("--data", tmp_path, "--hours", 1, "--out", tmp_path / "pack", "--device", "gpu")
    assert "the device 'gpu' is unknown" in mistake_of("data", "freeze", ROOT / "configs/tiny.toml", *words)
    assert not (tmp_path / "pack").exists()


def test_nothing_is_drawn_ahead_where_nothing_is_mixed(tmp_path: Path) -> None:
    words = ["--data", tmp_path, "--pack", tmp_path / "pack", "--run", tmp_path / "run", "--mixers", 2]
    assert "a pack holds its items already" in mistake_of("train", ROOT / "configs/tiny.toml", *words)
    assert not (tmp_path / "run").exists()
