"""The process of a worker: pickled jobs come in at stdin, pickled results go out at stdout, until stdin ends."""

import os
import pickle
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

# Seconds in which a process that is to end may clear up.
_GRACE = 5.0


def main() -> None:
    """Take the function, then one job after another.

    What goes out are pairs: ``(True, result)`` for each result, ``(False, None)`` at the end of a job. An exception of
    the function ends the process; its last line on stderr is then the reason. SIGTERM is an exception like any other,
    so that what is half-written is taken away.
    """
    signal.signal(signal.SIGTERM, _clear_up)
    out = os.fdopen(os.dup(1), "wb")
    # What libraries print must not get between the results.
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function = pickle.load(sys.stdin.buffer)
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        for result in function(job):
            pickle.dump((True, result), out)
            out.flush()
        pickle.dump((False, None), out)
        out.flush()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, even in the midst of a job: nobody takes the result.

    Systems without ``poll`` let it finish its job first.
    """
    if not hasattr(select, "poll"):
        return
    watch = select.poll()
    # No event but the hang-up, which need not be asked for.
    watch.register(sys.stdin.fileno(), 0)
    watch.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)


def _clear_up(number: int, frame: FrameType | None) -> NoReturn:
    # A second one must not interrupt what the first one began.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)
