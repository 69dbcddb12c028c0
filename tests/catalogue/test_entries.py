"""Which songs a command line names: folders, patterns, manifests good and bad, standard input."""

import io
import json
import os
import sys
from itertools import chain, islice
from pathlib import Path

import pytest

from ldm_sep.catalogue import Shard
from ldm_sep.catalogue.entries import entries
from ldm_sep.catalogue.rows import Entry
from ldm_sep.errors import ConfigError


def found(*inputs: object, out: Path | None = None) -> list[Entry]:
    return sorted(entries([str(text) for text in inputs], out, lambda line: None), key=lambda entry: entry.source)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    for name in ("a.wav", "a.mp3", "deep/er/b ü.FLAC", "deep/cover.jpg", ".hidden/c.wav"):
        path = tmp_path / "songs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "songs"


def test_folders_files_and_patterns(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b = Entry(str(songs / "deep/er/b ü.FLAC"), "deep/er/b ü")
    both = [Entry(str(songs / "a.mp3"), "a"), Entry(str(songs / "a.wav"), "a")]
    assert found(songs) == found(songs.as_uri()) == [*both, b]
    assert found(songs / "a.mp3", songs / "a.wav") == both
    assert found(songs / "**/*.*") == [*both, Entry(b.source, "b ü")]
    monkeypatch.chdir(songs)
    assert found("deep") == [Entry(b.source, "er/b ü")]


def test_a_folder_is_walked_through_as_its_songs_are_asked_for(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (songs / f"{number}.wav").touch()
    asked = []
    real = os.scandir

    class Watched:
        def __init__(self, place: object) -> None:
            self._entries = real(place)

        def __enter__(self) -> "Watched":
            return self

        def __exit__(self, *error: object) -> None:
            self._entries.close()

        def __iter__(self):
            for entry in self._entries:
                asked.append(entry.name)
                yield entry

    monkeypatch.setattr(os, "scandir", Watched)
    assert len(list(islice(entries([str(songs)], None, print), 3))) == 3
    assert len(asked) < 10


def test_manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("x/a.wav", "Artist/Title"), ("/music/b.flac", ""), ("s3://bucket/c.mp3", "c")]
    expected = [
        Entry("/music/b.flac", "b"),
        Entry(str(tmp_path / "x/a.wav"), "Artist/Title"),
        Entry("s3://bucket/c.mp3", "c"),
    ]
    table = "\r\n".join(f'{name},"2020, live",{file}' for file, name in rows)
    (tmp_path / "songs.csv").write_text(f"\ufeffname,year,File\r\n{table}\r\n", encoding="utf-8")
    objects = [{"file": file, "name": name, "year": 2020} for file, name in rows]
    (tmp_path / "songs.json").write_text(json.dumps(objects))
    (tmp_path / "songs.jsonl").write_text("\n\n".join(map(json.dumps, objects)))
    for suffix in ("csv", "json", "jsonl"):
        assert found(tmp_path / f"songs.{suffix}") == expected
    monkeypatch.chdir(tmp_path)
    lines = b'{"file": "x/a.wav", "name": "Artist/Title"}\n/music/b.flac\r\nbad \xff name.wav\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    piped = found("-")
    assert piped[:2] == [expected[0], Entry(str(tmp_path / os.fsdecode(b"bad \xff name.wav")), "bad _udcff name")]
    assert piped[2:] == expected[1:2]


HOSTILE = [
    ("csv", b"file\n\n" + b"x" * 200_000 + b"\nb.wav\n", "line 3"),
    ("csv", b'file\n"a.wav\nb.wav\n', "line 2"),
    ("csv", b"file,name\nsong, live.wav,x\nb.wav\n", "line 2"),
    ("csv", b"file\na\0.wav\nb.wav\n", "line 2"),
    ("csv", b"file,name\n,x\nb.wav\n", "at least 1 character"),
    ("csv", b"file\nftp://host/x.wav\nb.wav\n", "no such place"),
    ("csv", b"file\nhttp::file://x.wav\nb.wav\n", "no such place"),
    ("jsonl", b"[[[[[\nb.wav\n" + b"[" * 60_000 + b'\n{"file": "b.wav"}\n', "no row of a manifest"),
    ("jsonl", b'{"file": 3}\n"b.wav"\n', "valid string"),
    ("jsonl", b'{"file": "a.wav", "name": ["x"]}\n"b.wav"\n', "valid string"),
    ("jsonl", b'{"file": "\\ud800.wav"}\n"b.wav"\n', "string"),
    ("jsonl", b"\xff\xfe\n" + b'"b.wav"\n', "no row of a manifest"),
    ("json", b'[null, {"name": "x"}, "b.wav"]', "no row of a manifest"),
]


@pytest.mark.parametrize(("suffix", "content", "problem"), HOSTILE)
def test_a_bad_row_is_one_song_that_fails(suffix: str, content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / f"songs.{suffix}"
    path.write_bytes(content)
    good = [entry for entry in found(path) if not entry.problem]
    bad = [entry for entry in found(path) if entry.problem]
    assert [entry.source for entry in good] == [str(tmp_path / "b.wav")]
    assert bad and any(problem in entry.problem for entry in bad)
    assert all("\n" not in entry.problem and str(path) in entry.problem for entry in bad)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("../../etc/x", "etc/x"),
        ("/etc/x", "etc/x"),
        ("a/./b//c", "a/b/c"),
        ("a\\b:c\n", "a_b_c_n"),
        ("...", "song"),
        ("CON/aux.txt", "_CON/_aux.txt"),
        ("x" * 999, "x" * 120),
        ("/".join("abcdefghijkl"), "e/f/g/h/i/j/k/l"),
    ],
)
def test_names_stay_below_the_folder_of_the_catalogue(name: str, folder: str, tmp_path: Path) -> None:
    (tmp_path / "songs.jsonl").write_text(json.dumps({"file": "song.wav", "name": name}))
    assert [entry.name for entry in found(tmp_path / "songs.jsonl")] == [folder]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("x.json", "{}", "is no list of songs"),
        ("x.json", "[", "cannot be read as JSON"),
        ("x.csv", "path,name\n", "no column 'file'"),
        ("x.csv", "", "no column 'file'"),
    ],
)
def test_what_is_no_manifest_ends_the_run(name: str, content: str, line: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=line):
        found(tmp_path / name)


def test_shards_part_the_songs_by_their_names(songs: Path) -> None:
    many = [Entry(f"/somewhere/{number}.wav", str(number)) for number in range(1000)]
    parts = [[entry for entry in many if Shard(number, 8).has(entry)] for number in range(1, 9)]
    assert sorted(chain(*parts), key=many.index) == many
    assert all(90 < len(part) < 160 for part in parts)
    moved = [Entry(f"/elsewhere/{entry.name}.wav", entry.name) for entry in parts[0]]
    assert all(Shard(1, 8).has(entry) for entry in moved)
