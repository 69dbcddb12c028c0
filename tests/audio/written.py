"""What tests of writing share: sounds, and files made of them."""

from pathlib import Path

import numpy as np
import pytest
from field import RATE

from ldm_sep.audio import AudioWriter, Subtype
from ldm_sep.errors import AudioError


def noise(frames: int, channels: int = 2) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.standard_normal((channels, frames)) * 0.2).astype(np.float32).clip(-0.9, 0.9)


def save(path: Path, sound: np.ndarray, subtype: Subtype | None = None, rate: int = RATE) -> AudioWriter:
    with AudioWriter(path, rate, sound.shape[0], subtype=subtype) as writer:
        writer.write(sound)
    return writer


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def refusal(path: Path, rate: int = RATE, channels: int = 2, subtype: Subtype | None = None) -> str:
    """The one line shown when a writer cannot be opened; nothing may be left behind by it."""
    with pytest.raises(AudioError) as caught:
        AudioWriter(path, rate, channels, subtype=subtype)
    message = str(caught.value)
    assert "\n" not in message and path.name in message and ";" in message
    return message
