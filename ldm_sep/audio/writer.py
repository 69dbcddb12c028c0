"""Writing audio files: exact samples, the same bytes every time, and never half a file."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile as sf

from ldm_sep.audio.info import MAX_CHANNELS, MAX_RATE, MIN_RATE
from ldm_sep.audio.samples import LOUDEST
from ldm_sep.audio.stored import SUBTYPES, Subtype, default_subtype
from ldm_sep.audio.view import FileSink
from ldm_sep.audio.wavfile import WavWriter
from ldm_sep.errors import AudioError, OutputError
from ldm_sep.files import reason, shown, sync, unfinished_name

_MAX_CHANNELS = {".wav": MAX_CHANNELS, ".flac": 8, ".mp3": 2}
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_FLAC_PLAIN_RATE, _FLAC_MAX_RATE = 65_535, 655_350


class AudioWriter:
    """An audio file that appears under its name only when it is complete. A context manager.

    The samples go to a temporary file in the same folder, which takes the place of ``path`` when the
    ``with`` block ends without an exception. Otherwise it is removed, with the folders made for it, and a
    file that was at ``path`` before is left as it was. The suffix chooses the container: ``.wav`` (RF64
    above 4 GiB), ``.flac``, or ``.mp3`` (320 kbit/s, or the most that the rate allows).

    Samples are never rescaled or dithered. An integer format stores ``clip(rint(2^(b-1) x))`` with b bits,
    so samples that are already on its grid come back bit by bit.

    Args:
        path: the file to write; missing folders are made. Where it is a link, its target is written.
        sample_rate: in Hz.
        channels: number of audio channels C.
        subtype: sample encoding; ``None`` stands for float in WAV and int24 in FLAC. FLAC has no float.
            MP3 stores no samples, so the choice does not matter there.
        into: a file to write in place of ``path``, complete and on the disk after ``close``, for a caller that gives
            several files their names together. ``path`` stands in messages then.

    Attributes:
        path: the file that will be written.
        frames: number of samples T per channel written so far.
        clipped: number of samples, over all channels, that were outside the integer range and were moved
            to its end. Always 0 for float WAV and MP3, which hold samples beyond full scale.

    Raises:
        AudioError: at once, before any work, where the suffix is unknown, the container cannot hold the
            subtype, rate or channels, or the file cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sample_rate: int,
        channels: int,
        *,
        subtype: Subtype | None = None,
        into: Path | None = None,
    ) -> None:
        self.path = Path(path)
        self.frames = 0
        self.clipped = 0
        self._sample_rate = sample_rate
        self._channels = channels
        self._suffix = self.path.suffix.lower()
        self._check_container(subtype)
        self._subtype: Subtype = subtype or default_subtype(self._suffix[1:])
        self._target = into or _writable_target(self.path)
        self._made = _make_folder(self.path, self._target.parent)
        self._temporary = into or unfinished_name(self._target.with_suffix(".part"))
        self._sink: FileSink | None = None
        self._encoder: sf.SoundFile | None = None
        self._wav: WavWriter | None = None
        self._failure: AudioError | None = None
        self._ended = False
        try:
            self._open()
        except (OSError, sf.SoundFileError) as error:
            self.abort()
            raise self._failed(error) from error
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, block: np.ndarray) -> None:
        """Append a block, float32 ``(C, T)`` with full scale at 1.

        Raises:
            AudioError: a sample is not finite, or the disk is full or gone.
            ValueError: the block has another number of channels, or the writer has been closed.
        """
        if self._ended:
            raise ValueError("write to a closed AudioWriter")
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise ValueError(f"a block of shape {block.shape} is not ({self._channels}, T)")
        with np.errstate(over="ignore"):  # float64 samples beyond float32 become infinite and are refused
            samples = np.ascontiguousarray(block.T, np.float32)
        # LAME ends the process where samples are larger.
        limit = LOUDEST if self._suffix == ".mp3" else np.finfo(np.float32).max
        fine = (np.abs(samples) <= limit).all(axis=1)
        if not fine.all():
            first = int(np.argmin(fine))
            finite = np.isfinite(samples[first]).all()
            what = f"is beyond {LOUDEST:g} times full scale" if finite else "is not a finite number"
            where = f"the sample at {(self.frames + first) / self._sample_rate:.6f} s"
            self._failure = AudioError(
                f"{shown(self.path)}: not written, {where} {what}; check the input and the model"
            )
            raise self._failure
        if not len(samples):
            return
        try:
            self._encode(samples)
        except (OSError, sf.SoundFileError, AssertionError) as error:  # soundfile asserts that all is written
            self._failure = self._failed(error)
            raise self._failure from error
        self.frames += len(samples)

    def close(self) -> None:
        """Complete the file and give it its name. Called at the end of the ``with`` block.

        Raises:
            AudioError: nothing was written, a ``write`` failed before, or the disk is full or gone. Nothing
                is left behind then.
        """
        if self._ended:
            return
        try:
            if self._failure is not None:
                raise self._failure
            if not self.frames:
                raise AudioError(f"{shown(self.path)}: not written, there are no samples; check the input")
            if self._wav is not None:
                self._wav.finish()
            self._release()
            sync(self._temporary)
            if self._temporary != self._target:
                self._temporary.replace(self._target)
            self._ended = True
        except (OSError, sf.SoundFileError) as error:
            self.abort()
            raise self._failed(error) from error
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Remove what has been written; ``path`` is as it was before. Does nothing after ``close``."""
        if self._ended:
            return
        self._ended = True
        try:
            with suppress(OSError, sf.SoundFileError):
                self._release()
        finally:
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            for folder in self._made:
                with suppress(OSError):  # someone else may have put a file there
                    folder.rmdir()

    def _check_container(self, subtype: Subtype | None) -> None:
        name, suffix = shown(self.path), self._suffix
        if suffix not in SUBTYPES:
            raise AudioError(f"{name}: the suffix {shown(suffix)!r} is not one of .wav, .flac, .mp3; use one")
        if subtype is not None and subtype not in SUBTYPES[suffix]:
            allowed = " or ".join(SUBTYPES[suffix])
            raise AudioError(f"{name}: {suffix[1:]} cannot hold {subtype} samples; choose {allowed}, or .wav")
        if not 1 <= self._channels <= _MAX_CHANNELS[suffix]:
            limit = f"1 to {_MAX_CHANNELS[suffix]} channels, not {self._channels}"
            raise AudioError(
                f"{name}: {suffix[1:]} holds {limit}; {'reduce them' if suffix == '.wav' else 'write .wav instead'}"
            )
        if suffix == ".mp3" and self._sample_rate not in _MP3_RATES:
            rates = ", ".join(str(rate) for rate in _MP3_RATES)
            raise AudioError(f"{name}: mp3 holds {rates} Hz, not {self._sample_rate} Hz; write .wav or .flac instead")
        if not MIN_RATE <= self._sample_rate <= MAX_RATE:
            raise AudioError(
                f"{name}: {self._sample_rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz; choose another sample rate"
            )
        whole_tens = self._sample_rate <= _FLAC_MAX_RATE and self._sample_rate % 10 == 0
        if suffix == ".flac" and self._sample_rate > _FLAC_PLAIN_RATE and not whole_tens:
            raise AudioError(f"{name}: flac cannot hold {self._sample_rate} Hz; write .wav instead")

    def _open(self) -> None:
        self._sink = FileSink(self._temporary)
        if self._suffix == ".wav":
            self._wav = WavWriter(self._sink, self._sample_rate, self._channels, self._subtype)
            return
        lossless = self._suffix == ".flac"
        self._encoder = sf.SoundFile(
            self._sink,
            "w",
            samplerate=self._sample_rate,
            channels=self._channels,
            format="FLAC" if lossless else "MP3",
            subtype={"int24": "PCM_24", "int16": "PCM_16"}[self._subtype] if lossless else "MPEG_LAYER_III",
            # libsndfile's highest constant MP3 bit rate; its default for FLAC.
            compression_level=None if lossless else 0.0,
            bitrate_mode=None if lossless else "CONSTANT",
        )

    def _encode(self, samples: np.ndarray) -> None:
        if self._wav is not None:
            self._wav.write(samples if self._subtype == "float" else self._quantise(samples))
        elif self._encoder is not None and self._suffix == ".mp3":
            self._encoder.write(samples)
        elif self._encoder is not None:
            # Left-aligned integers pass through libsndfile by shifts alone, without a second rounding.
            shift = 32 - self._bits()
            self._encoder.write(self._quantise(samples) << shift)
        if self._sink is not None:
            self._sink.raise_error()

    def _quantise(self, samples: np.ndarray) -> np.ndarray:
        """``clip(rint(2^(b-1) x))`` as int32. Scaling by a power of two is exact in float32."""
        scale = 1 << (self._bits() - 1)
        # The first clip only keeps huge samples from overflowing; it leaves them outside the range.
        rounded = np.rint(np.clip(samples, -2, 2) * np.float32(scale))
        self.clipped += int(np.count_nonzero((rounded < -scale) | (rounded > scale - 1)))
        return np.clip(rounded, -scale, scale - 1).astype(np.int32)

    def _bits(self) -> int:
        return 24 if self._subtype == "int24" else 16

    def _release(self) -> None:
        """Close the open handles; a failure to write the last samples surfaces here."""
        encoder, sink = self._encoder, self._sink
        self._encoder = self._wav = self._sink = None
        try:
            if encoder is not None:
                encoder.close()
        finally:
            if sink is not None:
                sink.close()

    def _failed(self, error: Exception) -> OutputError:
        said = reason(error) if isinstance(error, OSError) else str(error).strip(" .\n")
        return OutputError(
            f"{shown(self.path)}: cannot be written ({said or 'the encoder stopped'}); "
            "check the folder's permissions and free space, or choose another folder"
        )


def _writable_target(path: Path) -> Path:
    """Where the file really goes: links followed, folders and devices refused."""
    try:
        target = path.resolve()
        if target.is_dir():
            raise AudioError(f"{shown(path)}: is a folder; name a file inside it")
        if target.exists() and not target.is_file():
            raise AudioError(f"{shown(path)}: is not a regular file; choose another name")
        # A name that is too long would otherwise show only when the finished file is renamed.
        with suppress(FileNotFoundError, NotADirectoryError):
            target.lstat()
    except (OSError, ValueError, RuntimeError) as error:
        said = reason(error) if isinstance(error, OSError | ValueError) else str(error)
        raise AudioError(f"{shown(path)}: is not a name for a file ({said}); choose another name") from error
    return target


def _make_folder(path: Path, folder: Path) -> list[Path]:
    """Make ``folder`` and its parents; the ones that were missing, innermost first."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = f"its folder cannot be made ({reason(error)})"
        raise AudioError(f"{shown(path)}: {said}; choose another folder") from error
    return missing
