"""Configurations that are wrong or hostile: one line that names the file and the key."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from ldm_sep.config import Config, load_config, parse_config
from ldm_sep.errors import ConfigError

BEGINNING = 'name = "x"\n[data]\nlayout = "stems"\n[codec]\nkind = "spectral"\n'


def refusal(path: Path, *changes: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, changes)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1500
    return message


def leaves(node: object, place: str = "") -> Iterator[tuple[str, dict]]:
    """Every part of a JSON schema that has a type."""
    if isinstance(node, dict):
        if isinstance(node.get("type"), str):
            yield place, node
        for key, inner in node.items():
            yield from leaves(inner, f"{place}/{key}")
    if isinstance(node, list):
        for number, inner in enumerate(node):
            yield from leaves(inner, f"{place}/{number}")


def test_every_number_and_every_list_has_an_upper_bound() -> None:
    unbounded = []
    for place, node in leaves(Config.model_json_schema()):
        if node["type"] in ("integer", "number") and not {"maximum", "exclusiveMaximum", "enum"} & node.keys():
            unbounded.append(place)
        if node["type"] == "array" and "maxItems" not in node:
            unbounded.append(place)
    assert unbounded == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (BEGINNING + "hop = 100000", "codec.spectral.hop"),
        (BEGINNING + "width = 10000000000000000000000", "codec.spectral.width"),
        (BEGINNING + "exponent = nan", "codec.spectral.exponent"),
        (BEGINNING.replace("spectral", "9" * 30_000), "codec: input tag '999"),
        (BEGINNING + "9" * 30_000 + " = 1", "codec.spectral.999"),
        (BEGINNING + "[sampling]\nsegment = inf", "sampling.segment"),
        (BEGINNING + "[sampling]\nspeeds = [1" + ", 1" * 100 + "]", "sampling.speeds"),
        ('name = "a\\nb"\n[data]\nlayout = "stems"\n[codec]\nkind = "spectral"', "name"),
        ('name = "x"\n[data]\nlayout = "stems"\n[codec]\nkind = "seanet"\nratios = [64, 64, 64]', "ratios make a hop"),
        (BEGINNING + "deep = " + "[" * 60 + "]" * 60, "deep"),
        (BEGINNING + "deep = " + "[" * 20000 + "]" * 20000, "deep"),
        ("extends = 3", "extends"),
        ('extends = "/etc/passwd"', "not below its folder"),
        ('extends = "../bad.toml"', "not below its folder"),
        ('extends = "nowhere.toml"', "no such configuration"),
        ("x" * (5 << 20), "bytes, more than"),
    ],
)
def test_a_hostile_configuration_is_one_line_that_names_file_and_key(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    message = refusal(path)
    assert key in message and (str(path) in message or "nowhere.toml" in message)


def test_pipes_devices_and_links_out_of_the_folder_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("pipe.toml", "zero.toml"):
        assert "not a regular file" in refusal(tmp_path / name)
    (tmp_path / "link.toml").symlink_to("/etc/hostname")
    (tmp_path / "outer.toml").write_text('extends = "link.toml"')
    assert "not below its folder" in refusal(tmp_path / "outer.toml")


def test_a_chain_of_files_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "0.toml").write_text(BEGINNING)
    for number in range(1, 41):
        (tmp_path / f"{number}.toml").write_text(f'extends = "{number - 1}.toml"\nname = "step {number}"\n')
    assert load_config(tmp_path / "30.toml").name == "step 30"
    assert "more than 32 files" in refusal(tmp_path / "40.toml")


def test_a_configuration_may_extend_a_shipped_one_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "tiny.toml"\nname = "mine"\n')
    assert load_config(tmp_path / "mine.toml").unet == load_config(ROOT / "configs/tiny.toml").unet
    # What lies beside it comes first.
    (tmp_path / "tiny.toml").write_text(BEGINNING)
    assert load_config(tmp_path / "mine.toml").unet is None


@pytest.mark.parametrize(
    ("change", "near"),
    [
        ("codec.hopp=3", r"codec\.spectral\.hopp: unknown key; there are hop, "),
        ("unet.levels=[{channels=16, chanels=3}]", r"unet\.levels\.0\.chanels: unknown key; there are channels, "),
        ("trainning.steps=3", r"trainning: unknown key; there are training, "),
        ("sampling.presets.fast.speed=[1]", r"sampling\.presets\.fast\.speed: unknown key; there are speeds, "),
    ],
)
def test_an_unknown_key_lists_its_neighbours(change: str, near: str) -> None:
    with pytest.raises(ConfigError, match=near):
        load_config(ROOT / "configs/tiny.toml", [change])


def test_a_name_that_controls_the_terminal_is_shown_escaped() -> None:
    table = load_config(ROOT / "configs/tiny.toml").model_dump(mode="json")
    with pytest.raises(ConfigError) as caught:
        parse_config({**table, "\x1b[2J": 1}, "a\x1b[2Jb.toml")
    assert str(caught.value).isprintable() and "a\\x1b[2Jb.toml" in str(caught.value)
