"""The guide's commands, as they stand in docs/training.md, from a folder of songs to a separator and its scores."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, ROOT, played, run_here, sung

from ldm_sep.checkpoint.card import trainings
from ldm_sep.checkpoint.manifest import read_manifest

# What makes a command small enough for a test.
SMALL = {
    "init songs": [],
    "init songs --from nothing": ["--networks", "tiny.toml"],
    "train songs.toml": ["--steps", "10", "--set", "training.batch_size=1", "--set", "training.seconds=1.0"],
    "evaluate": ["--metrics", "si_sdr", "--no-spectrograms"],
}


def commands(heading: str) -> list[list[str]]:
    """The words of every command in the shell blocks below a heading of the guide."""
    section = (ROOT / "docs/training.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", section, re.S) for line in block.splitlines()]
    assert all(line.startswith("ldm-sep ") for line in lines)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture
def songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three songs as the guide wants them, in a current folder that is not the repository."""
    monkeypatch.chdir(tmp_path)
    for number, split in enumerate(("train", "train", "valid")):
        song = tmp_path / "songs" / split / f"song {number}"
        song.mkdir(parents=True)
        # Phrases of other lengths in every song: else they would count as one recording.
        sounds = np.random.default_rng(number).random(20) < 0.7
        vocals = np.repeat((sung(4, 200 + 50 * number, number) * np.repeat(sounds, RATE // 5))[None], 2, 0)
        band = played(4, number)
        sf.write(song / "vocals.wav", vocals.T, RATE)
        sf.write(song / "mixture.wav", (vocals + band).T, RATE)
    return tmp_path


def test_the_guide_leads_from_songs_to_separators_and_scores(songs: Path) -> None:
    lines = commands("On your own songs")
    assert [line[0] for line in lines] == [
        *("init", "data", "train", "separate", "evaluate"),
        *("init", "train-codec", "train", "train", "separate"),
    ]
    said = {}
    for words in lines:
        line = shlex.join(words)
        words = [*words, *next((more for start, more in reversed(SMALL.items()) if line.startswith(start)), ())]
        done = run_here(*words)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        said[line] = done.stdout
    # What init says to run next is what the guide says.
    assert "ldm-sep train songs.toml --data songs --run runs/songs/tuned --init open" in said["init songs"]
    assert "2 to train on, 1 to validate on" in said["init songs"]
    assert "3 tracks (3 songs), 0 findings" in said["data check songs --layout pairs"]

    # The card names the user's songs and what it began with, and lists the user's own commands alone.
    tuned = read_manifest(songs / "runs/tuned/separator").facts
    first, last = trainings(tuned)
    ours = json.loads((ROOT / "checkpoints/open/config.json").read_text())
    assert first["checkpoint"] == "open" and first["weights"] == ours["sha256"]["model.safetensors"]
    assert last["command"].startswith("ldm-sep train songs.toml --data songs") and last["steps"] == 10
    assert tuned["training_data"] == ["songs: 2 songs, terms unknown"] and tuned["licence"] == "unknown"
    card = (songs / "runs/tuned/separator/README.md").read_text()
    assert "what `open` was trained on: see its card" in card
    assert not any(source in card for source in ours["training_data"]) and ours["licence"] not in card
    new = read_manifest(songs / "runs/stage1/separator").facts
    assert [run["command"].split()[1] for run in trainings(new)] == ["train-codec", "train", "train"]
    assert "open" not in (songs / "runs/stage1/separator/README.md").read_text().split()

    # Fine-tuned for a moment, the shipped separator is still one.
    rows = list(csv.DictReader((songs / "scores/scores.csv").read_text().splitlines()))
    score = {row["system"]: float(row["si_sdr"]) for row in rows}
    assert score["tuned"] > score["mixture"] + 3
    assert (songs / "separated_new/song 2/mixture/vocals.wav").is_file()
