"""Songs and engines for the tests of catalogues."""

import json
from collections.abc import Generator, Iterable
from pathlib import Path

import numpy as np
import soundfile as sf
from conftest import RATE, played

from ldm_sep.catalogue import Recipe, Row, make_recipe
from ldm_sep.catalogue.rows import Attempt, Refusal
from ldm_sep.catalogue.song import SeparatorCache, separate_once
from ldm_sep.separation import Options

GOOD = ("a", "folder/b ü", "folder/c", "silent")


def make_songs(folder: Path, seconds: float = 1.5) -> Path:
    """Four songs that can be separated, one of them silent; one with a sample that is no number; one that is none."""
    (folder / "folder").mkdir(parents=True)
    for number, name in enumerate(GOOD[:3]):
        sf.write(folder / f"{name}.wav", played(seconds, number).T, RATE, subtype="PCM_16")
    sf.write(folder / "silent.wav", np.zeros((RATE, 2)), RATE, subtype="PCM_16")
    wave = played(1.0, 9).T
    wave[500, 1] = np.nan
    sf.write(folder / "nan.wav", wave, RATE, subtype="FLOAT")
    (folder / "folder/corrupt.flac").write_bytes(b"fLaC" + bytes(500))
    return folder


def recipe_for(out: Path | str, checkpoint: Path, **settings: object) -> Recipe:
    """Two-second segments, so that there is a half of them."""
    return make_recipe(str(out), checkpoint, Options(segment=2.0, steps=1), device="cpu", **settings)


def here(attempts: Iterable[Attempt], recipe: Recipe) -> Generator[Row | Refusal, None, None]:
    """An engine in this process."""
    cache = SeparatorCache()
    for attempt in attempts:
        yield from separate_once(attempt, recipe, cache)


def nobody(attempts: Iterable[Attempt], recipe: Recipe) -> Generator[Row | Refusal, None, None]:
    """An engine that must find nothing to do."""
    for attempt in attempts:
        raise AssertionError(f"{attempt.entry.source} would be separated")
    yield from ()


def rows_of(folder: Path) -> dict[str, dict]:
    """The last row of each song by its name, from all journals in ``folder``, but for what differs from run to run."""
    rows = {}
    for path in sorted(folder.glob("songs*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            rows[row["name"]] = {key: value for key, value in row.items() if key != "seconds"}
    return rows


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Everything below ``folder`` that is a stem, hidden and unfinished files included."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".json", ".jsonl")
    }
