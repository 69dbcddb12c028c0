"""Checkpoint folders: strict in, complete out."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import ROOT, run_here
from safetensors.torch import load_file, save_file

from ldm_sep.checkpoint.card import trainings
from ldm_sep.checkpoint.manifest import Manifest, Provenance, read_manifest, require_same_codec
from ldm_sep.checkpoint.reading import load_codec, load_separator, verify
from ldm_sep.checkpoint.writing import save_separator
from ldm_sep.config import load_config, parse_config
from ldm_sep.errors import CheckpointError, ConfigError


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "stage2/separator", tmp_path / "copy"))


def test_what_is_saved_is_what_is_loaded(folder: Path, tmp_path: Path) -> None:
    manifest, separator = load_separator(folder)
    save_separator(tmp_path / "again", manifest.config, separator, Provenance(command="x"))
    _, again = load_separator(tmp_path / "again")
    for (key, a), b in zip(separator.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    assert not list(tmp_path.glob(".*.tmp"))
    assert (tmp_path / "again/model.safetensors").stat().st_mode & 0o044


def test_the_mean_of_separators_is_a_separator_that_knows_both_ways(trained: Path, tmp_path: Path) -> None:
    folders, out = [trained / f"stage{n}/separator" for n in (1, 2)], tmp_path / "mean"
    done = run_here("models", "average", *folders, "--out", out)
    assert done.returncode == 0, done.stderr
    (one, a), (two, b), (manifest, mean) = map(load_separator, (*folders, out))
    for key, value in mean.state_dict().items():
        torch.testing.assert_close(value, (a.state_dict()[key] + b.state_dict()[key]) / 2, atol=1e-3, rtol=1e-3)
    ways = [trainings(m.facts) for m in (manifest, two, one)]
    # Stage 2 went on from stage 1, whose runs are told once.
    assert {run["command"] for run in ways[0]} == {run["command"] for way in ways for run in way}
    assert len(ways[0]) == len(ways[1]) + 1 and "average" in ways[0][-1]["command"]
    # The codec is the same in both, and so is the predictor, so they were made by the runs before.
    assert ways[0][-1]["parts"] == ["unet"]
    assert all("average" not in run["command"] for run in trainings(manifest.facts, ["codec", "predictor"]))
    assert manifest.facts["scores"] == {} and not list(tmp_path.glob(".*.tmp"))
    other = shutil.copytree(trained / "stage2/separator", tmp_path / "other")
    state = load_file(other / "codec.safetensors")
    save_file({k: 2 * v for k, v in state.items()}, other / "codec.safetensors")
    for words, needle in (([folders[0]], "at least two"), ([folders[0], other], "its codec is another one")):
        refused = run_here("models", "average", *words, "--out", tmp_path / "none")
        assert refused.returncode == 1 and needle in refused.stderr and not (tmp_path / "none").exists()


def test_nothing_is_written_when_a_weight_is_not_finite(folder: Path, tmp_path: Path) -> None:
    manifest, separator = load_separator(folder)
    next(separator.unet.parameters()).data[0] = torch.nan
    with pytest.raises(CheckpointError, match="not finite; nothing was written"):
        save_separator(tmp_path / "bad", manifest.config, separator, Provenance())
    assert not (tmp_path / "bad").exists() and not list(tmp_path.glob(".bad*"))


def test_a_checkpoint_replaces_a_checkpoint_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    manifest, separator = load_separator(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"holds notes\.txt, which is no part of a checkpoint"):
        save_separator(folder, manifest.config, separator, Provenance())
    assert (folder / "notes.txt").read_text() == "mine" and load_separator(folder)
    # Told before the weights are looked at.
    done = run_here("models", "average", "nowhere", "nothing", "--out", folder.parent)
    assert done.returncode == 1 and "no part of a checkpoint" in done.stderr and folder.is_dir()
    (folder / "notes.txt").unlink()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"model_type": "another"}')
    with pytest.raises(CheckpointError, match="something other than a checkpoint"):
        save_separator(foreign, manifest.config, separator, Provenance())
    assert (foreign / "config.json").read_text() == '{"model_type": "another"}'
    (foreign / "config.json").unlink()
    (foreign / ".DS_Store").write_text("")
    save_separator(foreign, manifest.config, separator, Provenance())
    assert load_separator(foreign)
    shutil.rmtree(foreign)
    link = tmp_path / "link"
    link.symlink_to(folder)
    save_separator(link, manifest.config, separator, Provenance(command="new"))
    assert link.is_symlink() and read_manifest(folder).facts["command"] == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "link"]
    (tmp_path / "file").write_text("in the way")
    for taken in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(CheckpointError, match="file"):
            save_separator(taken, manifest.config, separator, Provenance())
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("damage", ["key", "shape", "nan", "truncated", "missing", "format", "json", "extra"])
def test_damage_is_one_line_that_names_the_file(folder: Path, damage: str) -> None:
    weights, manifest = folder / "model.safetensors", folder / "config.json"
    state = load_file(weights)
    name = next(k for k in state if k.startswith("unet."))
    facts = json.loads(manifest.read_text())
    match damage:
        case "key":
            save_file({k: v for k, v in state.items() if k != name}, weights)
        case "extra":
            save_file({**state, "unet.more": torch.zeros(1)}, weights)
        case "shape":
            save_file({**state, name: torch.zeros(3, 1, 4)}, weights)
        case "nan":
            save_file({**state, name: torch.full_like(state[name], torch.nan)}, weights)
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "missing":
            weights.unlink()
        case "format":
            manifest.write_text(json.dumps({**facts, "format": 99}))
        case "json":
            manifest.write_text("{")
    with pytest.raises(CheckpointError) as error:
        load_separator(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_a_codec_is_not_taken_for_a_separator(trained: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a codec"):
        load_separator(trained / "codec_run/codec")
    _, codec, whitening = load_codec(trained / "codec_run/codec")
    assert float(whitening.std.min()) > 0 and codec.sample_rate == 16000


def rewritten(folder: Path, *path: str, value: object) -> Path:
    """The folder, with another value at a path of keys in its config.json."""
    file = folder / "config.json"
    facts = json.loads(file.read_text())
    table = facts
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    file.write_text(json.dumps(facts))
    return folder


def test_settings_of_earlier_versions_are_passed_over(folder: Path) -> None:
    before = read_manifest(folder).config
    rewritten(folder, "config", "separator", "mask_exponent", value=0.5)
    rewritten(folder, "config", "sampling", "highpass", value=0)
    assert read_manifest(folder).config == before
    # A U-Net whose levels were called stages, and a predictor that held its layers itself.
    state = load_file(folder / "model.safetensors")
    names = {"unet.levels.": "unet.stages.", "predictor.net.": "predictor."}
    earlier = state
    for now, then in names.items():
        assert any(key.startswith(now) for key in state)
        earlier = {key.replace(now, then): value for key, value in earlier.items()}
    save_file(earlier, folder / "model.safetensors")
    _, separator = load_separator(folder)
    assert torch.equal(separator.predictor.net.first.weight, state["predictor.net.first.weight"].float())
    assert torch.equal(separator.unet.levels[0].down.weight, state["unet.levels.0.down.weight"].float())


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with the manifest of the default checkpoint and no weights."""
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copy(ROOT / "checkpoints/open/config.json", folder)
    return folder


def test_the_norm_that_seanet_once_had_is_passed_over_and_the_one_it_lost_is_refused(bare: Path) -> None:
    rewritten(bare, "config", "codec", value={"kind": "seanet", "norm": "weight_norm"})
    assert read_manifest(bare).config.codec.kind == "seanet"
    rewritten(bare, "config", "codec", value={"kind": "seanet", "norm": "time_group_norm"})
    with pytest.raises(CheckpointError, match=r"config\.json: codec\.seanet\.norm: .* another version"):
        read_manifest(bare)


@pytest.mark.parametrize(
    ("codec", "differences"),
    [
        ({"hop": 320, "width": 8}, r"hop is 160 there and 320 here, width is 16 there and 8 here\)"),
        ({"kind": "seanet"}, r"\(kind is spectral there and seanet here\)"),
    ],
)
def test_another_codec_is_refused_with_the_keys_that_differ(codec: dict, differences: str) -> None:
    theirs = load_config(ROOT / "configs/tiny.toml")
    table = theirs.model_dump(mode="json")
    ours = parse_config({**table, "codec": codec if "kind" in codec else {**table["codec"], **codec}}, "here")
    manifest = Manifest("codec", theirs, {})
    require_same_codec(Path("there"), manifest, theirs)
    with pytest.raises(ConfigError, match=differences):
        require_same_codec(Path("there"), manifest, ours)


def test_altered_weights_are_noticed_by_verify(folder: Path) -> None:
    assert set(verify(folder)) == {"model.safetensors", "codec.safetensors"}
    path = folder / "codec.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"codec\.safetensors: missing or altered"):
        verify(folder)


def test_models_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDM_SEP_CHECKPOINTS", str(folder.parent))
    assert "copy\tseparator\t" in run_here("models", "list").stdout
    assert "Licence of the weights" in run_here("models", "info", "copy").stdout
    assert "model.safetensors: intact" in run_here("models", "verify", "copy").stdout
    unknown = run_here("models", "info", "nothing")
    assert unknown.returncode == 1 and "there are: copy" in unknown.stderr
    weights = load_file(folder / "model.safetensors")
    for part in ("unet", "predictor"):
        count = sum(w.numel() for key, w in weights.items() if key.startswith(f"{part}."))
        assert f"{part}: {count:,} parameters" in run_here("inspect", "copy").stdout
    doctor = run_here("doctor")
    assert doctor.returncode == 0 and "torch 2" in doctor.stdout and "device: " in doctor.stdout
