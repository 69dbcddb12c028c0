"""Layouts: the same songs, found in every folder shape."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import ROOT

from ldm_sep.config import DataConfig, load_config
from ldm_sep.data.folders import MUSDB_VALID
from ldm_sep.data.layouts import read_tracks
from ldm_sep.data.tables import read_roles
from ldm_sep.errors import DataError
from ldm_sep.training.sources import Sources


def write(path: Path, value: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.full((200, 2), value), 44100)


def test_musdb18hq_splits_off_its_validation_tracks(tmp_path: Path) -> None:
    assert len(MUSDB_VALID) == 14
    for song in ("train/A Song", f"train/{sorted(MUSDB_VALID)[0]}", "test/Another"):
        for stem in ("vocals", "drums", "bass", "other", "mixture"):
            write(tmp_path / song / f"{stem}.wav")
    tracks = {t.name: t for t in read_tracks("musdb18hq", tmp_path)}
    assert {t.split for t in tracks.values()} == {"train", "valid", "test"}
    assert tracks["A Song"].split == "train" and tracks["Another"].split == "test"
    assert {p.stem for p in tracks["A Song"].accompaniment} == {"drums", "bass", "other"}
    assert all(t.is_song for t in tracks.values())


def test_stems_sum_everything_but_vocals_and_mixture(tmp_path: Path) -> None:
    for stem in ("vocals", "mixture", "guitar", "tuba"):
        write(tmp_path / "song" / f"{stem}.flac")
    (tmp_path / "not a song").mkdir()
    (track,) = read_tracks("stems", tmp_path)
    assert [p.stem for p in track.accompaniment] == ["guitar", "tuba"] and track.split == "train"


def test_pairs_need_vocals_and_mixture_only(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write(tmp_path / split / "song/vocals.wav")
        write(tmp_path / split / "song/mixture.wav")
    tracks = read_tracks("pairs", tmp_path)
    assert [t.split for t in tracks] == ["train", "valid"]
    assert all(t.is_song and not t.accompaniment for t in tracks)


def test_csv_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    for name in ("v.wav", "a.wav", "b.wav"):
        write(tmp_path / "audio" / name)
    table = tmp_path / "tracks.csv"
    table.write_text("track,split,vocals,accompaniment\nx,valid,audio/v.wav,audio/a.wav|audio/b.wav\n")
    for root in (table, tmp_path):
        (track,) = read_tracks("csv", root)
        assert track.split == "valid" and len(track.accompaniment) == 2
    table.write_text("track,split,vocals\nx,dev,audio/v.wav\n")
    with pytest.raises(DataError, match=r"tracks\.csv: line 2: split: input should be 'train', 'valid' or 'test'"):
        read_tracks("csv", table)


def test_roles_join_pairs_and_read_clips(tmp_path: Path) -> None:
    for name in ("v.wav", "i.wav", "solo.wav", "band.wav", "song.wav", "talk.wav"):
        write(tmp_path / name)
    (tmp_path / "talk.txt").write_text("0.0\t0.7\tone\t110.0\n")
    (tmp_path / "solo.txt").write_text("0.0\t0.5\tla_la\t220.0\n0.6\t1.1\tle\t221.0\n")
    rows = [
        "path,role,split,pair_id,singer_or_source",
        "v.wav,vocals,train,p1,x",
        "i.wav,instrumental,train,p1,x",
        "solo.wav,vocals,train,,anna",
        "band.wav,instrumental,valid,,band",
        "song.wav,mixture,test,,",
        "talk.wav,speech,train,,bert",
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    tracks = {t.name: t for t in read_tracks("roles", tmp_path)}
    assert set(tracks) == {"p1", "solo.wav", "band.wav", "talk.wav"}
    # A sentence has no one pitch that a melody could be sung with.
    assert tracks["talk.wav"].spoken and tracks["talk.wav"].clips == ((0.0, 0.7, None),)
    assert not tracks["solo.wav"].spoken
    assert tracks["p1"].is_song and not tracks["solo.wav"].is_song
    assert tracks["solo.wav"].clips == ((0.0, 0.5, 220.0), (0.6, 1.1, 221.0)) and tracks["solo.wav"].singer == "anna"


@pytest.mark.parametrize("speech", [True, False])
def test_voices_that_speak_are_trained_on_where_the_configuration_says_so(tmp_path: Path, speech: bool) -> None:
    for name in ("solo.wav", "band.wav", "talk.wav"):
        write(tmp_path / name)
    roles = {"solo": "vocals", "band": "instrumental", "talk": "speech"}
    rows = [f"{name}.wav,{role},train,,{name}" for name, role in roles.items()]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,role,split,pair_id,singer_or_source", *rows]) + "\n")
    tiny = load_config(ROOT / "configs/tiny.toml")
    config = tiny.model_copy(update={"data": DataConfig(layout="roles", speech=speech)})
    decoded = Sources(config, [tmp_path], print, print).open_decoded(tmp_path / "cache", torch.device("cpu"))
    assert ("talk.wav" in {r.track.name for r in decoded.recordings}) is speech


@pytest.mark.parametrize(
    ("layout", "needle"), [("stems", "no tracks"), ("csv", "no such table"), ("pairs", "no tracks")]
)
def test_an_empty_folder_is_told(tmp_path: Path, layout: str, needle: str) -> None:
    with pytest.raises(DataError, match=needle):
        read_tracks(layout, tmp_path)


def test_a_listed_file_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "tracks.csv").write_text("track,split,vocals\nx,train,gone.wav\n")
    with pytest.raises(DataError, match=r"gone\.wav: listed for the track 'x' but missing"):
        read_tracks("csv", tmp_path)


def test_tables_saved_by_spreadsheets_are_read_or_refused_by_name(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", np.zeros(100), 16000)
    text = "track,split,vocals,accompaniment\nsöng,train,,a.wav\n"
    (tmp_path / "tracks.csv").write_text(text, encoding="utf-8-sig")
    assert [track.name for track in read_tracks("csv", tmp_path)] == ["söng"]
    (tmp_path / "tracks.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"tracks\.csv: not in UTF-8; save it so"):
        read_tracks("csv", tmp_path)
    (tmp_path / "tracks.csv").write_text(text + "other,train,,\n", encoding="utf-8")
    with pytest.raises(DataError, match="the track 'other' needs a file"):
        read_tracks("csv", tmp_path)


def test_hidden_files_are_no_stems(tmp_path: Path) -> None:
    for name in ("vocals.wav", "bass.wav", "._bass.wav"):
        sf.write(tmp_path / name, np.zeros(100), 16000)
    (tmp_path / "song").mkdir()
    for file in tmp_path.glob("*.wav"):
        file.rename(tmp_path / "song" / file.name)
    (track,) = read_tracks("stems", tmp_path)
    assert [file.name for file in track.files] == ["vocals.wav", "bass.wav"]


@pytest.mark.parametrize("line", ["0.5\t0.2", "a\t1.0", "0.0\t1.0\tla\t-220", "0.0\t1.0\tla\tnan", "0.0\tinf"])
def test_a_clip_that_cannot_be_is_named(line: str, tmp_path: Path) -> None:
    sf.write(tmp_path / "solo.wav", np.zeros(16000), 16000)
    (tmp_path / "manifest.csv").write_text("path,role,split,pair_id,singer_or_source\nsolo.wav,vocals,train,,anna\n")
    (tmp_path / "solo.txt").write_text(f"0.0\t0.5\tla\t220.0\n{line}\n")
    with pytest.raises(DataError, match=r"solo\.txt: line 2 must be"):
        read_tracks("roles", tmp_path)


def test_the_table_of_free_music_keeps_whole_games_from_training() -> None:
    """What says how much voice is heard in music that was never trained on may share no game with it."""
    tracks = read_roles(ROOT / "configs/open_music.csv")
    assert all(len(track.accompaniment) == 1 and track.vocals is None for track in tracks)
    assert len({track.accompaniment[0] for track in tracks}) == len(tracks) == 375
    text = (ROOT / "configs/open_music.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    games = {split: {row["singer_or_source"] for row in rows if row["split"] == split} for split in ("train", "valid")}
    assert len(games["valid"]) == 4 and not games["train"] & games["valid"]
    assert all(0 < float(row["seconds"]) <= 60 for row in rows)
    # The guide's loop cuts lines at commas, so no cell may hold one.
    assert all(line.count(",") == 7 for line in text.splitlines())
