"""Where uncompressed samples lie, whatever the header of the file says about their number.

Size fields wrap at 4 GiB, hold placeholders where a program could not come back to them, or miscount. libsndfile, which
reads the rest of the header, quietly follows them: it drops samples behind the declared end and does not tell of
samples that are missing.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
import soundfile as sf

from ldm_sep.audio.info import AudioInfo, Notice, cut_off, no_samples
from ldm_sep.files import native, shown

_MAX_CHUNKS = 10_000
_MAX_TAIL = 65_536
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
_W64_HEADER = "<16sQ"  # whose size counts the header too
# By the first bytes: where the first chunk lies, how a chunk's name and size are packed, and to a multiple of how many
# bytes chunks are padded.
_GRAMMARS = {b"riff": (40, _W64_HEADER, 8), b"caff": (8, ">4sq", 1)}
_GRAMMARS |= dict.fromkeys((b"RIFF", b"RF64"), (12, "<4sI", 2)) | dict.fromkeys((b"RIFX", b"FORM"), (12, ">4sI", 2))
_TYPES = {"PCM_S8": "s8", "PCM_U8": "u8", "PCM_16": "s16", "PCM_24": "s24", "PCM_32": "s32", "FLOAT": "f32"}
_TYPES |= {"DOUBLE": "f64", "ULAW": "mulaw", "ALAW": "alaw"}
_LITTLE = ("WAV", "WAVEX", "RF64", "W64")
# Programs that count the header into the size of the data are off by no more.
_MISCOUNT_BYTES = 64
# Advanced Systems Format: the GUIDs of the header object and of the file properties object in it.
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


class Extent(NamedTuple):
    """Byte offsets of the samples that are there; ``declared``: bytes that the header declares, ``None`` for nothing
    or less than there is.
    """

    start: int
    end: int
    declared: int | None


class _Chunks(NamedTuple):
    """A file of ``size`` bytes and how its chunks follow each other."""

    file: BinaryIO
    size: int
    header: str
    pad: int

    def walk(self, position: int) -> Iterator[tuple[bytes, int, int]]:
        """Name, offset and length of the chunks from ``position`` on."""
        width = struct.calcsize(self.header)
        for _ in range(_MAX_CHUNKS):
            if position + width > self.size:
                return
            self.file.seek(position)
            name, length = struct.unpack(self.header, self.file.read(width))
            length -= width if self.header == _W64_HEADER else 0
            position += width
            yield name, position, length
            if length < 0:
                return
            position += length + -length % self.pad

    def fill(self, end: int) -> bool:
        """Whether chunks, and nothing else, fill the file from ``end`` on."""
        for start in {end, end + -end % self.pad}:
            last = start
            for name, body, length in self.walk(start):
                if not name[:4].isascii() or min(name[:4]) < ord(" ") or not 0 <= length <= self.size - body:
                    break
                last = body + length
            if last > start and self.size - last < 8:
                return True
        return False


def pcm_samples(path: Path, notice: Notice) -> tuple[AudioInfo, Extent, str] | None:
    """What a file says of itself, where its samples lie, and what FFmpeg calls their encoding; ``None`` where they are
    compressed. AudioError if it is cut off.
    """
    extent = sample_extent(path)
    if extent is None:  # libsndfile tries its MP3 decoder on what it does not know, which writes to the terminal
        return None
    try:
        with sf.SoundFile(native(path)) as header:
            rate, channels, form, subtype = header.samplerate, header.channels, header.format, header.subtype
            little = header.endian == "LITTLE" or (header.endian == "FILE" and form in _LITTLE)
    except (sf.SoundFileError, TypeError):  # the last for the suffix .raw
        return None
    if form == "W64" and subtype == "PCM_32":  # libsndfile takes floats behind an extensible header for integers
        with suppress(av.FFmpegError, ValueError, IndexError), av.open(f"file:{path}") as container:
            floats = container.streams.audio[0].codec_context.name == "pcm_f32le"
            subtype = "FLOAT" if floats else subtype
    if subtype not in _TYPES:
        return None
    encoding, there = _TYPES[subtype], extent.end - extent.start
    bits = int(encoding[1:]) if encoding[1:].isdigit() else 8
    encoding += "" if bits == 8 else "le" if little else "be"
    width = channels * bits // 8
    info = AudioInfo(path, rate, channels, there // width, form, subtype)
    if not info.frames:
        raise no_samples(path)
    missing = 0 if extent.declared is None else extent.declared - there
    if missing > _MISCOUNT_BYTES:
        raise cut_off(path, there / width / rate, (there + missing) / width / rate)
    if missing > 0:
        notice(f"{shown(path)}: its header declares {missing} bytes more than there are; all samples are read")
    return info, extent._replace(end=extent.start + info.frames * width), encoding


def sample_extent(path: Path) -> Extent | None:
    """Of the samples of a WAV, RF64, Wave64, AIFF, CAF or AU file, of all that is in an AVI file; else ``None``."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(24)
        if head[:4] in (b".snd", b"dns.") and len(head) == 24:
            start, declared = struct.unpack(">II" if head[:4] == b".snd" else "<II", head[4:12])
            return _extent(_Chunks(file, size, "", 0), start, declared)
        if head.startswith(_ASF):  # its first object has a second one in it, which has the size of the file
            inside = file.read(4096).partition(_ASF_FILE)[2]
            declared = int.from_bytes(inside[24:32], "little")
            return Extent(0, size, declared if declared > size else None)
        if head[:4] not in _GRAMMARS:
            return None
        first, header, pad = _GRAMMARS[head[:4]]
        chunks = _Chunks(file, size, header, pad)
        long_length = 0xFFFFFFFF
        for name, body, length in chunks.walk(first):
            file.seek(body)
            field = file.read(16).ljust(16, b"\0")
            if name == b"ds64":
                long_length = int.from_bytes(field[8:], "little")
            elif name[:4] in (b"data", b"BODY"):
                edits = 4 if head[:4] == b"caff" else 0
                length = long_length if length == 0xFFFFFFFF else length
                return _extent(chunks, body + edits, max(0, length - edits) if length >= 0 else 2**63)
            elif name == b"SSND":
                offset = 8 + int.from_bytes(field[:4], "big")
                return _extent(chunks, body + offset, max(0, length - offset))
            elif name == b"LIST" and field[:4] == b"movi":
                return _extent(chunks, body, length)
    return None


def _extent(chunks: _Chunks, start: int, declared: int) -> Extent:
    file, size = chunks.file, chunks.size
    if start + declared >= size:
        unknown = 0x7FFFEF00 <= declared <= 0x80000000 or 0xFFFFEF00 <= declared <= 0xFFFFFFFF or declared >= 2**62
        return Extent(min(start, size), size, None if unknown or not declared else declared)
    for end in range(start + declared, size, 2**32):  # a 32-bit field may have wrapped
        if chunks.header and chunks.fill(end):
            return Extent(start, end, end - start)
    file.seek(start + declared)
    tail = file.read(_MAX_TAIL + 1)
    if declared and len(tail) <= _MAX_TAIL and (not any(tail) or tail.lstrip(b"\0").startswith(_TAGS)):
        return Extent(start, start + declared, declared)
    return Extent(start, size, None)
