"""Folders full of songs: what is found, what is left out, where stems go, and the line that counts it all."""

import os
import sys
from pathlib import Path

import pytest

from ldm_sep.errors import AudioError
from ldm_sep.listing import list_audio
from ldm_sep.separation.naming import DEFAULT_TEMPLATE, STEMS, Place, parse_template, track_name
from ldm_sep.separation.planning import PlannedSong, Work, plan_songs


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def plan(*inputs: Path, out: Path, filename: str = DEFAULT_TEMPLATE, **options: bool) -> Work:
    return plan_songs(inputs, out, parse_template(filename, STEMS), STEMS, "wav", **options)


def names(work: Work) -> list[str]:
    return [song.input.name for song in work.songs]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    songs, elsewhere = tmp_path / "songs", tmp_path / "elsewhere"
    touch(songs / "album/a.wav", elsewhere / "b.m4a")
    (songs / "loop").symlink_to(songs)
    (songs / "album/up").symlink_to(songs / "album")
    (songs / "more").symlink_to(elsewhere)
    (songs / "more again").symlink_to(elsewhere)
    (songs / "c.flac").symlink_to(elsewhere / "b.m4a")
    (songs / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (songs / "self.wav").symlink_to(songs / "self.wav")
    found = list_audio(songs)
    assert [str(p.relative_to(songs)) for p in found.audio] == ["album/a.wav", "c.flac", "more/b.m4a"]
    assert not found.unreadable


def test_a_folder_as_its_own_output_does_not_grow(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "album/b.flac")
    (tmp_path / "same").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "album/..", tmp_path / "same"):
        first = plan(tmp_path, out=out, skip_existing=True)
        assert names(first) == ["a.wav", "b.flac"]
        made = [path for song in first.songs for path in (*song.place.targets.values(), song.place.record)]
        touch(*made)
        assert plan(tmp_path, out=out, skip_existing=True).songs == first.songs
        for path in made:
            path.unlink()
    touch(tmp_path / "multitrack/vocals.wav")  # of no song here: a song itself
    assert names(plan(tmp_path, out=tmp_path, skip_existing=True)) == ["a.wav", "b.flac", "vocals.wav"]


def test_results_inside_the_input_are_no_songs(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "out/other/vocals.wav")
    assert names(plan(tmp_path, out=tmp_path / "out")) == ["a.wav"]


@pytest.mark.parametrize(("name", "folder"), [("...wav", "...wav"), ("a.b.wav", "a.b"), (" .wav", " .wav"), ("x", "x")])
def test_stems_stay_inside_the_output_folder_whatever_the_song_is_called(name: str, folder: str) -> None:
    assert track_name(Path("in") / name) == folder


def test_an_input_of_the_same_run_is_not_written_over(tmp_path: Path) -> None:
    touch(tmp_path / "song.wav", tmp_path / "out/song/vocals.wav")
    with pytest.raises(AudioError, match=r"vocals\.wav: would be written over and is an input"):
        plan(tmp_path / "song.wav", tmp_path / "out/song/vocals.wav", out=tmp_path / "out", overwrite=True)
    (tmp_path / "link.wav").symlink_to(tmp_path / "out/song/vocals.wav")
    with pytest.raises(AudioError, match="is an input"):
        plan(tmp_path / "song.wav", tmp_path / "link.wav", out=tmp_path / "out", overwrite=True)


def test_results_of_a_template_are_no_songs_and_a_song_of_that_name_is_no_result_of_itself(tmp_path: Path) -> None:
    flat = "{track}_{stem}.{ext}"
    touch(tmp_path / "a.wav", tmp_path / "b_vocals.wav")
    first = plan(tmp_path, out=tmp_path, filename=flat)
    assert names(first) == ["a.wav", "b_vocals.wav"]
    touch(*(path for song in first.songs for path in (*song.place.targets.values(), song.place.record)))
    again = plan(tmp_path, out=tmp_path, filename=flat, skip_existing=True)
    assert names(again) == ["a.wav", "b_vocals.wav"]
    one = parse_template("{track}.{ext}", ["vocals"])
    with pytest.raises(AudioError, match=r"a\.wav: would be written over and is an input"):
        plan_songs([tmp_path / "a.wav"], tmp_path, one, ["vocals"], "wav", overwrite=True)


def test_what_lies_there_from_elsewhere_is_neither_passed_over_nor_written_over(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "out/a/vocals.wav")
    with pytest.raises(AudioError, match=r"vocals\.wav: exists already; add --overwrite or --skip-existing"):
        plan(tmp_path / "a.wav", out=tmp_path / "out")
    with pytest.raises(AudioError, match=r"no separation\.json beside it tells what it is; add --overwrite"):
        plan(tmp_path / "a.wav", out=tmp_path / "out", skip_existing=True)
    assert names(plan(tmp_path / "a.wav", out=tmp_path / "out", overwrite=True)) == ["a.wav"]


def test_a_song_named_twice_is_separated_once_and_two_of_one_name_are_told(tmp_path: Path) -> None:
    touch(tmp_path / "in/a.wav", tmp_path / "in/a.mp3")
    song = tmp_path / "in/a.wav"
    assert plan(song, song, out=tmp_path / "out").songs == [
        PlannedSong(song, Place.plain(tmp_path / "out/a", STEMS, "wav"))
    ]
    # Their suffixes tell them apart, and a third one keeps its plain name.
    touch(tmp_path / "in/b.flac")
    folders = [song.place.folder.name for song in plan(tmp_path / "in", out=tmp_path / "out").songs]
    assert folders == ["a.mp3", "a.wav", "b"]
    by_suffix = plan(tmp_path / "in", out=tmp_path / "out", filename="{track} {trackext} {stem}.{ext}").songs
    assert [song.place.stems["vocals"] for song in by_suffix] == [
        "a mp3 vocals.wav",
        "a wav vocals.wav",
        "b flac vocals.wav",
    ]
    touch(tmp_path / "else/a.wav")
    with pytest.raises(AudioError, match=r"else/a\.wav: would be written to the files of .*in/a\.wav"):
        plan(song, tmp_path / "else/a.wav", out=tmp_path / "out")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_names_that_no_terminal_can_show_and_names_too_long_are_one_line(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    touch(odd)
    for path in (Path(f"{odd}x"), tmp_path / ("x" * 300), tmp_path / "nul\0"):
        with pytest.raises(AudioError) as caught:
            plan(path, out=tmp_path / "out")
        assert str(caught.value).isprintable() and "no such file" in str(caught.value)
    (work,) = plan(odd, out=tmp_path / "out").songs
    touch(work.place.folder / "vocals.wav")
    with pytest.raises(AudioError) as caught:
        plan(odd, out=tmp_path / "out")
    assert str(caught.value).isprintable() and "exists already" in str(caught.value)


def test_places_that_cannot_be_read_are_a_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.wav", tmp_path / "closed/b.wav")
    scandir = os.scandir

    def closed(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    work = plan(tmp_path, out=tmp_path / "out")
    assert names(work) == ["a.wav"] and len(work.unreadable) == 1 and "closed: cannot be read" in work.unreadable[0]
    assert work.summary(1, 0, 0) == "1 separated, 0 skipped, 1 failed, 0 passed over"
