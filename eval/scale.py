"""What a catalogue costs beside its songs: songs a minute by workers and by Ray actors, and the check of what is done.

    python eval/scale.py [--name open] [--preset fast] [--songs 12] [--seconds 20] [--workers 1,2] [--actors 1,2]
        [--entries 10000] [--out results/scale]

``--songs`` files of stereo noise of ``--seconds`` at 44.1 kHz are separated in this process, one after another with one
thread, then by each engine. For each: seconds until the first row (processes, checkpoint, Ray), songs a minute from the
first quarter of the rows to the last, CPU seconds a song, and the overhead of a song, which is the time that a worker
had for it less the time that it worked on it. Other processes make all of them worse; the load is printed.

Then ``--entries`` songs that are done are checked again: seconds for all of them, and the memory that this takes.
Writes ``scale.json``.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from script import run_script

from ldm_sep.audio import AudioWriter
from ldm_sep.catalogue import Recipe, Row, Tally, catalogue, local_engine, make_recipe
from ldm_sep.catalogue.cluster import ray_engine
from ldm_sep.catalogue.rows import Attempt, Refusal, folder_name, identity
from ldm_sep.catalogue.run import Engine
from ldm_sep.catalogue.song import SeparatorCache, separate_once
from ldm_sep.catalogue.storage import stamp_of
from ldm_sep.device import usable_cores
from ldm_sep.files import make_folder
from ldm_sep.markdown import markdown_table
from ldm_sep.separation import Options
from ldm_sep.separation.sidecar import StemFacts

_RATE = 44100


@dataclass(frozen=True)
class Cost:
    """Of one run: ``first``, seconds until the first row; ``pace``, songs a minute from then on; ``cpu`` and ``work``,
    seconds a song of CPU and of work on it; ``overhead``, seconds a song of a worker without work.
    """

    engine: str
    workers: int
    first: float
    pace: float
    cpu: float | None
    work: float
    overhead: float


def make_songs(folder: Path, count: int, seconds: float) -> None:
    """Files of 16-bit noise: the cost does not depend on what is heard, only silence is skipped."""
    for number in range(count):
        wave = 0.1 * np.random.default_rng(number).standard_normal((2, round(seconds * _RATE)))
        with AudioWriter(folder / f"{number}.wav", _RATE, 2, subtype="int16") as writer:
            writer.write(wave.astype(np.float32))


def alone(attempts: Iterable[Attempt], recipe: Recipe) -> Generator[Row | Refusal, None, None]:
    """An engine in this process."""
    cache = SeparatorCache()
    for attempt in attempts:
        yield from separate_once(attempt, recipe, cache)


def measure(name: str, workers: int, engine: Engine, songs: Path, recipe: Recipe) -> Cost:
    """The cost of ``engine`` on ``songs``."""
    times: list[float] = []
    rows: list[Row] = []

    def note(tally: Tally, news: Row | str) -> None:
        times.append(time.perf_counter())
        if isinstance(news, Row):
            rows.append(news)

    started, before = time.perf_counter(), _cpu()
    catalogue([str(songs)], recipe, engine, report=note)
    used = _cpu() - before
    # The first rows come together, after what happens once.
    warm = max(workers, len(times) // 4)
    work = float(np.mean([row.seconds for row in rows[warm:]]))
    spent = (times[-1] - times[warm - 1]) / (len(times) - warm)
    return Cost(
        engine=name,
        workers=workers,
        first=times[0] - started,
        pace=60 / spent,
        # Ray's processes are nobody's children.
        cpu=used / len(times) if name != "ray" else None,
        work=work,
        overhead=workers * spent - work,
    )


def _cpu() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def pretend(attempts: Iterable[Attempt], recipe: Recipe) -> Generator[Row | Refusal, None, None]:
    """An engine that writes a byte for each stem."""
    facts = dict(sha256="0" * 64, bytes=1, sample_rate=_RATE, channels=2, frames=1, peak=0.5, level_db=-20.0, clipped=0)
    for attempt in attempts:
        key = recipe.key("0" * 64)
        folder = folder_name(attempt.entry.name, key)
        stems = {stem: StemFacts(file=f"{stem}.{recipe.settings.suffix}", **facts) for stem in recipe.stems}
        Path(recipe.out, folder).mkdir(parents=True)
        for fact in stems.values():
            Path(recipe.out, folder, fact.file).write_bytes(b"x")
        id = identity(attempt.entry.source, recipe.key(""))
        known = dict(input="0" * 64, key=key, folder=folder, stems=stems, stamp=stamp_of(attempt.entry.source))
        yield Row(id=id, source=attempt.entry.source, name=attempt.entry.name, status="done", **known)


def check(entries: int, folder: Path, recipe: Recipe) -> dict[str, float]:
    """Seconds and MiB that it takes to see that ``entries`` songs are done, and seconds to write down one."""
    songs = folder / "entries"
    songs.mkdir()
    for number in range(entries):
        place = songs / f"{number % 100:02}"
        place.mkdir(exist_ok=True)
        (place / f"song {number}.wav").write_bytes(b"x" * number)
    started = time.perf_counter()
    catalogue([str(songs)], recipe, pretend)
    line = (time.perf_counter() - started) / entries
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    tally = catalogue([str(songs)], recipe, pretend)
    seconds = time.perf_counter() - started
    if tally.done_before != entries:
        raise RuntimeError(f"{tally.done_before} of {entries} songs were done")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"entries": entries, "seconds": seconds, "MiB more": grown, "seconds to write down a song": line}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--name", default="open")
    parser.add_argument("--preset")
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--actors", default="1,2")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("results/scale"))
    options = parser.parse_args(arguments)
    make_folder(options.out)
    engines: list[tuple[str, int, Engine]] = [("this process", 1, alone)]
    engines += [("local", int(n), partial(local_engine, workers=int(n))) for n in options.workers.split(",") if n]
    engines += [("ray", int(n), partial(ray_engine, workers=int(n))) for n in options.actors.split(",") if n]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "songs").mkdir()
        make_songs(folder / "songs", options.songs, options.seconds)

        def recipe(place: str) -> Recipe:
            chosen = Options(preset=options.preset)
            return make_recipe(str(folder / place), options.name, chosen, suffix="flac", device="cpu")

        costs = [measure(name, n, engine, folder / "songs", recipe(f"{name} {n}")) for name, n, engine in engines]
        checked = check(options.entries, folder, recipe("checked")) if options.entries else {}
    print(f"{options.songs} songs of {options.seconds:g} s, {usable_cores()} cores, load {os.getloadavg()[1]:.1f}\n")
    header = (
        "engine",
        "workers",
        "first row, s",
        "songs a minute",
        "CPU s a song",
        "work, s a song",
        "overhead, s a song",
    )
    print("\n".join(markdown_table(header, [[_cell(value) for value in asdict(cost).values()] for cost in costs])))
    for name, value in checked.items():
        print(f"{name}: {_cell(value)}")
    record = {
        "argv": sys.argv[1:],
        "load": os.getloadavg(),
        "costs": [asdict(cost) for cost in costs],
        "check": checked,
    }
    (options.out / "scale.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_script(main, __file__)
