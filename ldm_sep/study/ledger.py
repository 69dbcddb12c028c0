"""Answers on their way to the disk: whole pages, flushed, before anybody is told that they are saved."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from ldm_sep.errors import StudyError, reason, unwritable
from ldm_sep.files import sync
from ldm_sep.study.answers import counted, load_lines
from ldm_sep.study.records import LINE, Answer, Milestone


class SaveError(Exception):
    """What was to be recorded is not on the disk; the file is as it was before."""


class Ledger:
    """The answer file of one listener, open for appending. ``page_of``: the number of the page that each stimulus is
    on, and how many answers that page has.

    What a killed server leaves behind is dealt with on opening: a torn last line, and the lines of a page that was not
    written as a whole, are moved to ``<number>.aside.txt``; nobody was told that they were saved, and the page comes
    again. ``notes`` says so, and names damaged lines, which stay where they are. Not for several threads at once.

    StudyError if the file cannot be opened.
    """

    def __init__(self, path: Path, page_of: Mapping[str, tuple[int, int]]) -> None:
        self.notes: list[str] = []
        self._path = path
        with unwritable(StudyError, path, "free space on its disk"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            sync(path.parent)
            self._size = os.fstat(self._descriptor).st_size
            self._set_aside(page_of)
        lines, notes = load_lines(path)
        self.notes += notes
        self.lines, _ = counted(lines)

    def append(self, lines: Sequence[Answer | Milestone]) -> None:
        """Write ``lines`` and wait until the disk has them. SaveError if it does not; nothing of them is left then."""
        # ASCII, since some readers take the line separators of Unicode for the end of a line.
        data = b"".join(json.dumps(line.model_dump(mode="json")).encode("ascii") + b"\n" for line in lines)
        left = data
        try:
            # Where an earlier failure could not be undone, it is undone now.
            os.ftruncate(self._descriptor, self._size)
            # A full disk may take a part before it refuses.
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError as error:
            # If this fails too, the next `append` tries again; so does the next server, for which it is a torn page.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise SaveError(reason(error)) from None
        self._size += len(data)
        self.lines, _ = counted([*self.lines, *lines])

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _set_aside(self, page_of: Mapping[str, tuple[int, int]]) -> None:
        data = self._path.read_bytes()
        *rows, torn = data.split(b"\n")
        count = _unfinished(rows, page_of)
        if not torn and not count:
            return
        kept = b"".join(row + b"\n" for row in rows[: len(rows) - count])
        aside = self._path.with_suffix(".aside.txt")
        with aside.open("ab") as file:
            file.write(data[len(kept) :] + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.ftruncate(self._descriptor, len(kept))
        os.fsync(self._descriptor)
        self._size = len(kept)
        self.notes.append(f"{self._path}: its last page was torn in mid-writing; set aside in {aside}, it comes again")


def _unfinished(rows: Sequence[bytes], page_of: Mapping[str, tuple[int, int]]) -> int:
    """How many of the last rows are answers to one page, and fewer than it has."""
    page = wanted = count = 0
    for row in reversed(rows):
        try:
            line = LINE.validate_json(row)
        except ValidationError:
            break
        if not isinstance(line, Answer):
            break
        # An answer to no page of this study has no others that belong to it.
        this, size = page_of.get(line.stimulus, (-1, 1))
        if count and this != page:
            break
        page, wanted, count = this, size, count + 1
    return count if count < wanted else 0
