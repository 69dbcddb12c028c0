"""What a checkpoint says of itself: its card, the mean's card, and that what is written can be read again."""

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch

from ldm_sep.checkpoint.averaging import average_separators
from ldm_sep.checkpoint.card import model_card, trainings
from ldm_sep.checkpoint.manifest import Provenance, read_manifest
from ldm_sep.checkpoint.names import find_checkpoint
from ldm_sep.checkpoint.reading import load_separator
from ldm_sep.checkpoint.writing import add_evaluation, save_separator
from ldm_sep.errors import CheckpointError


@pytest.fixture
def folder(untrained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untrained, tmp_path / "one"))


def told(folder: Path, **facts: object) -> Path:
    """The folder, whose config.json says ``facts``."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    return folder


def row(scores: dict, group: str = "all") -> dict:
    return {"group": group, "system": "ours", "n": 2, "hash": "abc", "scores": scores}


def test_the_mean_of_separators_has_the_data_and_the_terms_of_all(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "two"))
    told(folder, training_data=["songs X", "songs Z"], licence="CC BY", limitations=["whispers"])
    told(other, training_data=["songs Y", "songs Z"], licence="not for sale", limitations=["shouts"])
    average_separators([folder, other], tmp_path / "mean", Provenance())
    facts = read_manifest(tmp_path / "mean").facts
    assert facts["training_data"] == ["songs X", "songs Z", "songs Y"]
    assert facts["licence"] == "CC BY; not for sale" and facts["limitations"] == ["whispers", "shouts"]


def test_a_run_that_two_checkpoints_know_different_parts_of_is_told_once(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "two"))
    shared = {"command": "ldm-sep models average a b --out c", "commit": "0123456"}
    # A training that takes the predictor alone from a checkpoint knows what made that predictor.
    told(folder, before=[shared | {"parts": ["unet", "predictor"]}])
    told(other, before=[shared | {"parts": ["predictor", "codec"]}])
    average_separators([folder, other], tmp_path / "mean", Provenance())
    runs = trainings(read_manifest(tmp_path / "mean").facts)
    assert [run["parts"] for run in runs if run["command"] == shared["command"]] == [["codec", "predictor", "unet"]]
    assert (tmp_path / "mean/README.md").read_text().count(shared["command"]) == 1


def test_a_number_written_as_a_text_is_a_number(folder: Path) -> None:
    facts = read_manifest(told(folder, parameters={"codec": "12"}, steps="5", scores={"a": "0.5"})).facts
    assert (facts["parameters"], facts["steps"], facts["scores"]) == ({"codec": 12}, 5, {"a": 0.5})
    assert "| 12 |" in model_card(facts)


def test_a_card_shows_what_only_later_rows_have_and_calls_medians_so(folder: Path) -> None:
    add_evaluation(folder, [row({"SDR": [1.0]}, "a"), row({"cSDR": [2.0]}, "b")])
    card = (folder / "README.md").read_text()
    assert "| SDR | cSDR |" in card and "| a | ours | 1.00 | – |" in card and "| b | ours | – | 2.00 |" in card
    assert "cSDR: medians" in card


@pytest.mark.parametrize("bad", [row({"SDR": [math.nan]}), row({"SDR": [1.0]}, "a\nb")])
def test_an_evaluation_that_could_not_be_read_again_is_not_written(folder: Path, bad: dict) -> None:
    before = (folder / "config.json").read_bytes()
    with pytest.raises(CheckpointError, match=r"evaluation.*nothing was written"):
        add_evaluation(folder, [bad])
    assert (folder / "config.json").read_bytes() == before and read_manifest(folder)


def test_a_weight_that_fp16_rounds_to_a_direction_of_length_zero_is_not_written(folder: Path, tmp_path: Path) -> None:
    manifest, separator = load_separator(folder)
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2))
    layer.parametrizations.weight.original1.data.fill_(1e-9)
    separator.unet.add_module("tiny", layer)
    with pytest.raises(CheckpointError, match="length zero; nothing was written"):
        save_separator(tmp_path / "out", manifest.config, separator, Provenance())
    assert not (tmp_path / "out").exists()


def test_the_current_folder_and_the_root_are_looked_at_as_checkpoints(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert find_checkpoint(".") == Path()
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        find_checkpoint("/")
    with pytest.raises(CheckpointError, match="no checkpoint of that name"):
        find_checkpoint("a" * 300)


def test_a_folder_of_somebody_else_beside_the_checkpoints_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "private").mkdir()
    stat = Path.stat

    def forbidden(self: Path, **options: bool) -> os.stat_result:
        if self.parent.name == "private":
            raise PermissionError(13, "Permission denied")
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", forbidden)
    monkeypatch.setenv("LDM_SEP_CHECKPOINTS", str(folder.parent))
    assert find_checkpoint("one") == folder
    monkeypatch.setenv("LDM_SEP_CHECKPOINTS", str(folder.parent / "private/models"))
    assert find_checkpoint("open").name == "open"
