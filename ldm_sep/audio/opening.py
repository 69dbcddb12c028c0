"""Opening an audio file: which files are refused and why, and which declared length can be trusted."""

import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

import soundfile as sf

from ldm_sep.audio.headers import DataSize, is_text, pcm_data_size, unfinished_wav
from ldm_sep.audio.mpeg import length_tag, walk_frames
from ldm_sep.audio.view import FileView
from ldm_sep.errors import AudioError
from ldm_sep.files import native, reason, shown

MIN_RATE, MAX_RATE = 1_000, 768_000
MAX_CHANNELS = 64
LOSSY = ("MP3", "OGG")

# No supported codec packs more: FLAC spends at least 11 bytes on a block of at most 65535 equal samples.
_MAX_FRAMES_PER_BYTE = 8_192
_MP3_SIZE_TOLERANCE = 4_096
_BIT_RATE_RANGE = 64  # more than the highest over the lowest MP3 bit rate, 320 / 8
_UNKNOWN = 2**63 - 1  # what libsndfile says of a FLAC stream without a length
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"caff", b"riff", b"ID3", b".snd")
_READABLE = "wav, flac, mp3, ogg, opus and aiff"


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes:
        path: the file.
        sample_rate: samples per second and channel, in Hz.
        channels: number of audio channels C.
        frames: number of samples T per channel that the header declares or, where it cannot, that follow
            from the file's size or its MP3 frames; ``None`` where it is unknown (a FLAC stream from a pipe)
            or more than the file could hold. Of a lossy file up to 0.1 s less than that may come out.
        format: container, as libsndfile names it: ``"WAV"``, ``"FLAC"``, ``"MP3"``, ``"OGG"``, ...
        subtype: sample encoding, as libsndfile names it: ``"PCM_16"``, ``"FLOAT"``, ``"VORBIS"``, ...
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str


@dataclass(frozen=True)
class OpenAudio:
    """A decoder at the first sample; ``source`` is the file object under it where there is one."""

    info: AudioInfo
    file: sf.SoundFile
    source: FileView | None

    def close(self) -> None:
        self.file.close()
        if self.source is not None:
            self.source.close()


def open_audio(path: Path) -> OpenAudio:
    """Open ``path`` for decoding.

    Raises:
        AudioError: for every reason that :class:`ldm_sep.audio.AudioReader` lists.
    """
    head = _first_bytes(path)
    file = _open_decoder(path, native(path), head)
    source = None
    try:
        _check_limits(path, file)
        if file.format == "MP3":
            source, frames = _inspect_mp3(path, file)
        else:
            source, frames = _inspect_pcm(path, file), file.frames
        if source is not None:
            file.close()
            file = _open_decoder(path, source, head)
            frames = frames or file.frames
        if frames == 0:
            raise AudioError(no_samples(path))
        possible = path.stat().st_size * _MAX_FRAMES_PER_BYTE
        known = frames if frames <= possible else None
        return OpenAudio(
            AudioInfo(path, file.samplerate, file.channels, known, file.format, file.subtype), file, source
        )
    except BaseException:
        file.close()
        if source is not None:
            source.close()
        raise


def no_samples(path: Path) -> str:
    """The message for a file with a header and nothing behind it."""
    return f"{shown(path)}: holds no samples; fetch or export the file again"


def cut_off(path: Path, seconds: float, total: float | None) -> str:
    """The message for a file of which ``seconds`` of ``total`` can be decoded."""
    of_total = "" if total is None else f" of {total:.2f} s"
    return (
        f"{shown(path)}: is cut off or damaged, only about {seconds:.2f} s{of_total} can be read; "
        f"fetch the file again, or keep what is there: {_ffmpeg(path)}"
    )


def _first_bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise AudioError(f"{shown(path)}: is a folder, not an audio file; name a file inside it")
        if not stat.S_ISREG(mode):
            raise AudioError(f"{shown(path)}: is not a regular file; save the audio to a file first")
        with path.open("rb") as file:
            head = file.read(4096)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioError(f"{shown(path)}: there is no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise AudioError(
            f"{shown(path)}: cannot be opened ({reason(error)}); check its name and permissions"
        ) from error
    if not head:
        raise AudioError(f"{shown(path)}: is empty (0 bytes); fetch or export the file again")
    if is_text(head):
        raise AudioError(f"{shown(path)}: holds text, not audio; name an audio file ({_READABLE})")
    return head


def _open_decoder(path: Path, source: str | bytes | FileView, head: bytes) -> sf.SoundFile:
    try:
        file = sf.SoundFile(source)
    except (sf.SoundFileError, TypeError) as error:
        if isinstance(source, FileView):
            kept = source.error
            source.close()
            if kept is not None:
                raise kept from error
        # soundfile raises TypeError for the suffix .raw, whatever the file holds.
        if head.startswith(_MAGIC) and isinstance(error, sf.SoundFileError):
            said = getattr(error, "error_string", str(error)).strip(" .\n")
            raise AudioError(
                f"{shown(path)}: is damaged or has an encoding that cannot be read ({said}); "
                f"fetch the file again, or {_convert(path)}"
            ) from error
        raise AudioError(_unreadable(path)) from error
    if file.format == "RAW":  # libsndfile takes any bytes for samples if the suffix is that of a raw codec
        file.close()
        raise AudioError(_unreadable(path))
    return file


def _check_limits(path: Path, file: sf.SoundFile) -> None:
    remedy = "fetch or export the file again"
    if not MIN_RATE <= file.samplerate <= MAX_RATE:
        limits = f"{MIN_RATE} to {MAX_RATE} Hz"
        raise AudioError(f"{shown(path)}: declares {file.samplerate} Hz, outside {limits}; {remedy}")
    if file.channels > MAX_CHANNELS:
        limits = f"more than {MAX_CHANNELS}"
        raise AudioError(f"{shown(path)}: declares {file.channels} channels, {limits}; {remedy}")


def _inspect_mp3(path: Path, file: sf.SoundFile) -> tuple[FileView | None, int]:
    """The view that libsndfile needs, if any, and the number of samples."""
    tag = length_tag(path)
    if tag is None:
        walk = walk_frames(path)
        end = path.stat().st_size if walk is None else walk.end
        # Too high an estimate of the length does no harm, the frames end where they end.
        return FileView(path, end, claimed=end * _BIT_RATE_RANGE), walk.samples if walk else _UNKNOWN
    if tag.continues:
        raise AudioError(
            f"{shown(path)}: holds more audio than its header declares, like joined MP3 files; {_convert(path)}"
        )
    if tag.data is not None:
        _check_size(path, file, tag.data, _MP3_SIZE_TOLERANCE)
    return None, file.frames


def _inspect_pcm(path: Path, file: sf.SoundFile) -> FileView | None:
    size = pcm_data_size(path)
    patch = unfinished_wav(path) if file.frames == 0 else None
    if patch is not None:
        length = path.stat().st_size
        return FileView(path, length, claimed=length, patch=patch)
    if size is not None and file.frames:
        _check_size(path, file, size, 0)
    return None


def _check_size(path: Path, file: sf.SoundFile, size: DataSize, tolerance: int) -> None:
    """Refuse a file that is shorter than its header declares, before any of it is decoded."""
    if size.declared - size.available <= tolerance:
        return
    # libsndfile has lowered the frames of PCM files to what is there, but not those of MP3 files.
    seconds = file.frames / file.samplerate
    share = max(size.available, 1) / size.declared
    if file.format == "MP3":
        raise AudioError(cut_off(path, seconds * share, seconds))
    raise AudioError(cut_off(path, seconds, seconds / share))


def _unreadable(path: Path) -> str:
    return f"{shown(path)}: is not in an audio format that can be read ({_READABLE}); {_convert(path)}"


def _convert(path: Path) -> str:
    return f"convert it first: {_ffmpeg(path)}"


def _ffmpeg(path: Path) -> str:
    target = path.with_suffix(".wav")
    if target == path:
        target = path.with_name(f"{path.stem}-converted.wav")
    return f"ffmpeg -i {shlex.quote(shown(path))} {shlex.quote(shown(target))}"
