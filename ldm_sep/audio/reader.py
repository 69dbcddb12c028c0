"""Reading audio files block by block, in constant memory."""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile as sf

from ldm_sep.audio.compressed import CompressedDecoder
from ldm_sep.audio.downmix import Downmix
from ldm_sep.audio.info import AudioInfo, Notice
from ldm_sep.audio.pcm import PcmDecoder
from ldm_sep.audio.samples import checked_samples
from ldm_sep.errors import AudioError
from ldm_sep.files import reason, shown

_HEAD = 4096
_BLOCK = 65_536
_TEXT_LIKE_AUDIO = (b"NIST_", b"PVF")
# libsndfile tries its MP3 decoder on what it does not know, which writes to the terminal.
_MAY_BE_PCM: tuple[bytes, ...]
_MAY_BE_PCM = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"riff", b"caff", b".snd", b"dns.", b"NIST_", b"PVF", b"Creative")
_MAY_BE_PCM += (b"\x64\xa3", b" paf", b"fap ", b"MATLAB", b"2BIT")


class AudioReader:
    """An open audio file that is decoded from front to end in blocks. A context manager.

    Uncompressed files go through libsndfile, everything else through FFmpeg. The samples do not depend on the
    caller's block size, and nothing is allocated because a header asks for it: what it says of the length is
    compared with what is there, in both directions.

    Args:
        path: an audio file, or a video with sound.
        stereo: whether more than two channels are mixed down to two (front left and right, with centre and surrounds
            folded in).
        notice: is told, one line each, what is odd about a file that can be read all the same: damage, a missing
            end, a mixdown.

    Attributes:
        info: what the file says of itself.

    Raises:
        AudioError: the file is missing, not a regular file, empty, not audio, in a format that cannot be read, cut
            off (where that shows without decoding), or declares a sample rate outside 1 to 768 kHz or more than 64
            channels.
    """

    def __init__(self, path: str | os.PathLike[str], *, stereo: bool = False, notice: Notice = warnings.warn) -> None:
        self._path = Path(path)
        self._decoder = _decoder(self._path, notice)
        self.info = self._decoder.info
        self._downmix: Downmix | None = None
        if stereo and self.info.channels > 2:
            try:
                self._downmix = Downmix(self.info, notice)
            except BaseException:
                self.close()
                raise
            self.info = replace(self.info, channels=2)
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
        self._decoder.close()

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """Yield the samples from the current position to the end, float32 ``(C, T)`` with ``T <= frames``.

        Every block but the last holds exactly ``frames`` samples per channel. Integer samples are scaled by a power
        of two to [-1, 1); samples below -600 dBFS come as 0.

        Raises:
            AudioError: the file ends before the length that it declares (lossy formats: by more than 0.1 s), changes
                its rate or channels on the way, more than a twentieth of it is damaged, it holds no samples at all,
                or a sample is not finite or beyond 120 dBFS.
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
        pieces = [self._pending[:, :0]]
        taken = 0
        while taken < frames and self._refill():
            piece = self._pending[:, : frames - taken]
            self._pending = self._pending[:, piece.shape[1] :]
            pieces.append(piece)
            taken += piece.shape[1]
        block = checked_samples(
            np.concatenate(pieces, axis=1), self._position, self.info.sample_rate, shown(self._path)
        )
        self._position += taken
        return block

    def skip(self, frames: int) -> None:
        """Move forward by ``frames`` samples, exactly, by a seek where the file is uncompressed.

        Raises:
            AudioError: the file ends before that.
            ValueError: ``frames`` is negative.
        """
        if frames < 0:
            raise ValueError(f"frames must not be negative, not {frames}")
        target = self._position + frames
        if isinstance(self._decoder, PcmDecoder) and self._pending.shape[1] < frames:
            self._decoder.seek(min(target, self.info.frames or 0))
            self._position = min(target, self.info.frames or 0)
            self._pending = self._pending[:, :0]
        while self._position < target and self._refill():
            dropped = min(target - self._position, self._pending.shape[1])
            self._pending = self._pending[:, dropped:]
            self._position += dropped
        if self._position < target:
            raise self.ends_before(target)

    def ends_before(self, target: int) -> AudioError:
        """The error for samples that are asked for from ``target`` on, at or behind the end."""
        rate = self.info.sample_rate
        return AudioError(
            f"{shown(self._path)}: ends at {self._position / rate:.3f} s, so nothing can be read from "
            f"{target / rate:.3f} s on; choose an earlier start"
        )

    def _refill(self) -> bool:
        """Have at least one decoded sample pending; ``False`` at the end of the file."""
        if not self._pending.shape[1]:
            block = self._decoder.read()
            self._pending = self._downmix.push(block) if self._downmix is not None else block
        return self._pending.shape[1] > 0


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """What an audio file says of itself, without decoding it.

    Raises:
        AudioError: as :class:`AudioReader` does on opening.
    """
    with AudioReader(path, notice=lambda line: None) as reader:
        return reader.info


def survey(
    path: str | os.PathLike[str],
    *,
    stereo: bool = False,
    longest: float | None = None,
    notice: Notice = warnings.warn,
) -> int:
    """Decode a whole file once, keep nothing, and return its exact number of samples per channel.

    What is wrong with it is known afterwards, before hours of work on it. FLAC and MP3 take a few thousandths of
    their duration.

    Raises:
        AudioError: as :class:`AudioReader` and its ``blocks`` do, or the file is longer than ``longest`` seconds.
    """
    total = 0
    with AudioReader(path, stereo=stereo, notice=notice) as reader:
        for block in reader.blocks(_BLOCK):
            total += block.shape[1]
            if longest is not None and total > longest * reader.info.sample_rate:
                limit = f"{longest / 3600:g} hours"
                raise AudioError(f"{shown(path)}: is longer than {limit}; cut it, or raise the limit for its length")
    return total


def read(
    path: str | os.PathLike[str], *, start: int = 0, frames: int | None = None, notice: Notice = warnings.warn
) -> tuple[np.ndarray, int]:
    """Read a file, or a part of it, into memory.

    Args:
        path: an audio file.
        start: first sample to read.
        frames: number of samples per channel to read, ``None`` for all up to the end. Fewer come back
            where the file ends before that.
        notice: as for :class:`AudioReader`.

    Returns:
        The samples, float32 ``(C, T)``, and the sample rate in Hz.

    Raises:
        AudioError: as :class:`AudioReader` and its ``blocks`` do, or ``start`` is not before the end.
        ValueError: ``start`` is negative or ``frames`` is less than 1.
    """
    if frames is not None and frames < 1:
        raise ValueError(f"frames must be at least 1, not {frames}")
    with AudioReader(path, notice=notice) as reader:
        reader.skip(start)
        wave = reader.take(frames if frames is not None else 2**62)
        if not wave.shape[1]:
            raise reader.ends_before(start)
        return wave, reader.info.sample_rate


def _decoder(path: Path, notice: Notice) -> PcmDecoder | CompressedDecoder:
    if _first_bytes(path).startswith(_MAY_BE_PCM):
        with suppress(LookupError, sf.SoundFileError, TypeError):  # the last for the suffix .raw
            return PcmDecoder(path, notice)
    return CompressedDecoder(path, notice)


def _first_bytes(path: Path) -> bytes:
    """AudioError unless ``path`` is a file that may hold audio."""
    name = shown(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise AudioError(f"{name}: is a folder, not an audio file; name a file inside it")
        if not stat.S_ISREG(mode):
            raise AudioError(f"{name}: is not a regular file; save the audio to a file first")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioError(f"{name}: there is no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{name}: cannot be opened ({reason(error)}); check its name and permissions") from error
    if not head:
        raise AudioError(f"{name}: is empty (0 bytes); fetch or export the file again")
    if _is_text(head):
        raise AudioError(f"{name}: holds text, not audio; name an audio file")
    return head


def _is_text(head: bytes) -> bool:
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
