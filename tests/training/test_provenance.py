"""The command that a card tells: what others can give again, and no path of the machine."""

import pytest

from ldm_sep.training.provenance import provenance


def test_paths_of_the_machine_are_left_out_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "/home/me/c.toml", "--data=/home/me/songs", "--run", "../runs/a", "--set", "mix.silent=0.2"]
    monkeypatch.setattr("sys.argv", ["ldm-sep", *words, "--data", "music"])
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    told = provenance().command
    assert told == "ldm-sep train c.toml --data=songs --run a --set mix.silent=0.2 --data music"
