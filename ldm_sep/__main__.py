"""The command `ldm-sep`, and `python -m ldm_sep`: signals first, then everything that takes time to import."""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    # Nothing may disturb the tidying up that follows.
    for other in _signals():
        signal.signal(other, signal.SIG_IGN)
    # Not sys.stderr: its buffer may be in the midst of a write.
    with suppress(OSError):
        os.write(2, b"ldm-sep: interrupted; finished files are complete, nothing half-written is left\n")
    # An exception, so that half-written files are taken away; 128 + number is what shells expect.
    raise SystemExit(128 + number)


def _signals() -> list[signal.Signals]:
    return [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _share_memory() -> None:
    """Let all threads take from one pool what any of them has given back: glibc keeps one for each otherwise."""
    if sys.platform == "linux":
        # M_ARENA_MAX of glibc's malloc.h; other C libraries have no such option.
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(-8, 1)


def main() -> None:
    """Run the command line. Ctrl-C, SIGTERM and a closed terminal end it without half-written files."""
    for number in _signals():
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)
    # Threads that wait actively take the cores from those that compute, and the runtime that torch brings asks once.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _share_memory()
    from ldm_sep import cli

    cli.main()


if __name__ == "__main__":
    main()
