"""The process of a worker: pickled jobs come in at stdin, pickled results go out at stdout, until stdin ends."""

import os
import pickle
import sys


def main() -> None:
    """Take the function, then one job after another.

    What goes out are pairs: ``(True, result)`` for each result, ``(False, None)`` at the end of a job. An exception of
    the function ends the process; its last line on stderr is then the reason.
    """
    out = os.fdopen(os.dup(1), "wb")
    # What libraries print must not get between the results.
    os.dup2(2, 1)
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
