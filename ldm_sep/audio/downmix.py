"""More than two channels as two: front left and right, with centre and surrounds folded in by FFmpeg's matrix."""

import av
import numpy as np

from ldm_sep.audio.compressed import open_container
from ldm_sep.audio.info import AudioInfo, Notice
from ldm_sep.errors import AudioError
from ldm_sep.files import shown

# What files mean that give a number of channels and no more. FFmpeg takes three for 2.1, where the voice would be lost.
_USUAL = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


class Downmix:
    """Stereo from the blocks of a file of more channels. ``notice`` is told how."""

    def __init__(self, info: AudioInfo, notice: Notice) -> None:
        self._rate = info.sample_rate
        self._layout = _layout(info)
        self._resampler = av.AudioResampler(format="fltp", layout="stereo", rate=info.sample_rate)
        how = "the first two are read, its layout is unknown" if not self._layout else f"{self._layout} becomes stereo"
        notice(f"{shown(info.path)}: has {info.channels} channels; {how}")

    def push(self, block: np.ndarray) -> np.ndarray:
        """float32 ``(C, T)`` to float32 ``(2, T)``."""
        if not self._layout or not block.shape[1]:
            return block[:2]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", self._layout)
        frame.sample_rate = self._rate
        return np.concatenate([f.to_ndarray() for f in self._resampler.resample(frame)], axis=1)


def _layout(info: AudioInfo) -> str | None:
    """The layout that the file gives, or the usual one for its number of channels."""
    try:
        with open_container(info.path) as container:
            layout = container.streams.audio[0].layout
            if layout.nb_channels == info.channels and not layout.name.endswith("channels"):
                return layout.name
    except (AudioError, IndexError):  # an uncompressed file that FFmpeg does not know
        pass
    return _USUAL.get(info.channels)
