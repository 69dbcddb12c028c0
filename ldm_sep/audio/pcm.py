"""Uncompressed samples: libsndfile reads the header and converts the samples, this module says where they lie."""

from pathlib import Path

import numpy as np
import soundfile as sf

from ldm_sep.audio.containers import Extent, sample_extent
from ldm_sep.audio.info import AudioInfo, Notice, cut_off, no_samples
from ldm_sep.audio.view import FileView
from ldm_sep.errors import AudioError
from ldm_sep.files import native, reason, shown

_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_LITTLE = ("WAV", "WAVEX", "RF64", "W64")
_BLOCK = 16_384
# Programs that count the header into the size of the data are off by no more.
_MISCOUNT_BYTES = 64


class PcmDecoder:
    """The samples of an uncompressed file, bit by bit. ``info.frames`` is what is there."""

    def __init__(self, path: Path, notice: Notice) -> None:
        with sf.SoundFile(native(path)) as header:
            rate, channels, form, subtype = header.samplerate, header.channels, header.format, header.subtype
            endian, frames = header.endian, header.frames
        if form in ("FLAC", "OGG", "MP3", "RAW") or subtype not in _BYTES:
            raise LookupError(f"{subtype} in {form}")
        extent = sample_extent(path)
        if extent is not None:
            frames = (extent.end - extent.start) // (channels * _BYTES[subtype])
        self.info = AudioInfo(path, rate, channels, frames, form, subtype)
        if not frames:
            raise no_samples(path)
        self._position = 0
        self._view: FileView | None = None
        if extent is None:
            self._file = sf.SoundFile(native(path))
        else:
            _check_length(path, extent, channels * _BYTES[subtype] * rate, notice)
            if endian == "FILE":
                endian = "LITTLE" if form in _LITTLE else "BIG"
            self._view = FileView(path, extent.start, extent.end)
            self._file = sf.SoundFile(self._view, "r", rate, channels, subtype, endian, "RAW")

    def seek(self, position: int) -> None:
        """Go to the sample ``position``."""
        self._file.seek(position)
        self._position = position

    def read(self) -> np.ndarray:
        """The next samples, float32 ``(C, T)``; T is 0 at the end."""
        data = self._file.read(_BLOCK, dtype="float32", always_2d=True)
        self._position += len(data)
        error = None if self._view is None else self._view.error
        if isinstance(error, OSError):
            raise AudioError(f"{shown(self.info.path)}: cannot be read ({reason(error)}); check the disk") from error
        if error is not None:
            raise error
        if not len(data) and self._position < (self.info.frames or 0):
            rate = self.info.sample_rate
            raise cut_off(self.info.path, self._position / rate, (self.info.frames or 0) / rate)
        return np.ascontiguousarray(data.T)

    def close(self) -> None:
        self._file.close()
        if self._view is not None:
            self._view.close()


def _check_length(path: Path, extent: Extent, bytes_per_second: int, notice: Notice) -> None:
    there = extent.end - extent.start
    missing = 0 if extent.declared is None else extent.declared - there
    if missing > _MISCOUNT_BYTES:
        raise cut_off(path, there / bytes_per_second, (there + missing) / bytes_per_second)
    if missing > 0:
        notice(f"{shown(path)}: its header declares {missing} bytes more than there are; all samples are read")
