"""A pool of local processes in which a crash costs one result.

The processes are started afresh (``python -P -c``), not forked: they inherit no threads, and a script that uses them
needs no ``__main__`` guard. Each computes with one thread. If one ends in the midst of a job (out of memory, a crash in
C code), the result that was due is lost, and another process takes over the rest of the job.
"""

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from ldm_sep.errors import LdmSepError, reason

Job = TypeVar("Job")
Result = TypeVar("Result")

# -P: a file in the current folder must not take the place of a package that results rest on.
_COMMAND = (sys.executable, "-P", "-c", "from ldm_sep.workers.process import main; main()")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Seconds in which a process that is dismissed may clear up.
_GRACE = 5.0
# Where libraries keep what they compile and look up. numba fails without a folder that can be written.
_CACHES = ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR")


def work_through(
    function: Callable[[Job], Iterable[Result]],
    jobs: Iterable[Job],
    processes: int,
    lost: Callable[[Job, int, str], tuple[Sequence[Result], Job | None]],
    variables: Sequence[Mapping[str, str]] = (),
) -> Generator[Result]:
    """The results of ``function(job)`` for all ``jobs``, as they come, computed by up to ``processes`` processes.

    Jobs are taken one by one as processes become free, in threads of the pool, so ``jobs`` may be an endless stream,
    and one that waits for the next one.
    The function is sent to each process once, so what a callable object or a ``partial`` holds is kept from job to
    job. It, the jobs and the results are pickled. Where a process ends before its job does, ``lost(job, given, why)``
    is asked, with the number of results ``given`` before and the reason in a few words: it returns the results that
    stand for the lost one, and what remains of the job, or None.

    ``variables`` of the environment are dealt out to the processes in turn, such as the GPU that each may see.

    The processes end when the generator is closed; whoever may stop before its end closes it (`contextlib.closing`).
    LdmSepError if no process can be started.
    """
    waiting = _Waiting(jobs)
    results: queue.SimpleQueue[tuple[Result] | BaseException | None] = queue.SimpleQueue()
    with ExitStack() as stack:
        crew = _Crew(pickle.dumps(function), _environment(stack), variables)
        threads = [
            threading.Thread(target=_serve, args=(crew, number, waiting, results, lost), daemon=True)
            for number in range(max(1, processes))
        ]
        # Last in, first out: the processes have ended before their cache is taken away. The threads are not waited
        # for: one of them may wait for a job that never comes.
        stack.callback(crew.dismiss)
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            message = results.get()
            if message is None:
                running -= 1
            elif isinstance(message, BaseException):
                raise message
            else:
                yield message[0]


def _environment(stack: ExitStack) -> Mapping[str, str]:
    """The variables of the processes; a temporary cache, where the user's cannot be written, ends with ``stack``."""
    # Agg draws without a display; a backend that is set for notebooks may not exist in a fresh process.
    env = {**os.environ, "MPLBACKEND": "Agg", **dict.fromkeys(_THREADS, "1")}
    try:
        cache = Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        cache.mkdir(parents=True, exist_ok=True)
        usable = os.access(cache, os.W_OK)
    except (OSError, RuntimeError):
        # RuntimeError: there is no home.
        usable = False
    if not usable:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        env |= {name: folder for name in _CACHES if name == "XDG_CACHE_HOME" or name not in env}
    return env


class _Waiting:
    """The jobs that nobody has taken. Several threads ask."""

    def __init__(self, jobs: Iterable[Any]) -> None:
        self._jobs = iter(jobs)
        self._lock = threading.Lock()

    def take(self) -> Any:
        """The next job. StopIteration at the end."""
        with self._lock:
            return next(self._jobs)


class _Crew:
    """All processes of one call, so that they can be ended together.

    There is no lock: a generator that its user forgot is closed by the garbage collection, at any point of any thread,
    also of one that would hold the lock. Whoever adds a process looks afterwards whether all are dismissed.
    """

    def __init__(self, function: bytes, env: Mapping[str, str], variables: Sequence[Mapping[str, str]]) -> None:
        self.function = function
        self.env = env
        self.variables = variables or ({},)
        self.dismissed = False
        self._workers: list[_Worker] = []

    def hire(self, number: int) -> "_Worker | None":
        """A new process for the thread of this ``number``; None once all are dismissed."""
        if self.dismissed:
            return None
        worker = _Worker(self.function, {**self.env, **self.variables[number % len(self.variables)]})
        self._workers.append(worker)
        if not self.dismissed:
            return worker
        worker.process.terminate()
        worker.close()
        return None

    def dismiss(self) -> None:
        self.dismissed = True
        workers = list(self._workers)
        for worker in workers:
            # Asked first, so that what they have half-written is taken away.
            worker.process.terminate()
        deadline = time.monotonic() + _GRACE
        for worker in workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()


def _serve(
    crew: _Crew,
    number: int,
    waiting: _Waiting,
    results: "queue.SimpleQueue[tuple[Any] | BaseException | None]",
    lost: Callable[[Any, int, str], tuple[Sequence[Any], Any | None]],
) -> None:
    """One thread for each process: hands it jobs and passes on what it gives."""
    worker: _Worker | None = None
    try:
        while not crew.dismissed:
            try:
                job: Any | None = waiting.take()
            except StopIteration:
                break
            while job is not None:
                worker = worker or crew.hire(number)
                if worker is None:
                    return
                given, died = worker.run(job, lambda result: results.put((result,)))
                if not died:
                    break
                why = worker.last_words()
                worker.close()
                worker = None
                if crew.dismissed:
                    return
                substitutes, job = lost(job, given, why)
                for result in substitutes:
                    results.put((result,))
    except BaseException as error:
        results.put(error)
    finally:
        if worker is not None:
            worker.close()
        results.put(None)


class _Worker:
    """One process."""

    def __init__(self, function: bytes, env: Mapping[str, str]) -> None:
        try:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
            self.process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=env,
                # Ctrl-C in the terminal is the parent's to handle.
                start_new_session=True,
            )
        except OSError as error:
            raise LdmSepError(f"a process could not be started ({reason(error)}); free memory or disk space") from None
        self._function = function

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process has no pipes")
        return stdin, stdout

    def run(self, job: Any, tell: Callable[[Any], None]) -> tuple[int, bool]:
        """Have ``job`` done. Returns how many results came, and whether the process died before the end."""
        stdin, stdout = self._pipes
        given = 0
        try:
            # Before the first job only; the process keeps the function.
            stdin.write(self._function)
            self._function = b""
            pickle.dump(job, stdin)
            stdin.flush()
            while True:
                more, result = pickle.load(stdout)
                if not more:
                    return given, False
                tell(result)
                given += 1
        except (EOFError, OSError, pickle.UnpicklingError):
            return given, True

    def last_words(self) -> str:
        """How the process ended, and the last line that it wrote."""
        try:
            code = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {lines[-1].strip()}" if lines else f"{how}, perhaps for lack of memory"

    def close(self) -> None:
        for pipe in self._pipes:
            with suppress(OSError):
                pipe.close()
        self.process.wait()
        self._log.close()
