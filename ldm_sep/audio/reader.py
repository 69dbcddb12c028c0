"""Reading audio files block by block, in constant memory."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile as sf

from ldm_sep.audio.opening import LOSSY, AudioInfo, cut_off, no_samples, open_audio
from ldm_sep.errors import AudioError
from ldm_sep.files import reason, shown

__all__ = ["AudioInfo", "AudioReader", "probe", "read"]

_CHUNK = 16_384  # frames per decoder call, whatever the caller's block size
# A length tag may be off by a codec frame or two; a cut-off file lacks more than this.
_LOSSY_TOLERANCE_SECONDS = 0.1


class AudioReader:
    """An open audio file that is decoded from front to end in blocks. A context manager.

    The decoder is always asked for the same number of frames and never told to seek between two calls, so
    that the samples do not depend on the caller's block size (MP3 decoders resume inexactly after a seek),
    and nothing is allocated because a header asks for it.

    Args:
        path: an audio file.

    Attributes:
        info: what the header says.

    Raises:
        AudioError: the file is missing, not a regular file, empty, not audio, in a format that cannot be
            read, cut off (where that shows without decoding), or declares a sample rate outside 1 to
            768 kHz or more than 64 channels.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._open = open_audio(self._path)
        self.info = self._open.info
        # soundfile seeks to the current position after every read of a seekable file. In an MP3 file with
        # a variable bit rate that seek changes the samples that follow.
        self._open.file.seekable = lambda: False  # type: ignore[method-assign]
        self._decoded = 0
        self._position = 0
        self._pending = np.empty((self.info.channels, 0), np.float32)

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A closed reader cannot be used again."""
        self._open.close()

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """Yield the samples from the current position to the end, float32 ``(C, T)`` with ``T <= frames``.

        Every block but the last holds exactly ``frames`` samples per channel. Integer samples are scaled
        by a power of two to [-1, 1).

        Raises:
            AudioError: the file ends before the length that it declares (lossy formats: by more than
                0.1 s), is damaged, holds no samples at all, or holds a sample that is not finite.
            ValueError: ``frames`` is less than 1.
        """
        if frames < 1:
            raise ValueError(f"frames must be at least 1, not {frames}")
        while (block := self.take(frames)).shape[1]:
            yield block

    def take(self, frames: int) -> np.ndarray:
        """The next ``frames`` samples, float32 ``(C, T)``; fewer at the end of the file, then none.

        Raises:
            AudioError: as ``blocks`` does.
        """
        pieces: list[np.ndarray] = []
        taken = 0
        while taken < frames and self._refill():
            piece = self._pending[:, : frames - taken]
            self._pending = self._pending[:, piece.shape[1] :]
            pieces.append(piece)
            taken += piece.shape[1]
        block = np.concatenate(pieces, axis=1) if pieces else self._pending[:, :0]
        finite = np.isfinite(block)
        if not finite.all():
            seconds = (self._position + int(np.argmin(finite.all(axis=0)))) / self.info.sample_rate
            raise AudioError(
                f"{shown(self._path)}: the sample at {seconds:.6f} s is not a finite number; "
                "export the file again from its source"
            )
        self._position += taken
        return block

    def skip(self, frames: int) -> None:
        """Move forward by ``frames`` samples, exactly, by a seek where the encoding makes that exact.

        Raises:
            AudioError: the file ends before that.
            ValueError: ``frames`` is negative.
        """
        if frames < 0:
            raise ValueError(f"frames must not be negative, not {frames}")
        target = self._position + frames
        declared = self.info.frames
        if frames > self._pending.shape[1] and declared is not None and self.info.format not in LOSSY:
            if target > declared:
                raise AudioError(self._ends_before(target, declared))
            try:
                self._open.file.seek(target)
            except sf.SoundFileError as error:
                raise AudioError(self._cut_off()) from error
            self._decoded = self._position = target
            self._pending = self._pending[:, :0]
        while self._position < target:
            if not self._refill():
                raise AudioError(self._ends_before(target, self._position))
            dropped = min(target - self._position, self._pending.shape[1])
            self._pending = self._pending[:, dropped:]
            self._position += dropped

    def _refill(self) -> bool:
        """Have at least one decoded sample pending; ``False`` at the end of a complete file."""
        if not self._pending.shape[1]:
            self._pending = self._decode()
        return self._pending.shape[1] > 0

    def _decode(self) -> np.ndarray:
        source = self._open.source
        failure: sf.SoundFileError | None = None
        data = np.empty((0, self.info.channels), np.float32)
        try:
            data = self._open.file.read(_CHUNK, dtype="float32", always_2d=True)
        except sf.SoundFileError as error:
            failure = error
        if source is not None and source.error is not None:
            if isinstance(source.error, OSError):
                said = reason(source.error)
                raise AudioError(f"{shown(self._path)}: cannot be read ({said}); check the disk") from source.error
            raise source.error
        if failure is not None:
            raise AudioError(self._cut_off()) from failure
        if not len(data):
            self._check_end()
        self._decoded += len(data)
        return np.ascontiguousarray(data.T)

    def _check_end(self) -> None:
        if not self._decoded:
            raise AudioError(no_samples(self._path))
        lossy = self.info.format in LOSSY
        tolerance = int(_LOSSY_TOLERANCE_SECONDS * self.info.sample_rate) if lossy else 0
        if self.info.frames is not None and self._decoded < self.info.frames - tolerance:
            raise AudioError(self._cut_off())

    def _cut_off(self) -> str:
        rate = self.info.sample_rate
        total = None if self.info.frames is None else self.info.frames / rate
        return cut_off(self._path, self._decoded / rate, total)

    def _ends_before(self, target: int, end: int) -> str:
        rate = self.info.sample_rate
        return (
            f"{shown(self._path)}: ends at {end / rate:.3f} s, so nothing can be read from "
            f"{target / rate:.3f} s on; choose an earlier start"
        )


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """What the header of an audio file says, without decoding it.

    Raises:
        AudioError: as :class:`AudioReader` does on opening.
    """
    with AudioReader(path) as reader:
        return reader.info


def read(path: str | os.PathLike[str], *, start: int = 0, frames: int | None = None) -> tuple[np.ndarray, int]:
    """Read a file, or a part of it, into memory.

    Args:
        path: an audio file.
        start: first sample to read.
        frames: number of samples per channel to read, ``None`` for all up to the end. Fewer come back
            where the file ends before that.

    Returns:
        The samples, float32 ``(C, T)``, and the sample rate in Hz.

    Raises:
        AudioError: as :class:`AudioReader` and its ``blocks`` do, or ``start`` is not before the end.
        ValueError: ``start`` is negative or ``frames`` is less than 1.
    """
    if frames is not None and frames < 1:
        raise ValueError(f"frames must be at least 1, not {frames}")
    with AudioReader(path) as reader:
        reader.skip(start)
        wave = reader.take(frames if frames is not None else 2**62)
        if not wave.shape[1]:
            raise AudioError(reader._ends_before(start, start))
        return wave, reader.info.sample_rate
