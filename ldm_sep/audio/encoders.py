"""What the bytes of an audio file go through: a file that keeps its errors, and an encoder of WAV."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

_RIFF_LIMIT = 0xFFFFFFFF
_RESERVED = 28  # size of a ds64 chunk without table


class FileSink:
    """A new file that keeps the first error of a call from C code, where errors are printed or swallowed."""

    def __init__(self, path: Path) -> None:
        file = path.open("xb")
        self._error: BaseException | None = None
        self.write, self.seek = self._keeping(file.write), self._keeping(file.seek)
        self.tell, self._close = self._keeping(file.tell), self._keeping(file.close)

    def close(self) -> None:
        """Close the file; raise the first error."""
        self._close()
        self.raise_error()

    def raise_error(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error

    def _keeping(self, act: Callable[..., int | None]) -> Callable[..., int]:
        def kept(*arguments: object) -> int:
            try:
                return act(*arguments) or 0
            except BaseException as error:
                self._error = self._error or error
                return 0

        return kept


class WavEncoder:
    """RIFF/WAVE, or RF64 (EBU Tech 3306) where the finished file is larger than 4 GiB; ``width``: bytes of a sample, 4
    for float.

    libsndfile stamps the time into float WAV files (the PEAK chunk) and cannot turn a WAV file into RF64 when it
    outgrows 4 GiB. Space for the 64-bit sizes is reserved behind the RIFF header in a JUNK chunk that readers skip, and
    ``close`` fills in whichever header the final size needs.
    """

    def __init__(self, sink: FileSink, sample_rate: int, channels: int, width: int) -> None:
        self._sink, self._width, self._block = sink, width, channels * width
        kind, extra = (3, bytes(2)) if width == 4 else (1, b"")  # IEEE float; PCM
        fmt = struct.pack("<HHIIHH", kind, channels, sample_rate, sample_rate * self._block, self._block, 8 * width)
        self._format = _chunk(b"fmt ", fmt + extra)
        self._data = 0
        sink.write(self._header())

    def write(self, samples: np.ndarray) -> None:
        """Append ``(T, C)`` samples: float32, or int32 of which the upper bytes are stored."""
        whole = samples.astype("<f4" if self._width == 4 else "<i4").reshape(-1, 1).view(np.uint8)
        self._sink.write(whole[:, 4 - self._width :].tobytes())
        self._data += samples.size * self._width

    def close(self) -> None:
        """Pad the data to an even size and write the final header. The sink stays open."""
        self._sink.write(bytes(self._data % 2))
        self._sink.seek(0)
        self._sink.write(self._header())

    def _header(self) -> bytes:
        frames, chunks = self._data // self._block, self._format
        if self._width == 4:
            chunks += _chunk(b"fact", struct.pack("<I", min(frames, _RIFF_LIMIT)))
        riff = 4 + 8 + _RESERVED + len(chunks) + 8 + self._data + self._data % 2
        if riff > _RIFF_LIMIT:
            start, size, data = b"RF64", 0xFFFFFFFF, 0xFFFFFFFF
            reserved = _chunk(b"ds64", struct.pack("<QQQI", riff, self._data, frames, 0))
        else:
            start, size, data, reserved = b"RIFF", riff, self._data, _chunk(b"JUNK", bytes(_RESERVED))
        return start + struct.pack("<I", size) + b"WAVE" + reserved + chunks + b"data" + struct.pack("<I", data)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body
