"""Zips of MIDI songs that are damaged or hostile: one line, in bounded time and memory."""

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ldm_sep.data.synthesis.melody import load_melodies
from ldm_sep.data.synthesis.midi import read_song
from ldm_sep.errors import DataError


def packed(path: Path, *songs: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for number, song in enumerate(songs):
            file.writestr(f"{number}.mid", song)


def flags(path: Path, place: int, value: int) -> None:
    """Set two bytes of the entry's local header and of the directory."""
    data = bytearray(path.read_bytes())
    for start, offset in ((b"PK\x03\x04", place), (b"PK\x01\x02", place + 2)):
        at = data.index(start) + offset
        data[at : at + 2] = struct.pack("<H", value)
    path.write_bytes(data)


def spoil(path: Path, change: Callable[[bytearray], None]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (os.mkfifo, "no such zip"),
    "device": (lambda p: p.symlink_to("/dev/zero"), "no such zip"),
    "bomb": (lambda p: packed(p, bytes(5 << 20)), "0.mid unpacks to 5,242,880 bytes"),
    "many": (lambda p: packed(p, *[bytes(1 << 20)] * 9), "unpacks to more than"),
    "encrypted": (lambda p: (packed(p, b"x"), flags(p, 6, 1)), "not a readable zip"),
    "unknown": (lambda p: (packed(p, b"x"), flags(p, 8, 97)), "not a readable zip"),
    "cut": (lambda p: (packed(p, os.urandom(5000)), spoil(p, lambda d: d.__delitem__(slice(2000, None)))), "not a"),
    "flipped": (lambda p: (packed(p, os.urandom(5000)), spoil(p, lambda d: d.__setitem__(60, d[60] ^ 255))), "not a"),
    "bzip": (
        lambda p: (packed(p, os.urandom(5000), method=zipfile.ZIP_BZIP2), spoil(p, lambda d: d.__setitem__(60, 0))),
        "not a readable zip",
    ),
    "lzma": (
        lambda p: (packed(p, os.urandom(5000), method=zipfile.ZIP_LZMA), spoil(p, lambda d: d.__setitem__(45, 255))),
        "not a readable zip",
    ),
    "escaping": (lambda p: packed(p), "holds no .mid files"),
    "no songs": (lambda p: packed(p, b"MThd" + bytes(10_000)), "none of its songs"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_zip_is_one_line(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, (make, needle) = tmp_path / "a\x1b[2J.zip", HOSTILE[kind]
    make(path)
    monkeypatch.setattr("ldm_sep.data.synthesis.midi._LARGEST_SONGS", 8 << 20)
    with pytest.raises(DataError) as caught:
        load_melodies(path, tmp_path / "cache")
    assert needle in str(caught.value) and str(caught.value).isprintable()
    assert not (tmp_path / "cache").exists()


def song(division: int, delta: bytes) -> bytes:
    """MELODY and PIANO, with one note that begins ``delta`` ticks late, ``division`` ticks a beat."""
    tracks = []
    for name in (b"MELODY", b"PIANO"):
        events = b"\x00\xff\x03" + bytes([len(name)]) + name + (delta + b"\x90\x40\x40") * 4 + b"\x00\xff\x2f\x00"
        tracks.append(b"MTrk" + struct.pack(">I", len(events)) + events)
    return b"MThd" + struct.pack(">IHHH", 6, 1, 2, division) + b"".join(tracks)


def test_a_song_of_days_is_passed_over() -> None:
    assert len(read_song(song(480, b"\x60")).beats) == 1
    with pytest.raises(ValueError, match="it lasts for hours"):
        read_song(song(1, b"\xff\xff\xff\x7f"))


@pytest.mark.parametrize("division", [0, 0x8000 | 24, 0xFFFF])
def test_a_song_whose_time_is_not_counted_in_beats_is_passed_over(division: int) -> None:
    with pytest.raises(ValueError, match="not counted in beats"):
        read_song(song(division, b"\x60"))
