"""How far the jobs are, and how long those behind them have to wait."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ldm_sep.page.records import Job, State

# At a smaller fraction done, the time left cannot be extrapolated.
_TELLING = 0.02


@dataclass
class Running:
    """A job in a process, found in ``state``: since when, how far; ``cancelled`` by its owner."""

    state: State
    began: float
    fraction: float = 0.0
    pid: int | None = None
    unwanted: bool = False
    cancelled: bool = False

    def end(self) -> None:
        """Kill the process, if its id is known. `JobQueue` calls this again when the id comes later."""
        self.unwanted = True
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)


@dataclass(frozen=True)
class Outlook:
    """``progress`` of the present work, 0 to 1. ``position``: how many songs come before a queued one. ``eta_seconds``
    until the song is separated; None where nothing can be said.
    """

    progress: float
    position: int | None
    eta_seconds: float | None


def outlook(job: Job, jobs: Sequence[Job], running: Mapping[str, Running], pace: Mapping[str | None, float]) -> Outlook:
    """What can be said of ``job`` among ``jobs``. ``pace``: seconds of work for a second of song, by preset."""
    own = running.get(job.id)
    progress = own.fraction if own else float(job.state == "done")
    ahead = [one for one in jobs if one.state in ("separating", "queued")]
    ahead.sort(key=lambda one: (one.state == "queued", one.queued))
    names = [one.id for one in ahead]
    if job.id not in names:
        return Outlook(progress, None, None)
    place = names.index(job.id)
    waits = [_left(one, running.get(one.id), pace) for one in ahead[: place + 1]]
    known = [wait for wait in waits if wait is not None]
    return Outlook(progress, place if job.state == "queued" else None, sum(known) if len(known) == len(waits) else None)


def _left(job: Job, running: Running | None, pace: Mapping[str | None, float]) -> float | None:
    if running is not None and running.fraction >= _TELLING:
        return (time.monotonic() - running.began) * (1 - running.fraction) / running.fraction
    each = pace.get(job.order.settings.preset) if job.order else None
    if job.order is None or each is None or job.sound is None:
        return None
    stretch = job.order.stretch
    return each * (job.sound.seconds if stretch is None else stretch.end - stretch.start)
