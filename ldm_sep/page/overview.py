"""What is drawn of a sound: peaks for its waveform, levels of mel bands for its spectrogram.

Both are small files beside the samples, made once in constant memory: a browser that shows an hour of music loads a few
kilobytes of them, never the samples.
"""

import math
from pathlib import Path

import numpy as np

from ldm_sep.audio import AudioReader
from ldm_sep.files import replacing
from ldm_sep.signal.mel import slaney_edges, triangles

PEAKS_PER_SECOND = 200
FRAMES_PER_SECOND = 50
BANDS = 128
# dBFS of a sine that the lowest value, 0, stands for; 255 is full scale.
_FLOOR_DB = -90.0
_TOP_HZ = 16_000.0
_WINDOW_SECONDS = 0.046
_BLOCK = 1 << 17


def peaks_file(folder: Path, lane: str) -> Path:
    """int8 ``(N, 2)``: the least and the largest sample of each 1/200 s, over all channels, full scale at 127."""
    return folder / f"{lane}.peaks"


def levels_file(folder: Path, lane: str) -> Path:
    """uint8 ``(N, 128)``: every 1/50 s, the levels of 128 bands up to 16 kHz, or as high as the rate goes."""
    return folder / f"{lane}.levels"


def write_overview(sound: Path, folder: Path, lane: str) -> float:
    """Write both files for ``sound``; returns the largest magnitude of a sample. AudioError, OSError."""
    loudest = 0.0
    with (
        replacing(peaks_file(folder, lane)) as peaks_path,
        replacing(levels_file(folder, lane)) as levels_path,
        AudioReader(sound) as reader,
        peaks_path.open("wb") as peaks_out,
        levels_path.open("wb") as levels_out,
    ):
        peaks, levels = _Peaks(reader.info.sample_rate), _Levels(reader.info.sample_rate, reader.info.channels)
        for block in reader.blocks(_BLOCK):
            loudest = max(loudest, float(np.abs(block).max()))
            peaks_out.write(peaks.push(block).tobytes())
            levels_out.write(levels.push(block).tobytes())
        peaks_out.write(peaks.flush().tobytes())
        levels_out.write(levels.flush().tobytes())
    return loudest


class _Peaks:
    """Extremes of bins that begin at the samples ``floor(k * rate / 200)``."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._start = self._bin = 0
        self._low = self._high = np.zeros(0, np.float32)

    def push(self, block: np.ndarray) -> np.ndarray:
        """Peaks of the bins that are complete."""
        self._low = np.concatenate([self._low, block.min(0)])
        self._high = np.concatenate([self._high, block.max(0)])
        last = ((self._start + len(self._low)) * PEAKS_PER_SECOND) // self._rate
        edges = np.arange(self._bin, last + 1) * self._rate // PEAKS_PER_SECOND - self._start
        if len(edges) < 2:
            return np.zeros((0, 2), np.int8)
        found = self._reduce(edges[:-1], edges[-1])
        self._low, self._high = self._low[edges[-1] :], self._high[edges[-1] :]
        self._start += int(edges[-1])
        self._bin = last
        return found

    def flush(self) -> np.ndarray:
        """Peaks of the last, shorter bin."""
        return self._reduce(np.zeros(1, int), len(self._low)) if len(self._low) else np.zeros((0, 2), np.int8)

    def _reduce(self, starts: np.ndarray, end: int) -> np.ndarray:
        low = np.minimum.reduceat(self._low[:end], starts)
        high = np.maximum.reduceat(self._high[:end], starts)
        # Rounded away from zero, so that quiet sound stays visible.
        scaled = np.stack([np.floor(np.minimum(low, 0) * 127), np.ceil(np.maximum(high, 0) * 127)], 1)
        return np.clip(scaled, -127, 127).astype(np.int8)


class _Levels:
    """Levels of mel bands in Hann windows around the samples ``floor(k * rate / 50)``; power is the channels' mean."""

    def __init__(self, rate: int, channels: int) -> None:
        self._rate = rate
        self._length = 1 << max(6, round(math.log2(rate * _WINDOW_SECONDS)))
        self._window = np.hanning(self._length).astype(np.float32)
        hz = np.fft.rfftfreq(self._length, 1 / rate)
        top = max(1000.0, min(rate / 2, _TOP_HZ))
        filters = triangles(slaney_edges(top, BANDS), hz, least_width=hz[1])
        # Scaled so that a full-scale sine has 0 dB with any length of window.
        self._filters = (filters * (2 / self._window.sum()) ** 2).T.astype(np.float32)
        self._held = np.zeros((channels, self._length // 2), np.float32)
        # Position in the sound of the first sample that is held.
        self._start = -(self._length // 2)
        self._frame = self._taken = 0

    def push(self, block: np.ndarray) -> np.ndarray:
        """Levels of the frames whose windows are complete."""
        self._held = np.concatenate([self._held, block], 1)
        self._taken += block.shape[1]
        end = self._start + self._held.shape[1]
        # The last frame k with floor(k * rate / 50) + length / 2 <= end.
        last = ((end - self._length // 2 + 1) * FRAMES_PER_SECOND - 1) // self._rate
        return self._frames(last)

    def flush(self) -> np.ndarray:
        """Levels of the frames that begin before the end, with silence behind it."""
        self._held = np.pad(self._held, ((0, 0), (0, self._length)))
        return self._frames((self._taken * FRAMES_PER_SECOND - 1) // self._rate)

    def _frames(self, last: int) -> np.ndarray:
        numbers = np.arange(self._frame, last + 1)
        if not len(numbers):
            return np.zeros((0, BANDS), np.uint8)
        starts = numbers * self._rate // FRAMES_PER_SECOND - self._length // 2 - self._start
        views = np.lib.stride_tricks.sliding_window_view(self._held, self._length, axis=1)
        power = sum(
            np.abs(np.fft.rfft(channel[starts] * self._window)).astype(np.float32) ** 2 for channel in views
        ) / len(views)
        level = 10 * np.log10(power @ self._filters + 1e-12)
        self._frame = last + 1
        cut = max(0, self._frame * self._rate // FRAMES_PER_SECOND - self._length // 2 - self._start)
        self._held = self._held[:, cut:]
        self._start += cut
        return np.clip(np.rint(255 * (1 - level / _FLOOR_DB)), 0, 255).astype(np.uint8)
