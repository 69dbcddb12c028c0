"""Where the samples of an uncompressed audio file lie, whatever its header says about their number.

Size fields wrap at 4 GiB, hold placeholders where a program could not come back to them, or miscount. libsndfile
quietly follows them: it drops samples behind the declared end and does not tell of samples that are missing.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAX_CHUNKS = 10_000
_MAX_TAIL = 65_536
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")


@dataclass(frozen=True)
class Extent:
    """Byte offsets of the samples that are there; ``declared``: bytes that the header declares, ``None`` for nothing
    or less than there is.
    """

    start: int
    end: int
    declared: int | None


@dataclass(frozen=True)
class _Grammar:
    """How chunks follow each other: ``first`` is the offset of the first one; sizes are padded to a multiple of
    ``pad`` and may count the chunk's own header.
    """

    first: int
    size: str
    name: int = 4
    pad: int = 2
    counts_header: bool = False


_GRAMMARS = {
    b"RIFF": _Grammar(12, "<I"),
    b"RF64": _Grammar(12, "<I"),
    b"RIFX": _Grammar(12, ">I"),
    b"FORM": _Grammar(12, ">I"),
    b"riff": _Grammar(40, "<Q", name=16, pad=8, counts_header=True),
    b"caff": _Grammar(8, ">q", pad=1),
}


def sample_extent(path: Path) -> Extent | None:
    """Extent of the samples of a WAV, RF64, Wave64, AIFF, CAF or AU file; ``None`` for other files."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(24)
        if head[:4] in (b".snd", b"dns.") and len(head) == 24:
            order = ">" if head[:4] == b".snd" else "<"
            start, declared = struct.unpack(f"{order}II", head[4:12])
            return _extent(file, None, start, declared, size)
        grammar = _GRAMMARS.get(head[:4])
        if grammar is None:
            return None
        long_length = None
        for name, body, length in _chunks(file, grammar, grammar.first):
            if name == b"ds64":
                file.seek(body + 8)
                long_length = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
            elif name[:4] == b"data":
                edits = 4 if head[:4] == b"caff" else 0
                if length == 0xFFFFFFFF and long_length is not None:
                    length = long_length
                return _extent(file, grammar, body + edits, max(0, length - edits) if length >= 0 else 2**63, size)
            elif name == b"SSND":
                file.seek(body)
                offset = struct.unpack(">I", file.read(4).ljust(4, b"\0"))[0]
                return _extent(file, grammar, body + 8 + offset, max(0, length - 8 - offset), size)
    return None


def _extent(file: BinaryIO, grammar: _Grammar | None, start: int, declared: int, size: int) -> Extent:
    if start + declared >= size:
        unknown = 0x7FFFEF00 <= declared <= 0x80000000 or 0xFFFFEF00 <= declared <= 0xFFFFFFFF or declared >= 2**62
        return Extent(min(start, size), size, None if unknown or not declared else declared)
    for end in range(start + declared, size, 2**32):  # a 32-bit field may have wrapped
        if grammar is not None and _only_chunks(file, grammar, end, size):
            return Extent(start, end, end - start)
    file.seek(start + declared)
    tail = file.read(_MAX_TAIL + 1)
    if declared and len(tail) <= _MAX_TAIL and (not any(tail) or tail.lstrip(b"\0").startswith(_TAGS)):
        return Extent(start, start + declared, declared)
    return Extent(start, size, None)


def _chunks(file: BinaryIO, grammar: _Grammar, position: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and length of the chunks from ``position`` on."""
    field = struct.calcsize(grammar.size)
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        header = file.read(grammar.name + field)
        if len(header) < grammar.name + field:
            return
        length = struct.unpack(grammar.size, header[grammar.name :])[0]
        length -= len(header) if grammar.counts_header else 0
        yield header[: grammar.name], position + len(header), length
        if not 0 <= length < 2**62:
            return
        position += len(header) + length + -length % grammar.pad


def _only_chunks(file: BinaryIO, grammar: _Grammar, end: int, size: int) -> bool:
    """Whether chunks, and nothing else, fill the file from the samples' ``end`` on."""
    for start in {end, end + (end % 2 if grammar.pad == 2 else 0)}:
        last = start
        for name, body, length in _chunks(file, grammar, start):
            if not (name[:4].isascii() and name[:4].decode("ascii").isprintable()) or not 0 <= body + length <= size:
                break
            last = body + length
        if last > start and size - last < 8:
            return True
    return False
