"""Fixed validation items: the same crops at the same gains whenever a model is scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ldm_sep.audio import as_stereo, of_length, read, resample
from ldm_sep.config.fields import Line
from ldm_sep.data.tables import FileName
from ldm_sep.data.tracks import Track
from ldm_sep.errors import DataError
from ldm_sep.records import Record, read_table
from ldm_sep.signal.loudness import loudest_window

Seconds = Annotated[float, Field(ge=0, le=1e6)]


class ItemRow(Record):
    """A row of a table of items, see `read_items`."""

    group: Line
    vocals: FileName
    vocals_start: Seconds
    accompaniment: FileName
    accompaniment_start: Seconds
    gain_db: Annotated[float, Field(ge=-100, le=100)]
    seconds: Annotated[float, Field(gt=0, le=600)]


@dataclass(frozen=True)
class Item:
    """``vocals, accompaniment (2, T)`` float32 at one rate; the mixture is their sum."""

    name: str
    group: str
    vocals: np.ndarray
    accompaniment: np.ndarray

    @property
    def mixture(self) -> np.ndarray:
        """vocals + accompaniment (2, T)."""
        return self.vocals + self.accompaniment


def _crop(path: Path, start: float, frames: int, sample_rate: int) -> np.ndarray:
    wave, rate = read(path)
    first = round(start * rate)
    if not 0 <= first < wave.shape[1]:
        raise DataError(f"{path}: lasts {wave.shape[1] / rate:.1f} s, and an item is to begin at {start:g} s")
    # With a margin, which takes the resampler's ringing and is cut away again.
    wave = resample(wave[:2, first : first + round(frames * rate / sample_rate) + rate // 10], rate, sample_rate)
    return as_stereo(of_length(wave, frames))


def read_items(table: Path, root: Path, sample_rate: int, multiple: int) -> list[Item]:
    """Items of a CSV with the columns group, vocals, vocals_start, accompaniment, accompaniment_start, gain_db,
    seconds.

    Paths are relative to ``root``, starts and lengths in seconds, ``gain_db`` is applied to the vocals; lengths are
    cut to a ``multiple`` of samples. DataError if the table or a file is missing, or a cell is not what it should be.
    """
    rows = read_table(table, ItemRow, DataError)
    if not rows:
        raise DataError(f"{table}: lists no items; it needs rows below {', '.join(ItemRow.model_fields)}")
    items = []
    for number, row in enumerate(rows, 1):
        frames = int(row.seconds * sample_rate) // multiple * multiple
        if not frames:
            raise DataError(f"{table}: item {number}: its seconds make no frame of {multiple} samples")
        for part in (row.vocals, row.accompaniment):
            if not (root / part).is_file():
                raise DataError(f"{root / part}: listed in {table.name} but missing; is {root} the right --data?")
        vocals = _crop(root / row.vocals, row.vocals_start, frames, sample_rate)
        backing = _crop(root / row.accompaniment, row.accompaniment_start, frames, sample_rate)
        items.append(Item(f"{row.group}-{number:02d}", row.group, vocals * 10 ** (row.gain_db / 20), backing))
    return items


def items_of_songs(tracks: Sequence[Track], seconds: float, sample_rate: int, multiple: int, limit: int) -> list[Item]:
    """The loudest vocal window of each of the first ``limit`` songs, for data sets without a table."""
    items = []
    frames = int(seconds * sample_rate) // multiple * multiple
    songs = [(t, t.vocals) for t in tracks if t.is_song and t.vocals is not None]
    for track, path in songs[:limit]:
        vocals, rate = read(path)
        window = max(1, round(seconds * rate))
        start = loudest_window(vocals, window, max(1, window // 2)) / rate
        voice = _crop(path, start, frames, sample_rate)
        if track.mixture is not None and not track.accompaniment:
            backing = _crop(track.mixture, start, frames, sample_rate) - voice
        else:
            backing = reduce(np.add, (_crop(stem, start, frames, sample_rate) for stem in track.accompaniment))
        items.append(Item(track.name, "songs", voice, backing))
    return items
