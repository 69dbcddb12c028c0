"""Checkpoint folders that are wrong or hostile: one line, in bounded time and memory, and nothing is run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from irregular import put_in_place
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from ldm_sep.build import AtMost, build_codec, build_separator
from ldm_sep.checkpoint.manifest import Provenance, read_manifest
from ldm_sep.checkpoint.names import checkpoint_folders, find_checkpoint, list_checkpoints
from ldm_sep.checkpoint.reading import load_codec, load_separator, verify
from ldm_sep.checkpoint.weights import require_usable
from ldm_sep.checkpoint.writing import save_separator
from ldm_sep.cli import app
from ldm_sep.config import load_config, parse_config
from ldm_sep.errors import CheckpointError, ConfigError
from ldm_sep.files import complete_swap, replacing


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small separator's folder with fresh weights."""
    torch.manual_seed(0)
    config = load_config(ROOT / "configs/tiny.toml")
    folder = tmp_path_factory.mktemp("made") / "small"
    save_separator(folder, config, build_separator(config), Provenance(command="made here"))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "small"))


def facts_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def put(folder: Path, path: str, value: object) -> None:
    """Set the key at the dotted ``path`` of config.json; `...` takes it away."""
    facts = table = facts_of(folder)
    *outer, last = path.split("/")
    for key in outer:
        table = table[int(key) if isinstance(table, list) else key]
    if value is ...:
        del table[last]
    else:
        table[last] = value
    (folder / "config.json").write_text(json.dumps(facts))


def refusal(act: Callable[[], object], *needles: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        act()
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000
    for needle in needles:
        assert needle in message
    return message


def deep(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("licence", ..., "licence"),
        ("licence", 3, "licence"),
        ("sha256", ..., "sha256"),
        ("sha256", {"/etc/passwd": "0" * 64}, "sha256"),
        ("sha256", {"../model.safetensors": "0" * 64}, "sha256"),
        ("sha256/model.safetensors", "short", "sha256.model.safetensors"),
        ("parameters", [1], "parameters"),
        ("parameters/unet", -1, "parameters.unet"),
        ("training_data", "all", "training_data"),
        ("scores", {"x": "good"}, "scores.x"),
        ("steps", "many", "steps"),
        ("before", [{"steps": 1, "run": "rm"}], "before.0.run"),
        ("evaluation", [{"group": "a"}], "evaluation.0"),
        ("kind", "exe", "kind"),
        ("more", 1, "more"),
        ("name", "\x1b[2Jopen", "name"),
        ("config", [], "config"),
        ("config/codec", "spectral", "codec"),
        ("config/codec/kind", "mp3", "codec"),
        ("config/unet/levels/0/channels", 10**9, "levels.0.channels"),
        ("config/codec/hop", 10**6, "hop"),
        ("config/sampling/steps", 10**9, "sampling.steps"),
        ("config/training/learning_rate", 1e300, "learning_rate"),
        ("config/separator/mask\x1b[2J", 1, "\\x1b[2J"),
        ("config/description", "two\nlines", "description"),
        ("licence", deep(40), "deep"),
    ],
)
def test_a_manifest_that_breaks_its_schema_is_one_line_that_names_file_and_key(
    folder: Path, path: str, value: object, key: str
) -> None:
    put(folder, path, value)
    for act in (read_manifest, load_separator, verify):
        refusal(lambda act=act: act(folder), "config.json", key)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "null", "3", '"x"', "[]", "{}", '{"format": 1}', "\x00", "{" + " " * (5 << 20)]
)
def test_a_manifest_that_is_no_table_is_one_line(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    refusal(lambda: read_manifest(folder), "config.json")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "codec.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_opened(folder: Path, name: str, kind: str) -> None:
    place = folder / name
    place.unlink()
    put_in_place(place, kind)
    refusal(lambda: load_separator(folder), str(folder))
    refusal(lambda: verify(folder), str(folder))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("config/unet/levels/0/channels", 8192),
        ("config/unet/levels/0/blocks", 64),
        ("config/codec/width", 8192),
        ("config/predictor/channels", [2048, 2048]),
    ],
)
def test_a_configuration_larger_than_its_weights_is_refused(folder: Path, path: str, value: object) -> None:
    put(folder, path, value)
    refusal(lambda: load_separator(folder), "safetensors", "do not belong together")


def test_memory_is_refused_before_it_is_taken() -> None:
    table = load_config(ROOT / "configs/tiny.toml").model_dump(mode="json")
    table["unet"]["levels"] = [{"channels": 8192, "factor": 64, "blocks": 64}] * 16
    # As every command looks at a configuration before it builds: without memory.
    with torch.device("meta"), pytest.raises(ConfigError, match="more than 1,000,000,000 weights"):
        build_separator(parse_config(table, "here"))
    table["codec"] = {"kind": "seanet", "filters": 512, "ratios": [2] * 8, "lstm_layers": 8}
    with torch.device("meta"), pytest.raises(ConfigError, match="more than 1,000,000,000 weights"):
        build_codec(parse_config(table, "here").codec)
    with pytest.raises(ConfigError, match="this: its networks"), AtMost(10, "this"):
        torch.nn.Linear(3, 3)


def bad(state: dict[str, torch.Tensor], kind: str) -> tuple[str, torch.Tensor]:
    first = next(k for k in state if k.startswith("unet.") and state[k].ndim > 1)
    match kind:
        case "integer":
            return first, torch.zeros(state[first].shape, dtype=torch.int64)
        case "float8":
            return first, torch.zeros(state[first].shape).to(torch.float8_e4m3fn)
        case "complex":
            return first, torch.zeros(state[first].shape, dtype=torch.complex64)
        case "huge":
            return first, torch.full(state[first].shape, 1e30)
        case "double":
            return first, torch.full(state[first].shape, 1e300, dtype=torch.float64)
        case "infinite":
            return first, torch.full(state[first].shape, torch.inf)
        case "no spread":
            return "whitening.std", torch.zeros_like(state["whitening.std"])
        case "negative spread":
            return "whitening.std", -state["whitening.std"]


@pytest.mark.parametrize(
    "kind", ["integer", "float8", "complex", "huge", "double", "infinite", "no spread", "negative spread"]
)
def test_weights_from_which_nothing_can_be_computed_are_refused_by_name(folder: Path, kind: str) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    name, value = bad(state, kind)
    save_file({**state, name: value}, path)
    refusal(lambda: load_separator(folder), "model.safetensors", name)


def test_a_weight_norm_without_a_direction_is_refused() -> None:
    codec = build_codec(
        parse_config(
            {
                **load_config(ROOT / "configs/tiny.toml").model_dump(mode="json"),
                "codec": {"kind": "seanet", "filters": 4},
            },
            "here",
        ).codec
    )
    state = codec.state_dict()
    name = next(k for k in state if k.endswith("original1"))
    require_usable(name, state[name])
    state[name][0] = 0
    assert torch.isnan(codec.encoder(torch.ones(1, 2, 640))).any()
    with pytest.raises(CheckpointError, match="length zero"):
        require_usable(name, state[name])


def test_what_cannot_be_stored_is_not_written(folder: Path, tmp_path: Path) -> None:
    manifest, separator = load_separator(folder)
    name, weight = next(iter(separator.unet.named_parameters()))
    # Finite, but not in the fp16 of the file.
    weight.data.flatten()[0] = 1e5
    with pytest.raises(CheckpointError, match=rf"unet\.{name} holds values beyond 65504.*nothing was written"):
        save_separator(tmp_path / "out", manifest.config, separator, Provenance())
    assert not (tmp_path / "out").exists()


def test_verify_asks_for_every_file_and_for_no_other(folder: Path) -> None:
    assert verify(folder) == ["model.safetensors", "codec.safetensors"]
    hashes = facts_of(folder)["sha256"]
    for listed, needle in (
        ({}, "lists no SHA-256 of model.safetensors"),
        ({"model.safetensors": hashes["model.safetensors"]}, "lists no SHA-256 of codec.safetensors"),
        ({**hashes, "whitening.safetensors": "0" * 64}, "no part of such a separator"),
    ):
        put(folder, "sha256", listed)
        refusal(lambda: verify(folder), needle)


def test_an_interrupted_swap_is_completed_by_whoever_looks_next(folder: Path) -> None:
    whole = sorted(p.name for p in folder.iterdir())
    for look in (complete_swap, read_manifest, find_checkpoint, load_codec):
        # What a kill between the two renames leaves: the older folder under its hidden name.
        folder.rename(folder.with_name(f".ldm-sep-was-{folder.name}"))
        look(folder)
        assert sorted(p.name for p in folder.iterdir()) == whole
        assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    folder.rename(folder.with_name(f".ldm-sep-was-{folder.name}"))
    with replacing(folder) as new:
        new.mkdir()
        (new / "one").write_text("1")
    assert [p.name for p in folder.iterdir()] == ["one"]
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_folder_of_checkpoints_in_the_current_one_does_not_take_over_the_shipped_name(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LDM_SEP_CHECKPOINTS", raising=False)
    for place in ("checkpoints/open", "checkpoints/mine", "open"):
        shutil.copytree(made, tmp_path / place)
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("open") == ROOT / "checkpoints/open"
    assert find_checkpoint("./open") == Path("open") and find_checkpoint("mine") == tmp_path / "checkpoints/mine"
    # What is asked for by the variable comes first.
    monkeypatch.setenv("LDM_SEP_CHECKPOINTS", str(tmp_path / "checkpoints"))
    assert find_checkpoint("open") == tmp_path / "checkpoints/open"


def test_an_installed_package_has_its_checkpoints_and_configurations_inside(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made, tmp_path / "shipped/checkpoints/within")
    (tmp_path / "shipped/configs").mkdir()
    shutil.copy(ROOT / "configs/tiny.toml", tmp_path / "shipped/configs/packed.toml")
    monkeypatch.delenv("LDM_SEP_CHECKPOINTS", raising=False)
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folders() == [tmp_path / "shipped/checkpoints"]
    assert find_checkpoint("within") == tmp_path / "shipped/checkpoints/within"
    for name in ("packed.toml", "configs/packed.toml"):
        assert load_config(name).name == "tiny"
    with pytest.raises(ConfigError, match=r"nothing\.toml: no such configuration; shipped are packed\.toml"):
        load_config("nothing.toml")


def test_words_of_others_do_not_reach_the_terminal_raw(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made, tmp_path / "\x1b[31mred")
    broken = Path(shutil.copytree(made, tmp_path / "broken"))
    put(broken, "\x1b[2J", 1)
    put(tmp_path / "\x1b[31mred", "licence", "none\x1b[2J")
    monkeypatch.setenv("LDM_SEP_CHECKPOINTS", str(tmp_path))
    said = CliRunner().invoke(app, ["models", "list"]).output
    said += CliRunner().invoke(app, ["models", "info", "\x1b[31mred"]).output
    assert "\\x1b[31mred" in said and "none\\x1b[2J" in said and "broken\tunusable" in said
    assert "\x1b" not in said
    assert set(list_checkpoints()) >= {"\x1b[31mred", "broken", "open"}
