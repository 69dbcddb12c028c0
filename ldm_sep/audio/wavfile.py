"""A WAV file written sample by sample, byte for byte the same for the same samples.

libsndfile stamps the time into float WAV files (the PEAK chunk) and cannot turn a WAV file into RF64 when
it outgrows 4 GiB, so the container is written here.
"""

import struct
from typing import Literal, Protocol

import numpy as np

WavSubtype = Literal["float", "int24", "int16"]


class Sink(Protocol):
    """What a WAV file is written to."""

    def write(self, data: bytes) -> int: ...

    def seek(self, offset: int) -> int: ...


_RIFF_LIMIT = 0xFFFFFFFF
_RESERVED = 28  # size of a ds64 chunk without table
_PCM, _IEEE_FLOAT = 1, 3
_BYTES = {"float": 4, "int24": 3, "int16": 2}


class WavWriter:
    """RIFF/WAVE, or RF64 (EBU Tech 3306) where the finished file is larger than 4 GiB.

    Space for the 64-bit sizes is reserved behind the RIFF header in a JUNK chunk that readers skip, and
    ``finish`` fills in whichever header the final size needs.

    Args:
        file: an empty file, open for binary writing and seekable.
        sample_rate: in Hz.
        channels: number of audio channels C.
        subtype: sample encoding.
    """

    def __init__(self, file: Sink, sample_rate: int, channels: int, subtype: WavSubtype) -> None:
        self._file = file
        self._sample_rate = sample_rate
        self._channels = channels
        self._subtype = subtype
        self._block = channels * _BYTES[subtype]
        self._data = 0
        file.write(self._header())

    def write(self, samples: np.ndarray) -> None:
        """Append ``(T, C)`` samples: float32 for ``"float"``, else integers in the range of the subtype."""
        if self._subtype == "float":
            data = samples.astype("<f4").tobytes()
        elif self._subtype == "int16":
            data = samples.astype("<i2").tobytes()
        else:
            data = samples.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
        self._file.write(data)
        self._data += len(data)

    def finish(self) -> None:
        """Pad the data to an even size and write the final header. The file stays open."""
        self._file.write(bytes(self._data % 2))
        self._file.seek(0)
        self._file.write(self._header())

    def _header(self) -> bytes:
        frames = self._data // self._block
        floating = self._subtype == "float"
        fmt = struct.pack(
            "<HHIIHH",
            _IEEE_FLOAT if floating else _PCM,
            self._channels,
            self._sample_rate,
            self._sample_rate * self._block,
            self._block,
            8 * _BYTES[self._subtype],
        )
        chunks = _chunk(b"fmt ", fmt + bytes(2) if floating else fmt)
        if floating:
            chunks += _chunk(b"fact", struct.pack("<I", min(frames, _RIFF_LIMIT)))
        chunks += b"data"
        riff = 4 + 8 + _RESERVED + len(chunks) + 4 + self._data + self._data % 2
        if riff > _RIFF_LIMIT:
            sizes = struct.pack("<QQQI", riff, self._data, frames, 0)
            start, size, reserved = b"RF64", 0xFFFFFFFF, _chunk(b"ds64", sizes)
            chunks += struct.pack("<I", 0xFFFFFFFF)
        else:
            start, size, reserved = b"RIFF", riff, _chunk(b"JUNK", bytes(_RESERVED))
            chunks += struct.pack("<I", self._data)
        return start + struct.pack("<I", size) + b"WAVE" + reserved + chunks


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body
