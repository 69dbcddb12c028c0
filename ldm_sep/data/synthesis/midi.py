"""Notes of MIDI songs in seconds."""

import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ldm_sep.errors import DataError, need_package, reason
from ldm_sep.files import require_regular

if TYPE_CHECKING:
    from mido import MidiFile

# Limits in bytes: of a zip, of what it unpacks to, and of one song. Songs of POP909 have 0.1 million at most.
_LARGEST_ZIP, _LARGEST_SONGS, _LARGEST_SONG = 64 << 20, 256 << 20, 4 << 20
_MOST_BEATS = 100_000


@dataclass(frozen=True)
class Note:
    """``onset`` and ``duration`` in seconds, MIDI ``pitch`` and ``velocity``."""

    onset: float
    duration: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Song:
    """Notes of the tracks MELODY, BRIDGE and PIANO, and the seconds of the beats."""

    melody: tuple[Note, ...]
    bridge: tuple[Note, ...]
    piano: tuple[Note, ...]
    beats: tuple[float, ...]


def read_song(data: bytes) -> Song:
    """A song of the POP909 layout from the bytes of its MIDI file. ValueError if it is none."""
    import mido

    try:
        file = mido.MidiFile(file=io.BytesIO(data))
        # 0 is no clock; below it time is counted in film frames.
        if file.ticks_per_beat < 1:
            raise ValueError("its time is not counted in beats")
        seconds = _clock(file)
    except Exception as error:
        # A damaged file can break the parser anywhere.
        raise ValueError(f"not a MIDI file: {error}") from None
    tracks = {track.name.strip().upper(): track for track in file.tracks}
    if not {"MELODY", "PIANO"} <= set(tracks):
        raise ValueError("it has no tracks MELODY and PIANO")
    notes = {name: _notes(tracks[name], seconds) for name in ("MELODY", "BRIDGE", "PIANO") if name in tracks}
    last = max(sum(message.time for message in track) for track in file.tracks)
    if last / file.ticks_per_beat > _MOST_BEATS:
        raise ValueError("it lasts for hours")
    beats = tuple(seconds(tick) for tick in range(0, last, file.ticks_per_beat))
    return Song(notes["MELODY"], notes.get("BRIDGE", ()), notes["PIANO"], beats)


def read_archive(scores: Path) -> dict[str, bytes]:
    """The MIDI files of a zip by name, sorted. DataError if it cannot be read or holds none, DependencyError without
    mido.
    """
    need_package("reading MIDI files", "mido")
    songs: dict[str, bytes] = {}
    try:
        require_regular(scores, _LARGEST_ZIP)
        with zipfile.ZipFile(scores) as archive:
            found = [entry for entry in archive.infolist() if entry.filename.lower().endswith((".mid", ".midi"))]
            for entry in found:
                if entry.file_size > _LARGEST_SONG:
                    raise ValueError(f"{entry.filename} unpacks to {entry.file_size:,} bytes")
            if sum(entry.file_size for entry in found) > _LARGEST_SONGS:
                raise ValueError(f"unpacks to more than {_LARGEST_SONGS:,} bytes")
            for entry in sorted(found, key=lambda entry: entry.filename):
                songs[entry.filename] = archive.read(entry)
    # The zip is damaged, encrypted, or packed by a method that Python does not know.
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{scores}: not a readable zip of MIDI files ({reason(error)})") from None
    if not songs:
        raise DataError(f"{scores}: holds no .mid files")
    return songs


def _clock(file: "MidiFile") -> Callable[[int], float]:
    """Ticks to seconds through all tempo changes."""
    tick, changes = 0, [(0, 500000)]
    for message in file.tracks[0]:
        tick += message.time
        if message.type == "set_tempo":
            changes.append((tick, message.tempo))
    ticks = np.array([t for t, _ in changes], float)
    tempos = np.array([tempo for _, tempo in changes]) / 1e6 / file.ticks_per_beat
    starts = np.concatenate([[0.0], np.cumsum(np.diff(ticks) * tempos[:-1])])

    def seconds(tick: int) -> float:
        segment = int(np.searchsorted(ticks, tick, side="right")) - 1
        return float(starts[segment] + (tick - ticks[segment]) * tempos[segment])

    return seconds


def _notes(track: Sequence, seconds: Callable[[int], float]) -> tuple[Note, ...]:
    tick = 0
    # The tick and velocity at which each pitch began.
    sounding: dict[int, tuple[int, int]] = {}
    notes: list[Note] = []
    for message in track:
        tick += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        begun = sounding.pop(message.note, None)
        if begun is not None:
            onset = seconds(begun[0])
            notes.append(Note(onset, max(0.02, seconds(tick) - onset), message.note, begun[1]))
        if message.type == "note_on" and message.velocity > 0:
            sounding[message.note] = (tick, message.velocity)
    return tuple(sorted(notes, key=lambda n: n.onset))
