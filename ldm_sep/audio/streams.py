"""What FFmpeg does not tell of Ogg and MP3 files: where their streams begin and end, and what is missing of them.

It gives the length of a chained Ogg file (RFC 3533) as that of its last link, and passes over missing pages. Of an MP3
file it believes the length tag (Xing or Info, in the frame before the first one with sound): it cuts the encoder's
padding off where the tag says that the stream ends, be that in its middle, and does not tell of missing frames.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av

_CAPTURE = b"OggS\0"
_LARGEST_PAGE = 65_307
_BEGINS, _ENDS = 2, 4
_SOUND = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"fLaC", b"Speex   ")
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_SMALLEST_FRAME, _LARGEST_FRAME = 24, 2881
# Samples by which every decoder is late: the encoder's field for its own delay does not count them.
_DECODER_DELAY = 529
_ENCODERS = (b"LAME", b"Lavf", b"Lavc")


@dataclass
class Link:
    """Byte offsets of a part of a file that is decoded as a file of its own, such as a link of a chained Ogg file; of
    that, whether the sound's end-of-stream page is there (``ended``), and all pages before it (``whole``).
    """

    start: int = 0
    end: int = 0  # 0 for that of the file
    ended: bool = False
    whole: bool = True


def ogg_links(path: Path) -> list[Link]:
    """The links of an Ogg file, the first from its first byte on; at least one."""
    size = path.stat().st_size
    links = [Link(0, size)]
    beginning = True
    serial = last = None  # number of the sound's stream, and of its last page
    for at, page in _pages(path):
        flags, stream, number = struct.unpack_from("<5xB8xII", page)
        if flags & _BEGINS and not beginning:
            links[-1].end = at
            links.append(Link(at, size))
            serial = None
        beginning = bool(flags & _BEGINS)
        if beginning and (serial is None or page.startswith(_SOUND, 27 + page[26])):
            serial, last = stream, number - 1
        if stream == serial:
            links[-1].whole &= number - 1 == last
            links[-1].ended = bool(flags & _ENDS)
            last = number
    return links


def _pages(path: Path) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of the pages of an Ogg file whose checksums are right."""
    at = 0
    with path.open("rb") as file:
        while file.seek(at) == at and len(data := file.read(_LARGEST_PAGE)) >= 27:
            size = 27 + data[26] + sum(data[27 : 27 + data[26]])
            if data.startswith(_CAPTURE) and _checksum(data[:size]) == int.from_bytes(data[22:26], "little"):
                yield at, data[:size]
                at += size
            else:
                junk = data.find(_CAPTURE, 1)
                at += junk if junk > 0 else len(data) - len(_CAPTURE) + 1


def _checksum(page: bytes) -> int:
    """CRC-32 with the highest bit first, over the page without its checksum: zlib's of the bits in reverse."""
    crc = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


class Mp3Frames(NamedTuple):
    """``packets`` of ``samples`` each from the byte ``start`` on, behind the tag; whether there is ``junk`` between or
    behind them.

    From the tag: packets ``declared``, 0 without one; samples that are ``missing`` at the end, where it declares
    more packets and more bytes than there are; samples of ``delay`` before the sound and of ``padding`` behind it.
    """

    start: int
    packets: int
    samples: int
    junk: bool
    declared: int = 0
    missing: int = 0
    delay: int = 0
    padding: int = 0


def mp3_frames(path: Path, container: av.container.InputContainer) -> Mp3Frames:
    """Count the frames of the open MP3 file, to its end, without decoding them."""
    start = packets = last = duration = 0
    junk = False
    stream = container.streams.audio[0]
    with suppress(av.FFmpegError):  # what follows cannot be decoded either
        for number, packet in enumerate(container.demux(stream), 1):
            data = memoryview(packet)
            # Others are junk between frames.
            if packet.size >= _SMALLEST_FRAME and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
                start = start if packets else packet.pos or 0
                duration = max(duration, packet.duration or 0)
                packets, last = packets + 1, number
            junk |= packet.size > 0 and (last < number or packet.size > _LARGEST_FRAME)
    each = round(duration * (stream.time_base or 0) * stream.codec_context.sample_rate)
    there = Mp3Frames(start, packets, each, junk)
    with path.open("rb") as file:
        base = max(0, start - _LARGEST_FRAME)
        file.seek(base)
        head = file.read(start - base)
        at = max(head.rfind(b"Xing"), head.rfind(b"Info"))
        behind = file.seek(0, 2) - base - at
    flags, declared, size = (int.from_bytes(head[i : i + 4], "big") for i in range(at + 4, at + 16, 4))
    if at < 0 or not flags & 1:
        return there
    short = declared > packets and (not flags & 2 or size > behind + 64)
    there = there._replace(declared=declared, missing=(declared - packets) * each if short else 0)
    encoder = at + 8 + sum(width for bit, width in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
    gaps = int.from_bytes(head[encoder + 21 : encoder + 24], "big")
    if not gaps or not head.startswith(_ENCODERS, encoder):
        return there
    return there._replace(delay=(gaps >> 12) + _DECODER_DELAY, padding=max(0, (gaps & 0xFFF) - _DECODER_DELAY))
