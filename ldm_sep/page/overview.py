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
        rate, channels = reader.info.sample_rate, reader.info.channels
        levels = _Levels(rate)
        # Blocks of whole seconds: each begins with a bin of peaks and a frame of levels.
        seconds = max(1, _BLOCK // rate)
        # What the windows of the coming frames cover, from half a window before the first of them on.
        held = np.zeros((channels, levels.length // 2), np.float32)
        for block in reader.blocks(seconds * rate):
            loudest = max(loudest, float(np.abs(block).max()))
            peaks_out.write(_peaks(block, rate).tobytes())
            held = np.concatenate([held, block], 1)
            if held.shape[1] >= seconds * rate + levels.length:
                levels_out.write(levels(held, seconds * FRAMES_PER_SECOND).tobytes())
                held = held[:, seconds * rate :]
        left = held.shape[1] - levels.length // 2
        held = np.pad(held, ((0, 0), (0, levels.length)))
        levels_out.write(levels(held, -(-left * FRAMES_PER_SECOND // rate)).tobytes())
    return loudest


def _peaks(block: np.ndarray, rate: int) -> np.ndarray:
    """Extremes of the bins that begin at the samples ``floor(k * rate / 200)`` of ``block (C, T)``: int8 ``(N, 2)``."""
    starts = np.arange(-(-block.shape[1] * PEAKS_PER_SECOND // rate)) * rate // PEAKS_PER_SECOND
    low, high = np.minimum.reduceat(block.min(0), starts), np.maximum.reduceat(block.max(0), starts)
    # Rounded away from zero, so that quiet sound stays visible.
    scaled = np.stack([np.floor(np.minimum(low, 0) * 127), np.ceil(np.maximum(high, 0) * 127)], 1)
    return np.clip(scaled, -127, 127).astype(np.int8)


class _Levels:
    """Levels of mel bands in Hann windows of ``length`` samples; power is the channels' mean."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.length = 1 << max(6, round(math.log2(rate * _WINDOW_SECONDS)))
        self._window = np.hanning(self.length).astype(np.float32)
        hz = np.fft.rfftfreq(self.length, 1 / rate)
        top = max(1000.0, min(rate / 2, _TOP_HZ))
        filters = triangles(slaney_edges(top, BANDS), hz, least_width=hz[1])
        # Scaled so that a full-scale sine has 0 dB with any length of window.
        self._filters = (filters * (2 / self._window.sum()) ** 2).T.astype(np.float32)

    def __call__(self, wave: np.ndarray, frames: int) -> np.ndarray:
        """Of ``frames`` windows that begin at the samples ``floor(k * rate / 50)`` of ``wave (C, T)``."""
        starts = np.arange(frames) * self._rate // FRAMES_PER_SECOND
        power = np.zeros((frames, self.length // 2 + 1), np.float32)
        for channel in np.lib.stride_tricks.sliding_window_view(wave, self.length, axis=1):
            power += np.abs(np.fft.rfft(channel[starts] * self._window)).astype(np.float32) ** 2
        level = 10 * np.log10(power / len(wave) @ self._filters + 1e-12)
        return np.clip(np.rint(255 * (1 - level / _FLOOR_DB)), 0, 255).astype(np.uint8)
