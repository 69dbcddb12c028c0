"""Where a song is sung loudest, found by looking at a little of it."""

from pathlib import Path

import numpy as np

from ldm_sep.audio import AudioReader
from ldm_sep.separation.options import Options
from ldm_sep.separation.separator import Separator
from ldm_sep.signal.loudness import loudest_window

# Seconds of the part that is given.
PREVIEW = 30.0
# Seconds: of each look, and from one look to the next.
_LOOK, _EVERY = 1.5, 5.0


def loudest_singing(separator: Separator, path: Path) -> tuple[float, float]:
    """Start and duration, in seconds, of the 30 s of a song that hold the most energy of vocals.

    Looks of 1.5 s, one every 5 s, are separated by the preset `fast`, and each stands for its five seconds. A shorter
    song is taken whole. AudioError if the file cannot be read.
    """
    options = Options(preset="fast" if "fast" in separator.presets else None, segment=_LOOK, overlap=0.0)
    energies: list[float] = []
    with AudioReader(path, stereo=True, notice=lambda line: None) as reader:
        rate, channels = reader.info.sample_rate, reader.info.channels
        look, every = round(_LOOK * rate), round(_EVERY * rate)
        while (block := reader.take(every)).shape[1]:
            parts = separator.stream([block[:, :look]], rate, channels, options)
            energies.append(sum(float(np.square(part.vocals, dtype=np.float64).sum()) for part in parts))
    # What is summed is energy, what is given is a wave.
    wave = np.sqrt(energies, dtype=np.float32)[None]
    return _EVERY * loudest_window(wave, round(PREVIEW / _EVERY)), PREVIEW
