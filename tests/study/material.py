"""Songs with true vocals and three separations of different quality, as small audio files."""

from pathlib import Path

import numpy as np
import soundfile as sf
from conftest import RATE, played, sung

SYSTEMS = {"tidy": 0.05, "middling": 0.2, "bad one": 0.5}
SECONDS = 9


def make_songs(root: Path, count: int = 5) -> dict[str, Path]:
    """Folders `reference` (with mixtures beside the vocals), `mixtures`, and one of each system, by name."""
    folders = {name: root / name for name in ("reference", "mixtures", *SYSTEMS)}
    for number in range(count):
        song = f"söng {number}"
        voice = np.tile(sung(SECONDS, 150 + 40 * number, number), (2, 1))
        band = played(SECONDS, number)
        _write(folders["reference"] / song / "vocals.wav", voice)
        _write(folders["reference"] / song / "mixture.wav", voice + band)
        _write(folders["mixtures"] / f"{song}.wav", voice + band)
        for system, leak in SYSTEMS.items():
            _write(folders[system] / song / "vocals.wav", 0.3 * (voice + leak * band))
    return folders


def _write(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wave.T, RATE, subtype="PCM_24")
