"""What kills cost: a worker's in mid-song, the whole run's at any time."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from catalogues import bytes_of, here, make_songs, nobody, recipe_for, rows_of
from conftest import RATE, ROOT, played

from ldm_sep.catalogue import Recipe, Row, catalogue, local_engine
from ldm_sep.catalogue.rows import Attempt, Entry, Refusal
from ldm_sep.catalogue.song import SeparatorCache, after_crash, separate_once, tries_on
from ldm_sep.separation import Separator

ENGINE = partial(local_engine, workers=1)


@pytest.fixture(scope="module")
def long_song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to be met in its midst."""
    path = tmp_path_factory.mktemp("songs") / "long.wav"
    sf.write(path, played(20.0, 5).T, RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def undisturbed(untrained: Path, long_song: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    catalogue([str(long_song)], recipe_for(out, untrained), here)
    return out


# For every Python process that finds it. The worker that writes the first song after ``before`` others waits for their
# rows in the journal, and then kills ``processes``, once.
DEADLY = """
import importlib, os, signal, time
from pathlib import Path

writer = importlib.import_module("ldm_sep.audio.writer").AudioWriter
write, songs, journal, killed = writer.write, set(), Path({journal!r}), Path({killed!r})

def deadly(self, block):
    write(self, block)
    songs.add(self.path.parent)
    if len(songs) > {before} and not killed.exists():
        while {before} and journal.read_bytes().count(b"\\n") < {before}:
            time.sleep(0.01)
        killed.touch()
        for process in {processes}:
            os.kill(process, signal.SIGKILL)

writer.write = deadly
"""


def deadly(folder: Path, out: Path, before: int, processes: str) -> str:
    """The PYTHONPATH, by a file in ``folder``, for kills in the midst of the song after ``before`` others."""
    text = DEADLY.format(
        journal=str(out / "songs.jsonl"), killed=str(folder / "done once"), before=before, processes=processes
    )
    (folder / "sitecustomize.py").write_text(text)
    return os.pathsep.join([str(folder), str(ROOT)])


def test_a_killed_worker_costs_a_try_and_no_byte(
    untrained: Path, long_song: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("PYTHONPATH", deadly(tmp_path, out, 0, "[os.getpid()]"))
    tally = catalogue([str(long_song)], recipe_for(out, untrained), ENGINE)
    assert (tally.done, tally.failed) == (1, 0) and (tmp_path / "done once").exists()
    assert bytes_of(out) == bytes_of(undisturbed)
    row = rows_of(out)["long"]
    assert row["tries"] == 2
    assert row["warnings"] == ["a process that separated it ended (signal 9, perhaps for lack of memory)"]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """A Ctrl-C is an exception, also where a shell has started the tests in the background, with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_run_leaves_nothing_half_written(untrained: Path, tmp_path: Path) -> None:
    main = threading.get_ident()
    song, out = tmp_path / "never to its end.wav", tmp_path / "out"
    sf.write(song, np.tile(played(20.0, 5), 15).T, RATE, subtype="PCM_16")

    def interrupt() -> None:
        while not any(out.rglob(".ldm-sep-*.part")):
            time.sleep(0.002)
        # To the thread that waits, as a terminal's would come.
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        catalogue([str(song)], recipe_for(out, untrained), ENGINE)
    thread.join()
    assert bytes_of(out) == {} and (out / "songs.jsonl").read_bytes() == b""


def test_a_song_that_kills_its_workers_is_tried_with_less_on_the_cpu_and_given_up(
    untrained: Path, long_song: Path, undisturbed: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(tmp_path, untrained)
    devices = []

    class Watched(SeparatorCache):
        def separator(self, recipe: Recipe, device: str) -> Separator:
            devices.append(device)
            return super().separator(recipe, "cpu")

    def killed(attempts: Iterable[Attempt], recipe: Recipe, survives: int) -> Generator[Row | Refusal, None, None]:
        """What comes of a worker that is killed but for the try ``survives``."""
        for attempt in attempts:
            left: Attempt | None = attempt
            while left is not None:
                if len(left.crashes) == survives:
                    yield from separate_once(left, recipe, Watched())
                    break
                rows, left = after_crash(left, 0, "signal 9", recipe=recipe, tries=tries_on("cuda"))
                yield from rows

    def run(survives: int, **how: bool) -> dict[str, Any]:
        shutil.rmtree(tmp_path / "long", ignore_errors=True)
        catalogue([str(long_song)], recipe, partial(killed, survives=survives), **how)
        return rows_of(tmp_path)["long"]

    row = run(9)
    assert (row["status"], row["tries"], bytes_of(tmp_path)) == ("failed", 4, {})
    assert row["error"].endswith("long.wav: given up, 4 processes that separated it ended, the last by signal 9")
    assert "long.wav" in (tmp_path / "failed.jsonl").read_text()
    assert catalogue([str(long_song)], recipe, nobody).failed_before == 1
    recipe = replace(recipe, device="cuda")
    assert run(2, retry_failed=True)["tries"] == 3
    # With half of the segment other samples come out, of the same song.
    assert bytes_of(tmp_path).keys() == bytes_of(undisturbed).keys() and bytes_of(tmp_path) != bytes_of(undisturbed)
    for folder in tmp_path.glob("long-*"):
        shutil.rmtree(folder)
    row = run(3)
    assert row["stems"]["vocals"]["frames"] == 20 * RATE and devices == ["cuda", "cpu"]
    assert tries_on("cpu") == 3


def test_a_killed_run_goes_on_as_if_it_had_not_been(untrained: Path, tmp_path: Path) -> None:
    songs = make_songs(tmp_path / "songs")
    whole = tmp_path / "whole"
    catalogue([str(songs)], recipe_for(whole, untrained), here)
    out = tmp_path / "killed"
    code = (
        "import sys; from functools import partial; from catalogues import recipe_for\n"
        "from ldm_sep.catalogue import catalogue, local_engine\n"
        f"tally = catalogue([{str(songs)!r}], recipe_for({str(out)!r}, {str(untrained)!r}),"
        " partial(local_engine, workers=1))\n"
    )

    # The run first, then the worker, which would end by itself.
    path = [deadly(tmp_path, out, 2, "[os.getppid(), os.getpid()]"), *map(str, Path(__file__).parents[:2])]
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(path)}, check=False
    )
    assert done.returncode == -signal.SIGKILL and any(out.rglob(".ldm-sep-*"))
    before = (out / "songs.jsonl").read_bytes()
    assert before.count(b"\n") >= 2
    tally = catalogue([str(songs)], recipe_for(out, untrained), here)
    assert tally.done_before + tally.failed_before >= 2
    assert (out / "songs.jsonl").read_bytes().startswith(before)
    assert bytes_of(out) == bytes_of(whole) and rows_of(out) == rows_of(whole)


def test_a_process_that_ended_with_endless_words_is_a_row_like_others(untrained: Path, tmp_path: Path) -> None:
    attempt = Attempt(Entry(str(tmp_path / "song.wav"), "song"), crashes=("once", "twice"))
    rows, left = after_crash(attempt, 0, "x" * 30_000, recipe=recipe_for(tmp_path, untrained), tries=3)
    assert left is None and rows[0].status == "failed" and 400 < len(rows[0].error) < 1500
