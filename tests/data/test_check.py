"""The doctor for data sets finds what was broken on purpose, and nothing in a healthy song."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, played, sung
from typer.testing import CliRunner

from ldm_sep.cli import app
from ldm_sep.data.check import check_tracks, find_lag
from ldm_sep.data.layouts import read_tracks


def song(root: Path, vocals: np.ndarray, band: np.ndarray, mixture: np.ndarray | None = None) -> Path:
    folder = root / "song"
    folder.mkdir(exist_ok=True)
    sf.write(folder / "vocals.wav", vocals.T, RATE, subtype="FLOAT")
    sf.write(folder / "band.wav", band.T, RATE, subtype="FLOAT")
    sf.write(folder / "mixture.wav", (vocals + band if mixture is None else mixture).T, RATE, subtype="FLOAT")
    return folder


def kinds(root: Path) -> set[str]:
    return {finding.kind for finding in check_tracks(read_tracks("stems", root))}


@pytest.fixture
def vocals() -> np.ndarray:
    # Breath as well as tone: a purely periodic wave is aligned with itself at every period.
    breath = np.random.default_rng(1).normal(0, 0.02, 6 * RATE)
    return np.repeat((sung(6, 220, 1) * (1 + 0 * breath) + breath * (sung(6, 220, 1) != 0))[None], 2, 0)


@pytest.fixture
def band() -> np.ndarray:
    return played(6, 1)


def test_a_healthy_song_has_no_findings(tmp_path: Path, vocals: np.ndarray, band: np.ndarray) -> None:
    song(tmp_path, vocals, band)
    assert kinds(tmp_path) == set()
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert done.exit_code == 0 and "1 tracks (1 songs), 0 findings" in done.output


def test_misaligned_vocals_are_found_with_their_lag(tmp_path: Path, vocals: np.ndarray, band: np.ndarray) -> None:
    late = np.roll(vocals, 80, 1)
    assert find_lag(vocals, late + band, RATE)[0] == 80
    song(tmp_path, vocals, band, late + band)
    findings = {f.kind: f.message for f in check_tracks(read_tracks("stems", tmp_path))}
    assert "5.00 ms early" in findings["alignment"]
    assert "sum" in findings
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert done.exit_code == 1 and "song: alignment:" in done.output


def test_clipping_silence_level_and_length(tmp_path: Path, vocals: np.ndarray, band: np.ndarray) -> None:
    song(tmp_path, vocals, np.clip(30 * band, -1, 1))
    assert {"clipping", "level"} <= kinds(tmp_path)
    song(tmp_path, 0 * vocals, band)
    assert "silence" in kinds(tmp_path)
    folder = song(tmp_path, vocals, band)
    sf.write(folder / "band.wav", band[:, :-400].T, RATE)
    assert "length" in kinds(tmp_path)
    sf.write(folder / "band.wav", band.T, 22050)
    assert kinds(tmp_path) == {"rate"}
    sf.write(folder / "band.wav", np.concatenate([band, band]).T, RATE)
    assert kinds(tmp_path) == {"channels"}
    (folder / "band.wav").write_bytes(b"no sound")
    assert kinds(tmp_path) == {"unreadable"}


def test_songs_that_training_passes_over_are_named(tmp_path: Path, vocals: np.ndarray, band: np.ndarray) -> None:
    song(tmp_path, vocals, band)
    (tmp_path / "no band").mkdir()
    sf.write(tmp_path / "no band/vocals.wav", vocals.T, RATE)
    (tmp_path / "empty").mkdir()
    for name in ("misnamed/Vocals (final).wav", "misnamed/mix.wav", "album/deep/vocals.wav", "album/deep/mixture.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        sf.write(tmp_path / name, vocals.T, RATE)
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert done.exit_code == 1
    assert [line for line in done.output.splitlines() if "incomplete" in line] == [
        "deep: incomplete: not where songs are looked for, DATA/[train|valid|test]/SONG/vocals.* and any other stems; "
        "training passes it over",
        "misnamed: incomplete: no vocals.* among Vocals (final), mix; training passes it over",
        "no band: incomplete: no mixture.* beside the vocals and no other stem; training passes it over",
    ]


def test_songs_of_which_little_or_nothing_is_left_are_named(
    tmp_path: Path, vocals: np.ndarray, band: np.ndarray
) -> None:
    song(tmp_path, vocals, 0 * band)
    assert kinds(tmp_path) == {"silence"}
    song(tmp_path, vocals[:, :8000], band[:, :8000])
    (finding,) = check_tracks(read_tracks("stems", tmp_path))
    assert finding.kind == "short" and finding.message.startswith("lasts 0.500 s")


def test_accompaniment_that_leaks_into_the_vocals_is_found(
    tmp_path: Path, vocals: np.ndarray, band: np.ndarray
) -> None:
    t = np.arange(vocals.shape[1]) / RATE
    phrases = vocals * (t < 3)
    song(tmp_path, phrases + 0.01 * band, band)
    assert "leakage" in kinds(tmp_path)


@pytest.mark.parametrize(("late", "found"), [(-1, False), (1, False), (2, True), (-3, True)])
def test_an_offset_of_one_sample_is_no_misalignment(
    tmp_path: Path, vocals: np.ndarray, band: np.ndarray, late: int, found: bool
) -> None:
    song(tmp_path, vocals, band, np.roll(vocals, late, 1) + band)
    assert ("alignment" in kinds(tmp_path)) is found


def test_a_song_that_is_in_train_and_valid_is_found_by_its_content(tmp_path: Path) -> None:
    for split, name, pitch, gain, suffix in (
        ("train", "one", 1, 1.0, "wav"),
        ("train", "two", 2, 1.0, "wav"),
        ("valid", "renamed", 2, 0.4, "ogg"),
        ("test", "three", 3, 1.0, "wav"),
    ):
        folder = tmp_path / split / name
        folder.mkdir(parents=True)
        # Phrases of other lengths in every song.
        rests = np.repeat(np.random.default_rng(pitch).random(30) < 0.6, RATE // 5)
        for stem, wave in (("vocals", sung(6, 200, 1) * rests), ("band", played(6, pitch)[0])):
            sf.write(folder / f"{stem}.{suffix}", gain * wave, RATE)
    splits = [f for f in check_tracks(read_tracks("stems", tmp_path)) if f.kind == "split"]
    assert [f.track for f in splits] == ["renamed"] and "the same recording as 'two' in train" in splits[0].message
