"""Servers: a real process, or a thread of this one."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from conftest import ROOT

from ldm_sep.web.app import open_socket

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


@contextmanager
def serving_here(app: Any) -> Iterator[str]:
    """The address at which a thread of this process serves ``app``, for browsers."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    opened, _ = open_socket("127.0.0.1", 0)
    with opened:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
