"""`ldm-sep init`: a configuration for whatever songs there are."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, mistake_of
from typer.testing import CliRunner

from ldm_sep.cli import app
from ldm_sep.config import load_config
from ldm_sep.data.folders import MUSDB_VALID
from ldm_sep.data.layouts import read_tracks

FILES = {
    "pairs": ["train/a/vocals.wav", "train/a/mixture.wav", "valid/b/vocals.wav", "valid/b/mixture.wav"],
    "stems": ["a/vocals.wav", "a/bass.wav", "b/vocals.wav", "b/bass.wav", "b/mixture.wav"],
    "musdb18hq": [
        f"train/{song}/{stem}.wav"
        for song in ("a", min(MUSDB_VALID))
        for stem in ("vocals", "drums", "bass", "other", "mixture")
    ],
    "csv": ["v.wav", "m.wav"],
    "roles": ["v.wav", "m.wav"],
}
TABLES = {
    "csv": ("tracks.csv", "track,split,vocals,mixture\nx,train,v.wav,m.wav\n"),
    "roles": (
        "manifest.csv",
        "path,role,split,pair_id,singer_or_source\nv.wav,vocals,train,x,x\nm.wav,instrumental,train,x,x\n",
    ),
}


@pytest.fixture
def songs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder `my songs` of the layout that the test is called with, below the current one."""
    monkeypatch.chdir(tmp_path)
    layout = getattr(request, "param", "pairs")
    for name in FILES[layout]:
        path = tmp_path / "my songs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, np.zeros(100), RATE)
    if layout in TABLES:
        name, text = TABLES[layout]
        (tmp_path / "my songs" / name).write_text(text)
    return layout


@pytest.mark.parametrize("songs", FILES, indirect=True)
def test_a_configuration_is_written_for_every_layout_and_names_nobody_elses_data(songs: str) -> None:
    for start in ("open", "nothing"):
        done = CliRunner().invoke(app, ["init", "my songs", "--from", start, "--out", f"{start}.toml"])
        assert done.exit_code == 0, done.output
        assert f"layout {songs}; songs: " in done.output
        # Names with spaces are words of a shell.
        assert "ldm-sep data check 'my songs'" in done.output
        config = load_config(f"{start}.toml")
        assert config.data.layout == songs and read_tracks(songs, Path("my songs"))
        assert config.name == "my songs" and config.card.licence == "unknown" and config.card.limitations == ()
        assert len(config.card.training_data) == 1 and config.card.training_data[0].startswith("my songs: ")
        assert config.card.start == ("open" if start == "open" else "")
        # The configuration asks for no melodies and no speech, since there are none.
        assert config.mix.melodic == 0 and not config.data.speech


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["nowhere"], "nowhere: no such folder; name the one that holds your songs"),
        (["."], "holds no songs of a known layout: DATA/{train,test}/SONG/"),
        (["my songs", "--layout", "csv"], "tracks.csv: no such table"),
        (["my songs", "--from", "none"], "none: no checkpoint"),
        (["my songs", "--networks", "none.toml"], "none.toml: no such configuration"),
        (["my songs", "--networks", "tiny.toml"], "its codec has other sizes than the [codec] table of tiny"),
        (["my songs", "--out", "my songs"], "my songs: is there already; name another file with --out"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(songs: str, words: list[str], needle: str) -> None:
    assert needle in mistake_of("init", *words)
    assert not list(Path().glob("*.toml"))


def test_songs_of_no_validation_split_are_told(songs: str) -> None:
    Path("my songs/valid").rename("out of the way")
    done = CliRunner().invoke(app, ["init", "my songs"])
    assert "1 to train on, 0 to validate on" in done.output and "scores are taken on training songs" in done.output
    assert Path("my songs.toml").is_file()
