"""Reading audio files block by block, in constant memory."""

import stat
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from ldm_sep.audio.decoder import Decoder
from ldm_sep.audio.info import AudioInfo, FsPath, Notice
from ldm_sep.audio.samples import checked_samples
from ldm_sep.errors import AudioError, reason
from ldm_sep.files import shown

_BLOCK = 65_536
# What files mean that give a number of channels and no more. FFmpeg takes three for 2.1, where the voice would be lost.
_USUAL = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_TEXT_LIKE_AUDIO = (b"NIST_", b"PVF")


class AudioReader:
    """An open audio file, or a video with sound, decoded in blocks from the sample ``start`` on. A context manager.

    The samples do not depend on the caller's block size, and nothing is allocated because a header asks for it: what
    it says of the length is compared with what is there, in both directions. ``info`` is what the file says of itself.
    ``stereo``: more than two channels are mixed down to two (front left and right, with centre and surrounds folded
    in). ``notice`` is told, one line each, what is odd about a file that can be read all the same: damage, a missing
    end, a mixdown.

    AudioError if the file is missing, not a regular file, empty, not audio, in a format that cannot be read, cut off
    (where that shows without decoding), or declares a sample rate outside 1 to 768 kHz or more than 64 channels.
    ValueError if ``start`` is negative.
    """

    def __init__(self, path: FsPath, *, start: int = 0, stereo: bool = False, notice: Notice = warnings.warn) -> None:
        if start < 0:
            raise ValueError(f"start must not be negative, not {start}")
        _require_audio(Path(path))
        decoder = Decoder(Path(path), start, notice)
        self.close = decoder.close
        self.info = decoder.info
        self._blocks = decoder.blocks
        if stereo and self.info.channels > 2:
            self._blocks = _downmixed(self._blocks, self.info, notice)
            self.info = replace(self.info, channels=2)
        self._position = start
        self._pending = np.empty((self.info.channels, 0), np.float32)

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """Yield the samples from the current position to the end, float32 ``(C, T)`` with ``T <= frames``.

        Every block but the last holds exactly ``frames`` samples per channel. Integer samples are scaled by a power
        of two to [-1, 1); samples below -600 dBFS come as 0.

        AudioError if the file ends before the length that it declares (lossy formats: by more than 0.1 s), changes its
        rate or channels on the way, more than a twentieth of it is damaged, it holds no samples at all, or a sample is
        not finite or beyond 120 dBFS. ValueError if ``frames`` is less than 1.
        """
        if frames < 1:
            raise ValueError(f"frames must be at least 1, not {frames}")
        while (block := self.take(frames)).shape[1]:
            yield block

    def take(self, frames: int) -> np.ndarray:
        """The next ``frames`` samples, as `blocks` gives them; fewer at the end of the file, then none."""
        pieces, taken = [self._pending], self._pending.shape[1]
        while taken < frames and (block := next(self._blocks, None)) is not None:
            pieces.append(block)
            taken += block.shape[1]
        ready = np.concatenate(pieces, axis=1) if len(pieces) > 1 else self._pending
        block, self._pending = ready[:, :frames], ready[:, frames:]
        block = checked_samples(block, self._position, self.info.sample_rate, shown(self.info.path))
        self._position += block.shape[1]
        return block


def probe(path: FsPath) -> AudioInfo:
    """What an audio file says of itself, without decoding it. AudioError as `AudioReader` has it."""
    with AudioReader(path, notice=lambda line: None) as reader:
        return reader.info


def survey(path: FsPath, *, stereo: bool = False, longest: float | None = None, notice: Notice = warnings.warn) -> int:
    """Decode a whole file once, keep nothing, and return its exact number of samples per channel.

    What is wrong with it is known afterwards, before hours of work on it. FLAC and MP3 take a few thousandths of
    their duration. AudioError as `AudioReader` and its blocks have it, and for more than ``longest`` seconds.
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
    path: FsPath, *, start: int = 0, frames: int | None = None, notice: Notice = warnings.warn
) -> tuple[np.ndarray, int]:
    """Samples and sample rate of a file, or of ``frames`` samples per channel of it from ``start`` on.

    The samples are float32 ``(C, T)``, fewer than ``frames`` where the file ends; the sample rate is in Hz. AudioError
    as `AudioReader` and its blocks have it, or ``start`` is not before the end; ValueError if ``start`` is negative or
    ``frames`` less than 1.
    """
    if frames is not None and frames < 1:
        raise ValueError(f"frames must be at least 1, not {frames}")
    with AudioReader(path, start=start, notice=notice) as reader:
        wave, rate = reader.take(frames or 2**62), reader.info.sample_rate
        if not wave.shape[1]:
            raise AudioError(f"{shown(path)}: ends before {start / rate:.3f} s; choose an earlier start")
        return wave, rate


def _require_audio(path: Path) -> None:
    """AudioError unless ``path`` is a file that may hold audio."""
    name = shown(path)
    try:
        if stat.S_ISDIR(mode := path.stat().st_mode):
            raise AudioError(f"{name}: is a folder, not an audio file; name a file inside it")
        if not stat.S_ISREG(mode):
            raise AudioError(f"{name}: is not a regular file; save it to one first")
        with path.open("rb") as file:
            head = file.read(4096)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioError(f"{name}: there is no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{name}: cannot be opened ({reason(error)}); check its name and permissions") from error
    if not head:
        raise AudioError(f"{name}: is empty (0 bytes); fetch or export the file again")
    text = head.decode("utf-8", "ignore")
    readable = len(text.encode()) > len(head) - 4  # the last character may be cut
    if readable and not head.startswith(_TEXT_LIKE_AUDIO) and all(c.isprintable() or c.isspace() for c in text):
        raise AudioError(f"{name}: holds text, not audio; name an audio file")


def _downmixed(blocks: Iterator[np.ndarray], info: AudioInfo, notice: Notice) -> Iterator[np.ndarray]:
    """float32 ``(2, T)`` from the ``(C, T)`` of a file of more channels, by FFmpeg's matrix; ``notice`` is told how."""
    name = _USUAL.get(info.channels, "")
    only = {"protocol_whitelist": "file"}
    with suppress(av.FFmpegError, ValueError, IndexError), av.open(f"file:{info.path}", options=only) as container:
        layout = container.streams.audio[0].layout
        name = name if layout.nb_channels != info.channels or layout.name.endswith("channels") else layout.name
    how = f"{name} becomes stereo" if name else "the first two are read, its layout is unknown"
    notice(f"{shown(info.path)}: has {info.channels} channels; {how}")
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=info.sample_rate)
    for block in blocks:
        if not name:
            yield block[:2]
            continue
        frame = av.AudioFrame.from_ndarray(block.T.reshape(1, -1), "flt", name)
        frame.sample_rate = info.sample_rate
        mixed = [part.to_ndarray() for part in resampler.resample(frame)]
        # Short of memory, it once gave nothing and no error.
        if sum(part.shape[1] for part in mixed) != block.shape[1]:
            raise AudioError(f"{shown(info.path)}: {info.channels} channels cannot be mixed to two; free memory")
        yield from mixed
