"""The process of a worker: pickled jobs come in at stdin, pickled results go out at stdout, until stdin ends."""

import os
import pickle
import select
import sys
import threading


def main() -> None:
    """Take the function, then one job after another.

    What goes out are pairs: ``(True, result)`` for each result, ``(False, None)`` at the end of a job. An exception of
    the function ends the process; its last line on stderr is then the reason.
    """
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
    os._exit(1)
