"""A file as libsndfile should see it, where its own look would mislead libsndfile about its length."""

import os
from pathlib import Path

_ID3V1 = 128


class FileView:
    """A read-only file object: the first ``end`` bytes of a file, with some bytes replaced.

    It may claim to be longer than it is. Reading then stops at ``end`` all the same, except that the last
    128 claimed bytes read as zeros, because the MP3 decoder looks there for an ID3v1 tag.

    Args:
        path: the file.
        end: number of bytes to show.
        claimed: the size that seeking to the end shows, at least ``end``.
        patch: an offset and the bytes to show from there.
    """

    def __init__(self, path: Path, end: int, claimed: int, patch: tuple[int, bytes] = (0, b"")) -> None:
        self._file = path.open("rb")
        self._end = end
        self._claimed = claimed
        self._patch = patch
        self._position = 0
        self.error: BaseException | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._claimed}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:
        # The caller is C code: an exception that leaves this method would be printed and taken for the end
        # of the file. It is kept for the reader to raise.
        try:
            data = self._bytes(count)
        except BaseException as error:
            self.error = error
            return b""
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()

    def _bytes(self, count: int) -> bytes:
        position = self._position
        if position >= max(self._end, self._claimed - _ID3V1):
            return bytes(max(0, min(count, self._claimed - position)))
        self._file.seek(position)
        data = self._file.read(max(0, min(count, self._end - position)))
        offset, patch = self._patch
        if position < offset + len(patch) and offset < position + len(data):
            shown = bytearray(data)
            for i, byte in enumerate(patch, offset - position):
                if 0 <= i < len(shown):
                    shown[i] = byte
            return bytes(shown)
        return data
