"""`ldm-sep rerun`: the same bytes from a sidecar, or all but one stretch of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, mixture, run_here

from ldm_sep.errors import AudioError


@pytest.fixture(scope="module")
def first(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `song.wav`, whose part from 0.5 s on is separated in 16 bits into `out/song`."""
    folder = tmp_path_factory.mktemp("first")
    sf.write(folder / "song.wav", mixture(4).T, RATE)
    words = ("-o", folder / "out", "-n", trained / "stage2/separator", "-d", "cpu", "--steps", 2, "--segment", 1)
    part = ("--start", "0:00.5", "--duration", 3, "--samples", "int16", "--seed", 5)
    done = run_here("separate", folder / "song.wav", *words, *part)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_same_bytes_come_out_wherever_they_go(first: Path, tmp_path: Path) -> None:
    record = first / "out/song/separation.json"
    refused = run_here("rerun", record)
    assert refused.returncode == 1 and "exists already; add --overwrite" in refused.stderr
    done = run_here("rerun", record, "-o", tmp_path / "again")
    assert done.returncode == 0 and done.stdout.count("the same bytes") == 2
    for name in ("vocals.wav", "instrumental.wav"):
        assert (tmp_path / "again" / name).read_bytes() == (first / "out/song" / name).read_bytes()
    # What was made again can be made again from its own record.
    assert run_here("rerun", tmp_path / "again/separation.json", "-o", tmp_path / "third").returncode == 0
    # A folder that is moved as a whole finds its song; a stem that was lost comes back.
    shutil.copytree(first, tmp_path / "moved")
    lost = tmp_path / "moved/out/song/vocals.wav"
    data = lost.read_bytes()
    lost.unlink()
    assert run_here("rerun", tmp_path / "moved/out/song/separation.json", "--overwrite").returncode == 0
    assert lost.read_bytes() == data


def test_one_stretch_is_renewed_and_every_other_sample_stays(first: Path, tmp_path: Path) -> None:
    record = first / "out/song/separation.json"
    done = run_here("rerun", record, "-o", tmp_path / "new", "--resample", "1-1.75", "--seed", 9)
    assert done.returncode == 0 and done.stdout.count("other bytes") == 2
    for name in ("vocals.wav", "instrumental.wav"):
        old, new = (sf.read(folder / name, dtype="int16")[0] for folder in (first / "out/song", tmp_path / "new"))
        assert len(old) == len(new) == 3 * RATE
        changed = np.flatnonzero((old != new).any(1))
        assert changed.min() >= RATE and changed.max() < 1.75 * RATE and len(changed) > RATE / 2
    # The renewed song has a record of its own, by which it is made again, and renewed further.
    again = run_here("rerun", tmp_path / "new/separation.json", "-o", tmp_path / "again")
    assert again.returncode == 0 and again.stdout.count("the same bytes") == 2
    more = run_here(
        *("rerun", tmp_path / "new/separation.json", "-o", tmp_path / "more", "--resample", "2-2.5", "--seed", 1)
    )
    assert more.returncode == 0
    assert json.loads((tmp_path / "more/separation.json").read_text())["settings"]["plan"]["renewed"] == [
        [1.0, 1.75, 9],
        [2.0, 2.5, 1],
    ]


def test_what_does_not_belong_together_is_one_line(first: Path, trained: Path, tmp_path: Path) -> None:
    record = first / "out/song/separation.json"
    sf.write(tmp_path / "other.wav", mixture(1).T, RATE)
    alone = tmp_path / "alone/separation.json"
    alone.parent.mkdir()
    shutil.copy(record, alone)
    elsewhere = ("-o", tmp_path / "never")
    for words, needle in (
        ((record, "--resample", "1-2"), "--resample and --seed belong together"),
        ((record, "--seed", "2"), "--resample and --seed belong together"),
        ((record, "--resample", "2-1", "--seed", 2), "has to end after it begins"),
        ((record, "--resample", "1", "--seed", 2), "write two times"),
        ((record, "--input", tmp_path / "other.wav"), "is not the song of"),
        ((record, "-n", trained / "stage1/separator"), "is not the checkpoint of"),
        ((alone,), "the song is not where it was; name it by --input"),
        ((tmp_path / "nothing.json",), "no such file"),
    ):
        done = run_here("rerun", *words, *elsewhere)
        assert done.returncode == 1 and needle in done.stderr and done.stderr.count("\n") == 1, words
        assert not (tmp_path / "never").exists()
    assert run_here("rerun", alone, "--input", first / "song.wav").returncode == 0


def test_other_bytes_are_told(first: Path, tmp_path: Path) -> None:
    facts = json.loads((first / "out/song/separation.json").read_text())
    facts["stems"]["vocals"]["sha256"] = "0" * 64
    facts["versions"]["torch"] = "1.0"
    (tmp_path / "separation.json").write_text(json.dumps(facts))
    done = run_here("rerun", tmp_path / "separation.json", "--input", first / "song.wav")
    assert done.returncode == 1 and "vocals.wav: other bytes" in done.stdout
    assert "came out otherwise" in done.stderr and "torch 1.0" in done.stderr


def test_an_error_ends_what_is_shown_of_the_song(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*words: object, **named: object) -> None:
        raise AudioError("the disk is full")

    sf.write(tmp_path / "song.wav", mixture(1).T, RATE)
    words = ("-o", tmp_path / "out", "-n", untrained, "-d", "cpu", "--steps", 1)
    assert run_here("separate", tmp_path / "song.wav", *words).returncode == 0
    monkeypatch.setattr("ldm_sep.separation.song.separate_song", fails)
    again = ("rerun", tmp_path / "out/song/separation.json", "-o", tmp_path / "again", "--progress", "json")
    told = run_here(*again).stderr.splitlines()
    assert json.loads(told[-2]) == {"event": "end", "outcome": "failed"} and "the disk is full" in told[-1]
