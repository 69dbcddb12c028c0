"""A catalogue of good and bad songs: what is done, what is passed over, what is told."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import soundfile as sf
from catalogues import GOOD, bytes_of, here, make_songs, nobody, recipe_for, rows_of
from conftest import RATE, mistake_of, played

from ldm_sep.catalogue import Shard, Tally, catalogue, local_engine
from ldm_sep.errors import ConfigError, OutputError
from ldm_sep.files import sha256_of
from ldm_sep.separation import Options, Separator


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_songs(tmp_path_factory.mktemp("songs"))


@pytest.fixture(scope="module")
def made(untrained: Path, songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a catalogue of the songs."""
    out = tmp_path_factory.mktemp("made") / "out"
    tally = catalogue([str(songs)], recipe_for(out, untrained), here)
    assert (tally.done, tally.failed, tally.total) == (4, 2, 6) and not tally.complete
    return out


def test_a_row_tells_what_became_of_a_song(made: Path, songs: Path, untrained: Path) -> None:
    rows = rows_of(made)
    assert {name for name, row in rows.items() if row["status"] == "done"} == set(GOOD)
    row = rows["folder/b ü"]
    assert row["source"] == str(songs / "folder/b ü.wav") and row["input"] == sha256_of(songs / "folder/b ü.wav")
    assert row["duration"] == 1.5 and row["tries"] == 1 and row["warnings"] == [] and row["error"] == ""
    for fact in row["stems"].values():
        wave, _ = sf.read(made / row["folder"] / fact["file"])
        assert fact["peak"] == pytest.approx(abs(wave).max(), abs=1e-6)
        assert sha256_of(made / row["folder"] / fact["file"]) == fact["sha256"]
    # The stems are those that the separator gives for the file alone.
    alone = Separator.load(untrained, device="cpu").separate_file(
        songs / "folder/b ü.wav", made.parent / "alone", Options(segment=2.0, steps=1)
    )
    assert {p.name: p.read_bytes() for p in alone.values()} == {
        name: (made / row["folder"] / name).read_bytes() for name in ("vocals.wav", "instrumental.wav")
    }


def test_failures_are_told_and_listed_as_a_manifest(made: Path, songs: Path, untrained: Path, tmp_path: Path) -> None:
    rows = rows_of(made)
    assert "0.031250 s is not a finite number" in rows["nan"]["error"]
    assert "is damaged" in rows["folder/corrupt"]["error"]
    assert rows["silent"]["warnings"] == ["vocals.wav: holds silence", "instrumental.wav: holds silence"]
    listed = [json.loads(line) for line in (made / "failed.jsonl").read_text().splitlines()]
    assert {line["name"] for line in listed} == {"nan", "folder/corrupt"}
    again = catalogue([str(made / "failed.jsonl")], recipe_for(tmp_path, untrained), here)
    assert (again.done, again.failed) == (0, 2)
    assert {name: row["error"] for name, row in rows_of(tmp_path).items()} == {n["name"]: n["error"] for n in listed}


def test_another_run_does_nothing(made: Path, songs: Path, untrained: Path) -> None:
    before = (made / "songs.jsonl").read_bytes()
    tally = catalogue([str(songs)], recipe_for(made, untrained), nobody)
    assert (tally.done_before, tally.failed_before, tally.complete) == (4, 2, False)
    assert (made / "songs.jsonl").read_bytes() == before and len((made / "failed.jsonl").read_text().splitlines()) == 2


def test_failed_songs_are_tried_again_when_asked_for_or_when_they_changed(untrained: Path, tmp_path: Path) -> None:
    songs, recipe = make_songs(tmp_path / "songs"), recipe_for(tmp_path / "out", untrained)
    catalogue([str(songs)], recipe, here)
    tally = catalogue([str(songs)], recipe, here, retry_failed=True)
    assert (tally.done_before, tally.failed, tally.failed_before) == (4, 2, 0)
    sf.write(songs / "nan.wav", played(1.0, 4).T, RATE)
    (songs / "folder/corrupt.flac").unlink()
    tally = catalogue([str(songs)], recipe, here)
    assert (tally.done_before, tally.done, tally.failed, tally.complete) == (4, 1, 0, True)
    assert not (tmp_path / "out/failed.jsonl").exists()


def test_workers_and_shards_give_the_same_bytes_and_the_same_rows(
    made: Path, songs: Path, untrained: Path, tmp_path: Path
) -> None:
    engine = partial(local_engine, workers=2)
    catalogue([str(songs)], recipe_for(tmp_path / "workers", untrained), engine)
    counts = []
    for number in (1, 2, 3):
        recipe = recipe_for(tmp_path / "shards", untrained)
        counts.append(catalogue([str(songs)], recipe, here, shard=Shard(number, 3)).total)
    assert sum(counts) == 6 and max(counts) < 6
    for other in (tmp_path / "workers", tmp_path / "shards"):
        assert bytes_of(other) == bytes_of(made)
        assert rows_of(other) == rows_of(made)
    # Without shards all of their journals tell what is done.
    assert catalogue([str(songs)], recipe_for(tmp_path / "shards", untrained), nobody).done_before == 4


def one_song(folder: Path) -> Path:
    folder.mkdir()
    sf.write(folder / "song.wav", played(1.0, 1).T, RATE, subtype="PCM_16")
    return folder / "song.wav"


def test_a_song_is_separated_again_when_it_or_the_settings_changed_or_a_stem_is_gone(
    untrained: Path, tmp_path: Path
) -> None:
    song, out = one_song(tmp_path / "songs"), tmp_path / "out"

    def run(engine=here, **settings: object) -> Tally:
        return catalogue([str(song.parent)], recipe_for(out, untrained, **settings), engine)

    assert run().done == 1
    first = bytes_of(out)
    # A new time of modification alone: the content is looked at, and nothing separated.
    os.utime(song, (1, 1))
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    assert run().done == 1 and run(nobody).done_before == 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")} == times
    next(out.rglob("vocals.wav")).unlink()
    assert run().done == 1 and bytes_of(out) == first
    assert run(suffix="flac").done == 1 and run(nobody, suffix="flac").done_before == 1
    assert run(nobody).done_before == 1
    assert set(first) < set(bytes_of(out))
    sf.write(song, played(1.0, 2).T, RATE, subtype="PCM_16")
    assert run().done == 1 and len(list(out.rglob("vocals.wav"))) == 2


def test_without_its_journal_a_catalogue_finds_its_stems(untrained: Path, tmp_path: Path) -> None:
    song, out = one_song(tmp_path / "songs"), tmp_path / "out"
    recipe = recipe_for(out, untrained)
    catalogue([str(song)], recipe, here)
    row, times = rows_of(out), {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    (out / "songs.jsonl").unlink()
    catalogue([str(song)], recipe, here)
    assert rows_of(out) == row and {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")} == times


def test_stems_in_the_folder_of_the_songs_are_no_songs(untrained: Path, tmp_path: Path) -> None:
    song = one_song(tmp_path / "songs")
    recipe = recipe_for(song.parent, untrained)
    assert catalogue([str(song.parent)], recipe, here).done == 1
    assert catalogue([str(song.parent)], recipe, nobody).total == 1
    inside = recipe_for(song.parent / "out", untrained)
    tally = catalogue([str(song.parent / "**/*.wav"), str(song.parent)], inside, here)
    assert (tally.done, tally.twice, tally.total) == (1, 1, 2)


def test_songs_of_one_name_and_songs_that_are_named_twice(untrained: Path, tmp_path: Path) -> None:
    first = one_song(tmp_path / "first")
    (tmp_path / "second").mkdir()
    second = tmp_path / "second/song.wav"
    sf.write(second, played(1.0, 2).T, RATE, subtype="PCM_16")
    inputs = [str(first), str(second), str(first)]
    tally = catalogue(inputs, recipe_for(tmp_path / "out", untrained), here)
    assert (tally.done, tally.done_before, tally.twice, tally.total) == (2, 0, 1, 3)
    assert len(list((tmp_path / "out").glob("song-*/vocals.wav"))) == 2


def test_a_failed_song_that_is_named_twice_is_tried_once(untrained: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"fLaC" + bytes(500))
    for _ in range(2):
        recipe = recipe_for(tmp_path / "out", untrained)
        tally = catalogue([str(broken), str(broken)], recipe, here, retry_failed=True)
        assert (tally.failed, tally.failed_before, tally.twice) == (1, 0, 1)


def test_a_damaged_checkpoint_ends_the_run_and_fails_no_song(songs: Path, untrained: Path, tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "checkpoint", tmp_path / "out"
    shutil.copytree(untrained, checkpoint)
    recipe = recipe_for(out, checkpoint)
    for weights in checkpoint.glob("*.safetensors"):
        weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(OutputError, match=r"safetensors.*run it again then"):
        catalogue([str(songs / "a.wav")], recipe, partial(local_engine, workers=1))
    assert (out / "songs.jsonl").read_bytes() == b""


def test_two_catalogues_on_one_folder_and_part_of_the_songs(made: Path, songs: Path, untrained: Path) -> None:
    recipe = recipe_for(made, untrained)

    def another(attempts, recipe):
        with pytest.raises(ConfigError, match="another process is writing there"):
            catalogue([str(songs)], recipe, nobody)
        assert catalogue([str(songs)], recipe, nobody, shard=Shard(2, 2)).failed == 0
        yield from ()

    catalogue([str(songs)], recipe, another)
    (made / "songs.2-of-2.jsonl").unlink()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("nowhere", "-o", "out"), "nowhere: no such file or folder; check the name"),
        (("demo", "-o", "s3://bucket/x"), "an object store holds no journal; name a local folder with --journal"),
        (("demo", "-o", "ftp://host/x"), "no such place; name a path, or a URI of file, s3, gs"),
        (("demo", "-o", "out", "--shard", "3/2"), "--shard 3/2: write i/n with i from 1 to n"),
        (("demo", "-o", "out", "--preset", "slow"), "no preset 'slow'"),
        (("demo", "-o", "out", "--format", "flac", "--samples", "float"), "flac holds whole numbers"),
        (("demo", "-o", "out", "--address", "x:1"), "names a Ray cluster; add --engine ray"),
        (("demo", "-o", "out", "--engine", "ray", "--address", "127.0.0.1:1"), "no Ray cluster answers at 127.0.0.1:1"),
    ],
)
def test_mistakes_are_one_line_before_any_work(words: tuple[str, ...], line: str, tmp_path: Path) -> None:
    words = tuple(str(tmp_path / word) if word == "out" else word for word in words)
    assert line in mistake_of("catalogue", *words)
    assert not (tmp_path / "out").exists()
