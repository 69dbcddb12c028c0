"""A real server process."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from conftest import ROOT

Served = tuple[subprocess.Popen[str], str, list[str]]


@contextmanager
def serving(*words: object, patience: float = 30) -> Iterator[Served]:
    """The process of `ldm-sep` and ``words``, its address, and what it said until it was up. It is stopped at the end,
    if it still runs, and has ``patience`` seconds for that.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "ldm_sep", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line.rstrip("\n"))
            if found := re.match(r"open (http://\S+)/ ", line):
                yield process, found[1], said
                return
        raise AssertionError("\n".join(said))
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(patience)
        process.stdout.close()
