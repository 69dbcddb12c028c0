"""The command that a card tells: what others can give again, and no path of the machine."""

import pytest

from ldm_sep.training.provenance import provenance


def test_paths_of_the_machine_are_left_out_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "/home/me/c.toml", "--data=/home/me/songs", "--run", "../runs/a", "--set", "mix.silent=0.2"]
    monkeypatch.setattr("sys.argv", ["ldm-sep", *words, "--data", "music"])
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    told = provenance().command
    assert told == "ldm-sep train c.toml --data=songs --run a --set mix.silent=0.2 --data music"


def test_cores_that_the_training_was_not_given_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, told in ({3}, "1 CPU core"), ({0, 2}, "2 CPU cores"):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: cores, raising=False)
        assert provenance().hardware == told
