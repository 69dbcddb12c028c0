"""How long an MP3 file is: from its length tag, or by walking along its frames.

Without a length tag libsndfile stops at an estimate from the first frame's bit rate and the file size. With
a variable bit rate that can lie well before the end of the music, so such a file needs its frames counted.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ldm_sep.audio.headers import DataSize

_SEARCH = 65_536  # bytes to search for a frame, as far as the decoder does at the start of a file
_SIDE_INFO = (32, 17, 9)  # bytes between the frame header and the tag: by MPEG version and channel mode
_BIT_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # kbit/s, ISO 11172-3
_BIT_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # kbit/s, ISO 13818-3
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # Hz, by version


@dataclass(frozen=True)
class LengthTag:
    """The Xing or Info tag in the first frame.

    ``frames`` counts MPEG frames. ``data`` holds the sizes, ``None`` where the tag leaves them out.
    ``continues``: more MPEG frames follow where the tag says that the stream ends.
    """

    frames: int
    data: DataSize | None
    continues: bool


@dataclass(frozen=True)
class FrameWalk:
    """The complete frames of a file: ``samples`` per channel in them, and the offset where they end."""

    samples: int
    end: int


def length_tag(path: Path) -> LengthTag | None:
    """What the length tag of an MP3 file declares; ``None`` without a tag or with one that says nothing."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = _after_id3(file, 0)
        head = _read_at(file, start, _SEARCH)
        found = _find_tag(head)
        if found is None:
            return None
        frame, tag = found
        fields = head[tag + 4 : tag + 16]
        flags, *values = struct.unpack(">III", fields) if len(fields) == 12 else (0,)
        frames = values.pop(0) if flags & 1 else 0
        stream = values[0] if flags & 2 else 0
        if not frames or not stream:
            return LengthTag(frames, None, False) if frames else None
        data = DataSize(stream, size - start - frame)
        after = _read_at(file, _after_id3(file, start + frame + stream), 4)
        return LengthTag(frames, data, _same_stream(head[frame : frame + 4], after))


def walk_frames(path: Path) -> FrameWalk | None:
    """Count the complete Layer III frames of a file, across damage; ``None`` if none are found."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        position = _find_frame(file, _after_id3(file, 0), None)
        if position is None:
            return None
        first = _read_at(file, position, 4)
        samples, end = 0, position
        while True:
            header = _read_at(file, position, 4)
            if _same_stream(first, header) and (length := _frame_size(header)):
                if position + length > size:
                    break
                position += length
                end = position
                samples += _samples_per_frame(header)
            else:
                found = _find_frame(file, _after_id3(file, position), first)
                if found is None:
                    break
                position = found
    return FrameWalk(samples, end) if samples else None


def _read_at(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _after_id3(file: BinaryIO, position: int) -> int:
    """Position behind the ID3v2 tags that begin at ``position``."""
    while True:
        head = _read_at(file, position, 10)
        if len(head) < 10 or head[:3] != b"ID3":
            return position
        # Seven bits a byte, so that no size looks like a frame header.
        body = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
        position += 10 + body + (10 if head[5] & 0x10 else 0)


def _is_layer3(header: bytes) -> bool:
    return len(header) == 4 and header[0] == 0xFF and header[1] & 0xE6 == 0xE2


def _same_stream(first: bytes, second: bytes) -> bool:
    """Whether two frame headers share MPEG version, layer and sample rate."""
    same_rate = _is_layer3(second) and first[2] & 0x0C == second[2] & 0x0C
    return same_rate and first[1] & 0xFE == second[1] & 0xFE


def _frame_size(header: bytes) -> int:
    """Bytes in a Layer III frame; 0 for a header that is not valid or leaves the bit rate open."""
    version, bit_rate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version not in _RATES or bit_rate == 15 or rate == 3:
        return 0
    kbits = (_BIT_RATES_1 if version == 3 else _BIT_RATES_2)[bit_rate]
    bytes_at_unit_rate = _samples_per_frame(header) // 8 * 1000 * kbits
    return bytes_at_unit_rate // _RATES[version][rate] + (header[2] >> 1 & 1) if kbits else 0


def _samples_per_frame(header: bytes) -> int:
    return 1152 if header[1] >> 3 & 3 == 3 else 576


def _find_frame(file: BinaryIO, start: int, like: bytes | None) -> int | None:
    """Offset of the first frame from ``start`` on that another of its kind, or the end, follows."""
    data = _read_at(file, start, _SEARCH)
    at = data.find(b"\xff")
    while at >= 0:
        header = data[at : at + 4]
        if _is_layer3(header) and (like is None or _same_stream(like, header)) and (size := _frame_size(header)):
            after = _read_at(file, start + at + size, 4)
            if _same_stream(header, after) or not after:
                return start + at
        at = data.find(b"\xff", at + 1)
    return None


def _find_tag(head: bytes) -> tuple[int, int] | None:
    """Offsets of the frame that carries the length tag, and of the tag."""
    for name in (b"Xing", b"Info"):
        tag = head.find(name)
        while tag >= 0:
            for side_info in _SIDE_INFO:
                frame = tag - 4 - side_info
                if frame >= 0 and _is_layer3(head[frame : frame + 4]):
                    return frame, tag
            tag = head.find(name, tag + 1)
    return None
