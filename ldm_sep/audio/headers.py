"""What WAV and AIFF headers declare, read straight from the file.

libsndfile hides it: it quietly lowers the length of a cut-off file to what is there.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAX_CHUNKS = 10_000
_TEXT_LIKE_AUDIO = (b"NIST_", b"PVF")


@dataclass(frozen=True)
class DataSize:
    """Bytes of audio that a header declares and that the file holds."""

    declared: int
    available: int


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8 text, and not the text header of an audio format."""
    if head.startswith(_TEXT_LIKE_AUDIO):
        return False
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character cut by the end of `head` is still text
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(c.isprintable() or c in "\t\n\r\f\v" for c in text)


def pcm_data_size(path: Path) -> DataSize | None:
    """Size of the sample data of a WAV, RF64 or AIFF file, or ``None`` where no header declares one.

    Tools that write to a pipe leave 0 or a number near 2^31 or 2^32 in the size field because they cannot
    come back to it; such a placeholder declares nothing.
    """
    with path.open("rb") as file:
        chunk = _find_data(file)
        if chunk is None:
            return None
        available = os.fstat(file.fileno()).st_size - chunk.body
        declared = chunk.length if chunk.long_length is None else chunk.long_length
        return None if _is_placeholder(declared) else DataSize(declared, available)


def unfinished_wav(path: Path) -> tuple[int, bytes] | None:
    """Offset of a size field that says 0 although samples follow, and what it should say.

    Such is a WAV or RF64 file that was never closed, or was written to a pipe. ``None`` for a file that
    holds no samples, with or without other chunks behind the empty one.
    """
    with path.open("rb") as file:
        chunk = _find_data(file)
        size = os.fstat(file.fileno()).st_size
        if chunk is None or (chunk.length if chunk.long_length is None else chunk.long_length):
            return None
        if chunk.long_length is not None:
            return chunk.long_field, struct.pack("<Q", size - chunk.body)
        position = chunk.body
        while position + 8 <= size:
            file.seek(position)
            name, length = struct.unpack("<4sI", file.read(8))
            position += 8 + length + length % 2
            if not (name.isascii() and name.decode("ascii").isprintable()) or position > size + 1:
                return chunk.body - 4, b"\xff" * 4  # libsndfile takes it for "up to the end of the file"
    return None


@dataclass(frozen=True)
class _DataChunk:
    body: int
    length: int
    long_length: int | None
    long_field: int


def _find_data(file: BinaryIO) -> _DataChunk | None:
    """The chunk with the samples, with its 64-bit length where an RF64 header gives one."""
    head = file.read(12)
    order = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}.get(head[:4])
    if order is None or len(head) < 12:
        return None
    long_length, long_field = None, 0
    for _ in range(_MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return None
        name, length = struct.unpack(f"{order}4sI", header)
        body = file.tell()
        if name in (b"data", b"SSND"):
            return _DataChunk(body, length, long_length if length == 0xFFFFFFFF else None, long_field)
        if name == b"ds64":
            long_field = body + 8
            fields = file.read(24)
            long_length = struct.unpack("<QQQ", fields)[1] if len(fields) == 24 else None
        file.seek(body + length + length % 2)
    return None


def _is_placeholder(length: int) -> bool:
    near_2_32 = 0xFFFFF000 <= length <= 0xFFFFFFFF
    return length == 0 or 0x7FFFF000 <= length <= 0x80000000 or near_2_32 or length >= 2**63
