"""Writing audio files: exact samples, the same bytes every time, and never half a file."""

import stat
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile as sf

from ldm_sep.audio.encoders import FileSink, WavEncoder
from ldm_sep.audio.info import MAX_CHANNELS, MAX_RATE, MIN_RATE, FsPath
from ldm_sep.audio.samples import LOUDEST, require_below
from ldm_sep.errors import AudioError, OutputError, reason
from ldm_sep.files import replacing, shown

Subtype = Literal["float", "int24", "int16"]

# The first is the default.
_SUBTYPES: dict[str, tuple[Subtype, ...]] = dict.fromkeys((".wav", ".mp3"), ("float", "int24", "int16"))
_SUBTYPES[".flac"] = ("int24", "int16")
_BYTES = {"float": 4, "int24": 3, "int16": 2}
_MAX_CHANNELS = {".wav": MAX_CHANNELS, ".flac": 8, ".mp3": 2}
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_FLAC_PLAIN_RATE, _FLAC_MAX_RATE = 65_535, 655_350


class AudioWriter:
    """An audio file that appears under its name only when it is complete. A context manager.

    The samples go to a temporary file in the same folder, which takes the place of ``path`` when the ``with`` block
    ends without an exception. Otherwise it is removed, with the folders made for it, and a file that was at ``path``
    before is left as it was. The suffix chooses the container: ``.wav`` (RF64 above 4 GiB), ``.flac``, or ``.mp3``
    (320 kbit/s, or the most that the rate allows).

    Samples are never rescaled or dithered. An integer format stores ``clip(rint(2^(b-1) x))`` with b bits, so samples
    that are already on its grid come back bit by bit.

    ``path``: missing folders are made; where it is a link, its target is written. ``sample_rate`` in Hz. ``subtype``:
    float in WAV and int24 in FLAC where none is given; MP3 stores no samples, so that it does not matter there.
    ``bit_rate`` in kbit/s: of MP3, the nearest that the sample rate allows. ``into``: a file to write in place of
    ``path``, which stands in messages, for a caller that gives several files their names together.

    ``frames`` counts the samples T per channel written so far; ``clipped`` those, over all channels, that were outside
    the integer range and were moved to its end: none in float WAV and MP3, which hold samples beyond full scale.

    AudioError at once, before any work, where the suffix is unknown, the container cannot hold the subtype, rate or
    channels, or the file cannot be made.
    """

    def __init__(
        self,
        path: FsPath,
        sample_rate: int,
        channels: int,
        *,
        subtype: Subtype | None = None,
        bit_rate: int | None = None,
        into: Path | None = None,
    ) -> None:
        self.path = Path(path)
        self.frames = self.clipped = 0
        self._rate, self._channels = sample_rate, channels
        suffix = self.path.suffix.lower()
        _check_container(self.path, suffix, subtype, sample_rate, channels)
        # LAME takes floats, and ends the process where they are larger.
        self._subtype: Subtype = "float" if suffix == ".mp3" else subtype or _SUBTYPES[suffix][0]
        self._limit = LOUDEST if suffix == ".mp3" else float(np.finfo(np.float32).max)
        self._failure: AudioError | None = None
        self._ended = False
        self._open_files = ExitStack()
        width = _BYTES[self._subtype]
        try:
            temporary = into or self._open_files.enter_context(replacing(_writable_target(self.path)))
            self._sink = FileSink(temporary)
            self._open_files.callback(self._sink.close)
            if suffix == ".wav":
                self._encoder: WavEncoder | sf.SoundFile = WavEncoder(self._sink, sample_rate, channels, width)
            else:
                level = _mp3_compression(bit_rate, sample_rate)
                flac, mp3 = (f"PCM_{8 * width}", None, "FLAC"), ("MPEG_LAYER_III", None, "MP3", True, level, "CONSTANT")
                settings = flac if suffix == ".flac" else mp3
                self._encoder = sf.SoundFile(self._sink, "w", sample_rate, channels, *settings)
            self._open_files.callback(self._encoder.close)
        except BaseException as error:
            self._end(error)

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, block: np.ndarray) -> None:
        """Append a block, float32 ``(C, T)`` with full scale at 1.

        AudioError if a sample is not finite, or the disk is full or gone. ValueError if the block has another number of
        channels, or the writer has been closed.
        """
        if self._ended:
            raise ValueError("write to a closed AudioWriter")
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise ValueError(f"a block of shape {block.shape} is not ({self._channels}, T)")
        with np.errstate(over="ignore"):  # float64 samples beyond float32 become infinite and are refused
            samples = np.ascontiguousarray(block.T, np.float32)
        beginning, seconds = f"{shown(self.path)}: not written,", self.frames / self._rate
        try:
            require_below(samples.T, self._limit, seconds, self._rate, beginning, "check the input and the model")
            if len(samples):
                self._encoder.write(samples if self._subtype == "float" else self._quantised(samples))
            self._sink.raise_error()
        except (OSError, sf.SoundFileError, AssertionError, AudioError) as error:  # soundfile asserts what it wrote
            self._failure = self._told(error)
            raise self._failure from error
        self.frames += len(samples)

    def close(self) -> None:
        """Complete the file and give it its name. Called at the end of the ``with`` block.

        AudioError if nothing was written, a `write` failed before, or the disk is full or gone; nothing is left behind.
        """
        nothing = AudioError(f"{shown(self.path)}: not written, there are no samples; check the input")
        if not self._ended:
            self._end(self._failure or (None if self.frames else nothing))

    def abort(self) -> None:
        """Remove what has been written; ``path`` is as it was before. Does nothing after ``close``."""
        with suppress(AudioError):
            if not self._ended:
                self._end(AudioError(f"{shown(self.path)}: not written; start again"))

    def _end(self, error: BaseException | None) -> None:
        """Close the files; what comes of them depends on whether there is an ``error``, which is raised again."""
        self._ended = True
        try:
            with self._open_files:
                if error is not None:
                    raise error
        except (OSError, sf.SoundFileError) as failure:  # of the last samples, too
            raise self._told(failure) from failure

    def _quantised(self, samples: np.ndarray) -> np.ndarray:
        """``clip(rint(2^(b-1) x))`` in the upper bits of int32. Scaling by a power of two is exact in float32."""
        bits = 8 * _BYTES[self._subtype]
        scale = 1 << (bits - 1)
        # The first clip only keeps huge samples from overflowing; it leaves them outside the range.
        rounded = np.rint(np.clip(samples, -2, 2) * np.float32(scale))
        self.clipped += int(np.count_nonzero((rounded < -scale) | (rounded > scale - 1)))
        return np.clip(rounded, -scale, scale - 1).astype(np.int32) << (32 - bits)

    def _told(self, error: Exception) -> AudioError:
        if isinstance(error, AudioError):
            return error
        said = reason(error) if isinstance(error, OSError) else str(error).strip(" .\n") or "the encoder stopped"
        said = f"cannot be written ({said if self.path.parent.is_dir() else f'its folder cannot be made: {said}'})"
        remedy = "check the folder's permissions and free space, or choose another folder"
        return OutputError(f"{shown(self.path)}: {said}; {remedy}")


def _mp3_compression(bit_rate: int | None, sample_rate: int) -> float:
    """libsndfile's compression level, 0 to 1, for an MP3 of ``bit_rate`` kbit/s; ``None`` is the most there is."""
    # The ends of MPEG-1, 2 and 2.5 layer III, between which libsndfile draws a line.
    lowest, highest = (32, 320) if sample_rate >= 32_000 else (8, 160) if sample_rate >= 16_000 else (8, 64)
    # The lowest itself is refused.
    return 0.0 if bit_rate is None else min(0.99, max(0.0, (highest - bit_rate) / (highest - lowest)))


def default_subtype(suffix: str) -> Subtype:
    """What `AudioWriter` stores in a ``wav``, ``flac`` or ``mp3`` that is asked for no ``subtype``."""
    return _SUBTYPES[f".{suffix}"][0]


def expected_bytes(frames: int, channels: int, sample_rate: int, suffix: str, subtype: Subtype | None = None) -> int:
    """About how many bytes a file takes: exact for WAV, half of that for FLAC, 320 kbit/s for MP3."""
    if suffix == "mp3":
        return frames * 40_000 // sample_rate
    wide = _BYTES[subtype or default_subtype(suffix)]
    return frames * channels * wide // (2 if suffix == "flac" else 1)


def _check_container(path: Path, suffix: str, subtype: Subtype | None, rate: int, channels: int) -> None:
    """AudioError unless files of ``suffix`` can hold that."""
    kind = suffix[1:]
    problem = ""
    if suffix not in _SUBTYPES:
        problem = f"the suffix {shown(suffix)!r} is not one of .wav, .flac, .mp3; use one"
    elif subtype is not None and subtype not in _SUBTYPES[suffix]:
        problem = f"{kind} cannot hold {subtype} samples; choose {' or '.join(_SUBTYPES[suffix])}, or .wav"
    elif not 1 <= channels <= _MAX_CHANNELS[suffix]:
        remedy = "reduce them" if suffix == ".wav" else "write .wav instead"
        problem = f"{kind} holds 1 to {_MAX_CHANNELS[suffix]} channels, not {channels}; {remedy}"
    elif suffix == ".mp3" and rate not in _MP3_RATES:
        problem = f"mp3 holds {', '.join(map(str, _MP3_RATES))} Hz, not {rate} Hz; write .wav or .flac instead"
    elif not MIN_RATE <= rate <= MAX_RATE:
        problem = f"{rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz; choose another sample rate"
    elif suffix == ".flac" and rate > _FLAC_PLAIN_RATE and (rate > _FLAC_MAX_RATE or rate % 10):
        problem = f"flac cannot hold {rate} Hz; write .wav instead"
    if problem:
        raise AudioError(f"{shown(path)}: {problem}")


def _writable_target(path: Path) -> Path:
    """Where the file really goes: links followed, folders and devices refused."""
    try:
        target = path.resolve()
        # A name that is too long would otherwise show only when the finished file is renamed.
        with suppress(FileNotFoundError, NotADirectoryError):
            mode = target.stat().st_mode
            if not stat.S_ISREG(mode):
                kind = "a folder; name a file inside it" if stat.S_ISDIR(mode) else "not a regular file; choose another"
                raise AudioError(f"{shown(path)}: is {kind}")
    except (OSError, ValueError, RuntimeError) as error:
        raise AudioError(f"{shown(path)}: is not a name for a file ({reason(error)}); choose another name") from error
    return target
