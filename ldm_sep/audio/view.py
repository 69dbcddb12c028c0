"""Files as the C libraries of decoders and encoders see them, whose errors would else be lost in there."""

import os
from collections.abc import Callable
from pathlib import Path


class FileView:
    """The bytes ``start`` to ``end`` of a file, read-only; ``patch`` is an offset in it and the bytes shown there.

    Decoders call it from C code, where an exception would be printed and taken for the end of the file. ``error``
    keeps the first one for the caller to raise.
    """

    def __init__(self, path: Path, start: int = 0, end: int | None = None, patch: tuple[int, bytes] = (0, b"")) -> None:
        self._file = path.open("rb")
        self._start = start
        self._size = (os.fstat(self._file.fileno()).st_size if end is None else end) - start
        self._patch = patch
        self._position = 0
        self.error: BaseException | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:
        try:
            self._file.seek(self._start + self._position)
            data = bytearray(self._file.read(max(0, min(count, self._size - self._position))))
        except BaseException as error:
            self.error = self.error or error
            return b""
        offset, patch = self._patch
        for i, byte in enumerate(patch, offset - self._position):
            if 0 <= i < len(data):
                data[i] = byte
        self._position += len(data)
        return bytes(data)

    def close(self) -> None:
        self._file.close()


class FileSink:
    """A new file that keeps the first error of a call from C code, where errors are printed or swallowed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._error: BaseException | None = None

    def write(self, data: bytes) -> int:
        return self._kept(lambda: self._file.write(data))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._kept(lambda: self._file.seek(offset, whence))

    def tell(self) -> int:
        return self._kept(self._file.tell)

    def close(self) -> None:
        """Close the file; raise the first error."""
        self._kept(self._file.close)
        self.raise_error()

    def raise_error(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error

    def _kept(self, act: Callable[[], int | None]) -> int:
        try:
            return act() or 0
        except BaseException as error:
            self._error = self._error or error
            return 0
