"""The journal of a catalogue: a line for each song as soon as it is finished, which nothing takes away again.

Each shard appends to a file of its own, `songs.jsonl` or `songs.2-of-8.jsonl`, and all of them tell what is done. A
line is on the disk before its song is counted. What a kill leaves of a last line is dropped, and its song found again
by its stems. In memory are eight bytes a song and where its line begins.
"""

import errno
import json
import os
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from ldm_sep.catalogue.rows import Entry, Row, identity
from ldm_sep.errors import ConfigError, reason
from ldm_sep.files import locked, make_folder, replacing, shown

# No line that was written here is longer.
_LONGEST = 1 << 20
# Bits of a place that hold the file's number; the bits above are the line's position in it.
_FILES = 16


@dataclass(frozen=True)
class Shard:
    """The part ``number``, from 1 on, of ``count``: which songs are in it is decided by their names alone."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """``2/8``. ConfigError for anything else."""
        number, _, count = text.partition("/")
        if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) < 2**_FILES:
            return cls(int(number), int(count))
        raise ConfigError(f"--shard {text}: write i/n with i from 1 to n, as in --shard 2/8")

    def has(self, entry: Entry) -> bool:
        """Whether ``entry`` belongs to this part."""
        return int(identity(entry.name, ""), 16) % self.count == self.number - 1

    @property
    def suffix(self) -> str:
        """Of this part's files."""
        return f".{self.number}-of-{self.count}.jsonl" if self.count > 1 else ".jsonl"


class Journal:
    """The lines of ``folder``, and the file of ``shard`` to append to. A context manager.

    ConfigError if the folder cannot be written, or another process works on the same shard of it.
    """

    def __init__(self, folder: Path, shard: Shard) -> None:
        self._path = folder / f"songs{shard.suffix}"
        self._failed = folder / f"failed{shard.suffix}"
        self._at: dict[int, int] = {}
        self._files: list[BinaryIO] = []
        self._end = 0
        self._stack = ExitStack()
        # Songs are looked up in the threads that take attempts.
        self._reading = threading.Lock()

    def __enter__(self) -> "Journal":
        make_folder(self._path.parent)
        try:
            with self._stack as stack:
                # Unbuffered, so that what the disk does not take is known at once.
                self._own = stack.enter_context(self._path.open("ab", buffering=0))
                stack.enter_context(locked(self._path))
                # Its own file is read last: of two lines for one song the later counts.
                others = [path for path in self._path.parent.glob("songs*.jsonl") if path != self._path]
                for path in [*sorted(others), self._path]:
                    self._end = self._index(stack.enter_context(path.open("rb")))
                self._own.truncate(self._end)
                self._stack = stack.pop_all()
        except OSError as error:
            raise self._refused(error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()

    def _index(self, file: BinaryIO) -> int:
        """Take in the lines of a file; returns where the last whole one ends."""
        number, place, end = len(self._files), 0, 0
        self._files.append(file)
        while line := file.readline(_LONGEST):
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                self._at[int(json.loads(line)["id"], 16)] = place << _FILES | number
            place += len(line)
            end = place if line.endswith(b"\n") else end
        return end

    def find(self, id: str) -> Row | None:
        """The last line of the song with this `identity`; None where there is none that can be read."""
        place = self._at.get(int(id, 16))
        if place is None:
            return None
        with self._reading:
            file = self._files[place % (1 << _FILES)]
            file.seek(place >> _FILES)
            line = file.readline(_LONGEST)
        try:
            return Row.model_validate_json(line)
        except ValidationError:
            return None

    def append(self, row: Row) -> None:
        """Write a line, and wait until it is on the disk. ConfigError, and no half of it, if that cannot be done."""
        line = row.model_dump_json().encode() + b"\n"
        try:
            if self._own.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._own.fileno())
        except OSError as error:
            with suppress(OSError):
                self._own.truncate(self._end)
            raise self._refused(error) from None
        self._at[int(row.id, 16)] = self._end << _FILES | len(self._files) - 1
        self._end += len(line)

    def write_failed(self, ids: Iterable[str]) -> Path | None:
        """A manifest of the songs with these ``ids``, with the reason of each; None, and no such file, for no song.

        ConfigError if it cannot be written.
        """
        rows = (row for id in ids if (row := self.find(id)) is not None)
        first = next(rows, None)
        try:
            if first is None:
                self._failed.unlink(missing_ok=True)
                return None
            with replacing(self._failed) as temporary, temporary.open("w", encoding="utf-8") as file:
                for row in chain([first], rows):
                    file.write(json.dumps({"file": row.source, "name": row.name, "error": row.error}) + "\n")
        except OSError as error:
            raise self._refused(error) from None
        return self._failed

    def _refused(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"{shown(self._path.parent)}: the journal cannot be written ({reason(error)}); make room or mend the "
            "permissions, and run it again: nothing that is done is lost"
        )
