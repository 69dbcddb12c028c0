"""An excerpt of a track, to look at and to listen to: mixture, reference and every estimate.

Its spectrogram sheet has one panel for each, in one colour scale; its players are 16-bit FLAC files.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ldm_sep.audio import AudioWriter
from ldm_sep.evaluate.plots import drawing, fitted, save
from ldm_sep.figures import need_matplotlib
from ldm_sep.files import as_file_name, replacing
from ldm_sep.metrics import spectrogram
from ldm_sep.signal.loudness import loudest_window

SECONDS = 30.0
# The folder of the sounds, beside the page.
PLAYERS = "excerpts"
_LOWEST_HZ = 60.0
_RANGE_DB = 80.0
_ROWS = 220
_COLUMNS = 900
_TICKS_HZ = (100, 200, 500, 1000, 2000, 5000, 10000, 20000)


@dataclass(frozen=True)
class Excerpt:
    """Waves ``(C, T)`` at ``sample_rate`` Hz, by what they are; ``start`` is their place in the track, in s."""

    track: str
    waves: Mapping[str, np.ndarray]
    sample_rate: int
    start: float


@dataclass(frozen=True)
class Player:
    """A sound of the report: what it is, and its address relative to the page."""

    name: str
    url: str


def loudest_part(wave: np.ndarray, sample_rate: int) -> slice:
    """The 30 s of ``wave (C, T)`` that hold the most energy, to a tenth of a second; all of a shorter wave."""
    length = round(SECONDS * sample_rate)
    start = loudest_window(wave, length, max(1, sample_rate // 10))
    return slice(start, min(start + length, wave.shape[1]))


def draw_sheet(path: Path, excerpt: Excerpt) -> None:
    """One panel for each wave: logarithmic frequency, 80 dB below the loudest point of all, time in the track."""
    need_matplotlib("a spectrogram sheet")
    from matplotlib.figure import Figure

    rate = excerpt.sample_rate
    duration = max(wave.shape[1] for wave in excerpt.waves.values()) / rate
    pictures = {name: _picture(wave.mean(0), rate) for name, wave in excerpt.waves.items()}
    top = max(float(picture.max()) for picture in pictures.values())
    with drawing():
        figure = Figure(figsize=(10, 0.9 + 1.55 * len(pictures)))
        axes = figure.subplots(len(pictures), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        low, high = np.log2(_LOWEST_HZ), np.log2(rate / 2)
        for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
            image = ax.imshow(
                picture,
                origin="lower",
                aspect="auto",
                interpolation="nearest",
                cmap="magma",
                vmin=top - _RANGE_DB,
                vmax=top,
                extent=(excerpt.start, excerpt.start + duration, low, high),
            )
            ax.set_title(fitted(name, 90, 1), fontsize=10, pad=3)
            ticks = [hz for hz in _TICKS_HZ if _LOWEST_HZ < hz < rate / 2]
            ax.set_yticks(np.log2(ticks), [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in ticks], fontsize=8)
            ax.set_ylabel("Hz", fontsize=8)
        axes[-1].set_xlabel("time in the track [s]")
        figure.suptitle(fitted(excerpt.track, 80), fontsize=12, x=0.01, ha="left")
        bar = figure.colorbar(image, ax=list(axes), pad=0.01, aspect=40, fraction=0.03)
        bar.set_label("dB, relative to full scale" if top > -200 else "silence")
        save(figure, path)


def write_players(folder: Path, excerpt: Excerpt, systems: Sequence[str]) -> None:
    """Write the excerpt's waves into ``folder``, whole or not at all. AudioError if they cannot be written."""
    with replacing(folder) as temporary:
        for name, file in _files(systems).items():
            if name in excerpt.waves:
                wave = excerpt.waves[name]
                with AudioWriter(temporary / file, excerpt.sample_rate, len(wave), subtype="int16") as writer:
                    writer.write(wave)


def players(folder: Path, systems: Sequence[str]) -> list[Player]:
    """What `write_players` wrote into ``folder``, which lies in a folder beside the page."""
    files = _files(systems)
    below = f"{folder.parent.name}/{folder.name}"
    return [Player(name, quote(f"{below}/{file}")) for name, file in files.items() if (folder / file).is_file()]


def _files(systems: Sequence[str]) -> dict[str, str]:
    # Numbered, because different names may give the same file name.
    names = dict.fromkeys(["mixture", "reference", *systems])
    return {name: f"{number:02d} {as_file_name(name, 60)}.flac" for number, name in enumerate(names)}


def _picture(wave: np.ndarray, rate: int) -> np.ndarray:
    """Level in dB (rows, columns) on a grid that is even in time and in log frequency."""
    n_fft = 2 * round(2048 * rate / 44100 / 2)
    hop = max(n_fft // 16, -(-len(wave) // _COLUMNS))
    # Divided by the window's sum: a full-scale sine shows as -6 dB.
    magnitude = spectrogram(wave, n_fft, hop).T / (n_fft / 2)
    edges = np.geomspace(_LOWEST_HZ, rate / 2, _ROWS + 1) * n_fft / rate
    rows = []
    for low, high in itertools.pairwise(edges):
        first, last = int(np.ceil(low)), int(np.floor(high))
        if last > first:
            # A row that spans several bins shows the loudest, so that thin harmonics stay visible.
            rows.append(magnitude[first : last + 1].max(0))
        else:
            centre = min((low + high) / 2, len(magnitude) - 1.001)
            below = int(centre)
            rows.append(magnitude[below] + (centre - below) * (magnitude[below + 1] - magnitude[below]))
    return 20 * np.log10(np.maximum(np.stack(rows), 1e-12))
