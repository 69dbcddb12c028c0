"""A process that scores tracks, one thread each, and the crew of such processes that one evaluation uses.

The processes are started afresh (``python -P -c``), not forked: they take over no threads, and a script that evaluates
needs no ``__main__`` guard. If one ends in the midst of a row (out of memory, a crash in a metric's C code), that row
becomes an error and another process takes over the rest.
"""

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ldm_sep.evaluate.match import TrackFiles
from ldm_sep.evaluate.rows import Row

# -P: a file in the current folder must not take the place of a package that numbers rest on.
WORKER = (sys.executable, "-P", "-c", "from ldm_sep.evaluate.worker import main; main()")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class CodecFiles:
    """The folder of a checkpoint whose codec is a baseline, and the pretrained codec's weight file if one is named."""

    folder: Path
    weights: Path | None


@dataclass(frozen=True)
class Job:
    """What is to be done for one track: metrics by system, row keys by system, and the spectrogram sheet, if any,
    with all of ``systems``. ``codecs`` by the baseline's name.
    """

    track: TrackFiles
    wanted: dict[str, tuple[str, ...]]
    keys: dict[str, str]
    systems: tuple[str, ...]
    sheet: Path | None
    codecs: dict[str, CodecFiles]


@dataclass(frozen=True)
class Sheet:
    """A spectrogram sheet that was drawn, or an ``error`` in one line."""

    track: str
    error: str | None


Result = Row | Sheet


def main() -> None:
    """The process: pickled jobs come in at stdin, pickled results go out at stdout, until stdin ends."""
    out = os.fdopen(os.dup(1), "wb")
    # What libraries print must not get between the results.
    os.dup2(2, 1)
    from ldm_sep.evaluate.score import CodecShelf, score_track

    shelf = CodecShelf()
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        for result in score_track(job, shelf):
            pickle.dump(result, out)
            out.flush()


def work_through(jobs: Sequence[Job], count: int, command: Sequence[str] = WORKER) -> Iterator[Result]:
    """Results of all ``jobs`` as they come, computed by ``count`` processes.

    The processes end when the iterator is closed, also before its end.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    results: queue.SimpleQueue[Result | BaseException | None] = queue.SimpleQueue()
    crew = _Crew(command)
    threads = [
        threading.Thread(target=_serve, args=(crew, waiting, results), daemon=True)
        for _ in range(max(1, min(count, len(jobs))))
    ]
    try:
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            result = results.get()
            if result is None:
                running -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
    finally:
        crew.dismiss()
        for thread in threads:
            thread.join()


class _Crew:
    """All processes of an evaluation, so that they can be ended together."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)
        self.dismissed = threading.Event()
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []

    def hire(self) -> "_Worker | None":
        with self._lock:
            if self.dismissed.is_set():
                return None
            worker = _Worker(self.command)
            self._workers.append(worker)
            return worker

    def dismiss(self) -> None:
        with self._lock:
            self.dismissed.set()
            for worker in self._workers:
                worker.process.kill()


def _serve(
    crew: _Crew,
    waiting: "queue.SimpleQueue[Job]",
    results: "queue.SimpleQueue[Result | BaseException | None]",
) -> None:
    """One thread for each process: hands it jobs and passes on what it says."""
    worker: _Worker | None = None
    try:
        while not crew.dismissed.is_set():
            try:
                job: Job | None = waiting.get_nowait()
            except queue.Empty:
                break
            while job is not None:
                worker = worker or crew.hire()
                if worker is None:
                    return
                job, dead = worker.run(job, results.put, crew.dismissed)
                if dead:
                    worker.close()
                    worker = None
    except BaseException as error:
        results.put(error)
    finally:
        if worker is not None:
            worker.close()
        results.put(None)


class _Worker:
    """One process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "MPLBACKEND": "Agg", **dict.fromkeys(_THREADS, "1")},
            # Ctrl-C in the terminal is the parent's to handle.
            start_new_session=True,
        )

    def run(self, job: Job, tell: Callable[[Result], None], dismissed: threading.Event) -> tuple[Job | None, bool]:
        """Have ``job`` done. Returns what is left of it after the process died, and whether it died."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process has no pipes")
        rest = job
        try:
            pickle.dump(job, stdin)
            stdin.flush()
            while rest.wanted or rest.sheet:
                result = pickle.load(stdout)
                rest = _without(rest, result)
                tell(result)
        except (EOFError, OSError, pickle.UnpicklingError):
            if dismissed.is_set():
                return None, True
            lost = _next(rest, self._last_words())
            tell(lost)
            rest = _without(rest, lost)
            return (rest if rest.wanted or rest.sheet else None), True
        return None, False

    def _last_words(self) -> str:
        try:
            code = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        said = f": {lines[-1].strip()}" if lines else ", perhaps for lack of memory"
        return f"the process that scored it ended ({how}){said}; run again, with fewer --jobs if memory is short"

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        self.process.wait()
        self._log.close()


def _without(job: Job, result: Result) -> Job:
    if isinstance(result, Sheet):
        return replace(job, sheet=None)
    return replace(job, wanted={name: keys for name, keys in job.wanted.items() if name != result.system})


def _next(job: Job, message: str) -> Result:
    """The result that was due when the process died."""
    if job.wanted:
        system = next(iter(job.wanted))
        return Row(job.track.name, system, job.keys[system], {}, message, 0.0)
    return Sheet(job.track.name, message)
