"""What the workers of the tests compute; imported in their processes by this name."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def words(job: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Each word with the process that read it; some words have an effect."""
    for word in job:
        if word == "dies":
            print("out of luck", file=sys.stderr)
            os._exit(3)
        if word == "is killed":
            os.kill(os.getpid(), 9)
        if word == "raises":
            raise ValueError("no such word")
        if word == "hangs":
            time.sleep(60)
        if word == "tidies":
            try:
                yield word, os.getpid()
                time.sleep(60)
            finally:
                Path(os.environ["TIDY"]).touch()
        if word == "prints":
            print("not a result")
        yield word, os.getpid()


class Counter:
    """Counts its calls, from job to job."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, job: str) -> Iterator[tuple[str, int]]:
        """The job, and how many there were before it in this process."""
        yield job, self.calls
        self.calls += 1


def environment(job: str) -> Iterator[str | None]:
    """A variable, as the process has it."""
    yield os.environ.get(job)


def compile_with_numba(job: int) -> Iterator[int]:
    """Twice the job, by a function that numba keeps in its cache."""
    from numba import njit

    yield njit(cache=True)(_double)(job)


def _double(x: int) -> int:
    return 2 * x
