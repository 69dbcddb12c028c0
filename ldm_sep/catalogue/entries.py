"""The songs that a command line names, one by one: they are never all in memory."""

import csv
import glob
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO

from pydantic import Field

from ldm_sep.catalogue.rows import Entry
from ldm_sep.catalogue.storage import local_path, walk_objects
from ldm_sep.errors import ConfigError, reason
from ldm_sep.files import as_file_name, shown
from ldm_sep.listing import AUDIO_SUFFIXES, walk_audio
from ldm_sep.records import Record, checked, read_json
from ldm_sep.separation.naming import SIDECAR, STEMS, track_name

STDIN = "-"
_MANIFESTS = (".csv", ".jsonl", ".json")
_COLUMNS = "file, and name if you like"
# Bytes of a line. No path is as long, and a manifest without ends of lines must not fill the memory.
_LONGEST_LINE = 1 << 16
_TOO_LONG = b"\0"
# Folders that a song's name may lie in: further ones would pass the length of a path.
_DEEPEST = 8


class ManifestRow(Record):
    """A song in a manifest: ``file``, a path relative to the manifest or a URI, and ``name``, that of its folder."""

    file: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
    name: Annotated[str, Field(max_length=1000)] = ""


def entries(inputs: Sequence[str], out: Path | None, unreadable: Callable[[str], object]) -> Iterator[Entry]:
    """The songs of ``inputs``, in no particular order; ``unreadable`` is told a line for each place that is.

    An input is an audio file, a folder, a pattern such as ``songs/**/*.flac``, a manifest (``.csv`` or ``.jsonl`` with
    the columns file and name, or a ``.json`` list), ``-`` for lines of stdin, each a path or a row of ``.jsonl``, or a
    URI of any of them but a manifest. Stems in folders that are walked through are no songs, nor is what lies in
    ``out``. A bad row of a manifest is an entry with a ``problem``. ConfigError for an input that is none of these.
    """
    for text in inputs:
        yield from _entries_of(text, out, unreadable)


def check_inputs(inputs: Sequence[str]) -> None:
    """ConfigError for an input that is not there, or a manifest in an object store, before any work."""
    for text in inputs:
        path = None if text == STDIN else local_path(text)
        if text != STDIN and path is None and PurePosixPath(text).suffix.lower() in _MANIFESTS:
            raise ConfigError(f"{shown(text)}: manifests are read from this machine; copy it here and name the copy")
        if path is not None and not path.exists() and not glob.has_magic(text):
            raise ConfigError(f"{shown(text)}: no such file or folder; check the name")


def _entries_of(text: str, out: Path | None, unreadable: Callable[[str], object]) -> Iterator[Entry]:
    path = None if text == STDIN else local_path(text)
    if text == STDIN:
        yield from _of_lines(sys.stdin.buffer, Path(), "stdin", plain=True)
    elif path is None:
        if PurePosixPath(text).suffix.lower() in AUDIO_SUFFIXES and "*" not in text:
            yield _entry(text, "")
        else:
            for uri, name, stamp in walk_objects(text, unreadable):
                yield _entry(uri, str(PurePosixPath(name).with_suffix("")), stamp)
    elif path.is_dir():
        # If the output folder is the folder of the songs, it is walked through all the same.
        inside = None if out is None or out.resolve() == path.resolve() else out
        for found in walk_audio(path, unreadable, without=inside):
            if not _is_stem(found):
                yield _entry(str(found.absolute()), str(found.relative_to(path).parent / track_name(found)))
    elif path.suffix.lower() in _MANIFESTS and path.exists():
        yield from _of_manifest(path)
    elif path.exists():
        yield _entry(str(path.absolute()), track_name(path))
    else:
        for match in glob.iglob(text, recursive=True):  # noqa: PTH207 - a pattern may begin anywhere
            if Path(match).suffix.lower() in AUDIO_SUFFIXES and not _is_stem(Path(match)):
                yield _entry(str(Path(match).absolute()), track_name(Path(match)))


def _is_stem(path: Path) -> bool:
    """Whether a separation wrote it: its sidecar lies beside it."""
    return path.stem in STEMS and (path.parent / SIDECAR).exists()


def _entry(source: str, name: str, stamp: str = "", problem: str = "") -> Entry:
    """An entry whose name is that of folders on every system; that of its file, where ``name`` is none."""
    parts = [part for part in PurePosixPath(name).parts if part.strip("/. ")] or [PurePosixPath(source).stem or "song"]
    return Entry(source, "/".join(as_file_name(part) for part in parts[-_DEEPEST:]), stamp, problem)


def _of_manifest(path: Path) -> Iterator[Entry]:
    try:
        if path.suffix.lower() == ".json":
            rows = read_json(path, ConfigError, "write a list of songs, or a .jsonl with one a line")
            if not isinstance(rows, list):
                raise ConfigError(f"{shown(path)}: is no list of songs; write one, or a .jsonl with a song a line")
            for number, row in enumerate(rows, 1):
                yield _of_row(row, path.parent, f"{path}, row {number}")
            return
        with path.open("rb") as file:
            if path.suffix.lower() == ".csv":
                yield from _of_csv(file, path)
            else:
                yield from _of_lines(file, path.parent, str(path), plain=False)
    except OSError as error:
        raise ConfigError(f"{shown(path)}: cannot be read ({reason(error)}); check the file") from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines without their ends; `_TOO_LONG` stands for one that is too long, a row that nobody can read."""
    while line := file.readline(_LONGEST_LINE):
        whole = line.rstrip(b"\r\n")
        if len(whole) == _LONGEST_LINE:
            whole = _TOO_LONG
            while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
        yield whole


def _of_lines(file: BinaryIO, base: Path, origin: str, *, plain: bool) -> Iterator[Entry]:
    """Rows as JSON, one a line; where ``plain``, lines that are no JSON objects are names of files."""
    for number, line in enumerate(_lines(file), 1):
        place = f"{origin}, line {number}"
        if plain and line.strip() and not line.lstrip().startswith((b"{", _TOO_LONG)):
            # Not through a record: file names need not be valid text.
            yield _of_place(os.fsdecode(line), "", base, place)
        elif line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield _of_row(row, base, place)


def _of_csv(file: BinaryIO, path: Path) -> Iterator[Entry]:
    """A line is a row, so that an unpaired quotation mark spoils one row only."""
    header: list[str] = []
    for number, line in enumerate(_lines(file), 1):
        try:
            if line == _TOO_LONG:
                raise csv.Error
            cells = next(csv.reader([line.decode("utf-8-sig", "backslashreplace")], strict=True), [])
        except csv.Error:
            cells = [""]
        if not header:
            header = [name.strip().lower() for name in cells]
            if "file" not in header:
                break
        elif cells:
            row = dict(zip(header, cells, strict=False))
            yield _of_row(row if len(cells) <= len(header) else None, path.parent, f"{path}, line {number}")
    if "file" not in header:
        raise ConfigError(f"{shown(path)}: its first line names no column 'file'; it may have {_COLUMNS}")


def _of_row(row: Any, base: Path, origin: str) -> Entry:
    """The entry of a row, whose other columns are passed over; one with a problem where it is no row."""
    if isinstance(row, str):
        row = {"file": row}
    if not isinstance(row, dict):
        return _entry(origin, "", problem=f"{shown(origin)}: is no row of a manifest; its columns are {_COLUMNS}")
    try:
        known = {key: row[key] for key in ManifestRow.model_fields if row.get(key) is not None}
        song = checked(ManifestRow, known, origin)
    except ConfigError as error:
        return _entry(origin, "", problem=str(error))
    return _of_place(song.file, song.name, base, origin)


def _of_place(place: str, name: str, base: Path, origin: str) -> Entry:
    try:
        path = local_path(place)
    except ConfigError as error:
        return _entry(origin, "", problem=f"{shown(origin)}: {error}")
    return _entry(place if path is None else str((base / path).absolute()), name)
