"""Three songs with estimates of them, and evaluations of these."""

from pathlib import Path

import numpy as np
import soundfile as sf
from conftest import RATE, played, sung

from ldm_sep.evaluate import Row, Summary, evaluate, match_tracks
from ldm_sep.separation.naming import Stem

NAMES = ("a $1 & <b>x</b> | y$", "b – ü 日本", "c")
SECONDS = 2.0


def write(path: Path, wave: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wave.T, rate, subtype="PCM_16")


def make_songs(folder: Path) -> Path:
    """ref/<song>/{vocals,mixture}.wav and ours/<song>.wav, which has 0.1 to 0.3 of the accompaniment left."""
    for i, name in enumerate(NAMES):
        voice = np.stack([sung(SECONDS, 200 + 40 * i, i)] * 2)
        band = played(SECONDS, i)
        write(folder / "ref" / name / "vocals.wav", voice)
        write(folder / "ref" / name / "mixture.wav", voice + band)
        write(folder / "ours" / f"{name}.wav", voice + 0.1 * (i + 1) * band)
    return folder


class Told:
    """Remembers the rows that were computed."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.counts: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int, row: Row | None) -> None:
        if row is None:
            return
        self.rows.append((row.track, row.system))
        self.counts.append((done, total))


def run(
    songs: Path,
    *systems: str,
    jobs: int = 1,
    metrics: tuple[str, ...] = ("sdr",),
    sheets: bool = False,
    out: str = "o",
    stem: Stem = "vocals",
) -> tuple[Summary, Told]:
    told = Told()
    tracks = match_tracks(songs / "ref", {"ours": songs / "ours"})
    chosen = systems or ("ours",)
    summary = evaluate(
        tracks, chosen, songs / out, jobs=jobs, metrics=metrics, stem=stem, spectrograms=sheets, report=told
    )
    return summary, told


def value(summary: Summary, track: str, system: str, metric: str = "sdr") -> float | None:
    return summary.rows[track, system].scores[metric].value


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(sf.read(path, dtype="float32", always_2d=True)[0].T)
