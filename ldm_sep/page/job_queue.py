"""The queue: uploads are decoded one by one, songs separated one by one, each in a process that may crash."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Literal

from ldm_sep.errors import LdmSepError, printable, reason
from ldm_sep.files import shown
from ldm_sep.page.events import Advanced, Event, Failed, Finished, Lost, Started
from ldm_sep.page.job_store import MIXTURE, UPLOAD, JobStore, now
from ldm_sep.page.outlook import Outlook, Running, outlook
from ldm_sep.page.reading import Reading, read_upload
from ldm_sep.page.records import ACTIVE, Bounds, Job, Order, State
from ldm_sep.page.work import Separation, SeparationWorker
from ldm_sep.workers import work_through

_SWEEP_SECONDS = 600.0


class FullError(Exception):
    """All places are taken. ``seconds`` until one may be free."""

    def __init__(self, seconds: float) -> None:
        super().__init__("All places in the queue are taken.")
        self.seconds = seconds


class ActiveError(Exception):
    """The job is waiting or being worked on."""


class JobQueue:
    """Works through the jobs of ``store`` in two threads, from `start` to `close`. Several threads may call it.

    A separation whose process crashes is tried once more. A decoder that crashes, or takes too long, has failed.
    """

    def __init__(
        self, store: JobStore, worker: SeparationWorker, bounds: Bounds, report: Callable[[str], None]
    ) -> None:
        self.bounds = bounds
        self._store, self._worker, self._report = store, worker, report
        self._changed = threading.Condition(threading.RLock())
        self._stopping = False
        self._reserved = 0
        self._running: dict[str, Running] = {}
        self._crashed: set[str] = set()
        # Seconds of work per second of song, by preset, measured on the last song.
        self._pace: dict[str | None, float] = {}
        self._swept = float("-inf")
        self._threads = [threading.Thread(target=self._work, args=(state,)) for state in ("reading", "queued")]

    def start(self) -> None:
        """Begin, with the jobs that an earlier server left unfinished."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the processes; what they were at stays in the queue for the next start."""
        with self._changed:
            self._stopping = True
            for running in self._running.values():
                running.end()
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    # -- what the page asks for

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue for what the block adds to the store. FullError if all are taken."""
        with self._changed:
            active = [job for job in self._store.all() if job.state in ACTIVE]
            if len(active) + self._reserved >= self.bounds.places:
                waits = [eta for job in active if (eta := self.outlook(job).eta_seconds) is not None]
                raise FullError(min(waits, default=60.0))
            self._reserved += 1
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= 1
                self._changed.notify_all()

    def renew(self, job: Job, order: Order) -> Job:
        """Have ``order`` done with a job that is in the store. FullError, ActiveError; OSError if the disk is full."""
        with self.place(), self._changed:
            current = self._store.get(job.id) or job
            if current.state in ACTIVE:
                raise ActiveError
            self._crashed.discard(job.id)
            state: State = "reading" if current.sound is None else "queued"
            return self._store.change(current, state=state, queued=now(), order=order, error=None)

    def cancel(self, job: Job) -> Job:
        """End what is due or being done for ``job``; a result that was there before stays."""
        with self._changed:
            running = self._running.get(job.id)
            if running is not None:
                running.cancelled = True
                running.end()
                # A killed process is gone in milliseconds; one that is just starting takes a little longer.
                self._changed.wait_for(lambda: job.id not in self._running, timeout=20)
            current = self._store.get(job.id) or job
            if current.state in ACTIVE:
                self._end(current, "cancelled", None)
            return self._store.get(job.id) or current

    def delete(self, job: Job) -> None:
        """Cancel a job and remove it from the store."""
        with self._changed:
            # A full disk takes no record of the end. The song goes all the same, and makes room.
            with suppress(OSError):
                self.cancel(job)
            self._store.delete(job)

    def outlook(self, job: Job) -> Outlook:
        """Where a job stands in the queue, and how long it will take."""
        with self._changed:
            return outlook(job, self._store.all(), self._running, self._pace)

    # -- the work

    def _work(self, state: Literal["reading", "queued"]) -> None:
        function: Callable = read_upload if state == "reading" else self._worker
        while not self._stopping:
            due = self._due(state)
            # Separations share a process, which keeps the checkpoint loaded. Each upload gets a new one, which a
            # hostile file may break.
            batches = ([one] for one in due) if state == "reading" else [due]
            try:
                for batch in batches:
                    with closing(work_through(function, batch, 1, _lost)) as events:
                        for event in events:
                            self._take(event)
            except (LdmSepError, OSError) as error:
                self._report(f"ldm-sep: {printable(str(error))}; trying again")
                time.sleep(1)
                self._put_back(state)

    def _put_back(self, state: Literal["reading", "queued"]) -> None:
        """What was found in ``state`` is due again, since whatever worked on it is gone."""
        with self._changed:
            for id, running in [(id, one) for id, one in self._running.items() if one.state == state]:
                del self._running[id]
                job = self._store.get(id)
                # Whoever cancelled it waits for this, and records that.
                if job is not None and job.state == "separating" and not running.cancelled:
                    self._store.change_until_restart(job, state="queued")
            self._changed.notify_all()

    def _due(self, state: Literal["reading", "queued"]) -> Iterator[Reading | Separation]:
        """What is to be done with the jobs in ``state``, one after the other, as they come."""
        while True:
            with self._changed:
                while not self._stopping and (job := self._next(state)) is None:
                    self._sweep()
                    self._changed.wait(_SWEEP_SECONDS)
                if self._stopping or job is None:
                    return
                self._running[job.id] = Running(state, time.monotonic())
                if state == "queued":
                    self._store.change_until_restart(job, state="separating")
            folder = self._store.folder(job)
            if state == "reading":
                seconds, memory = 60 * self.bounds.minutes, self.bounds.memory
                yield Reading(job.id, job.name, folder / UPLOAD, folder / MIXTURE, seconds, memory)
            else:
                before, out = (self._store.take(job, number) for number in (job.take, job.take + 1))
                yield Separation(job.id, job.name, folder / MIXTURE, job.order or Order(), before, out)

    def _next(self, state: State) -> Job | None:
        due = [job for job in self._store.all() if job.state == state and job.id not in self._running]
        return min(due, key=lambda job: job.queued, default=None)

    def _take(self, event: Event) -> None:
        with self._changed:
            running, job = self._running.get(event.id), self._store.get(event.id)
            if running is None or job is None:
                return
            if isinstance(event, Started):
                running.pid = event.pid
                if running.unwanted or self._stopping:
                    running.end()
                elif running.state == "reading":
                    self._watch(job, running)
                return
            if isinstance(event, Advanced):
                running.fraction = event.fraction
                return
            del self._running[job.id]
            try:
                self._settle(job, running, event)
            except OSError as error:
                why = f"{shown(job.name)}: the result could not be recorded ({reason(error)}); free disk space"
                self._store.change_until_restart(job, state="done" if job.take else "failed", order=None, error=why)
            self._changed.notify_all()

    def _watch(self, job: Job, running: Running) -> None:
        """End a decoder that takes longer than it may."""

        def end() -> None:
            with self._changed:
                # Its process may have another job by now.
                if self._running.get(job.id) is running:
                    running.end()

        timer = threading.Timer(self.bounds.decoding_seconds, end)
        timer.daemon = True
        timer.start()

    def _settle(self, job: Job, running: Running, event: Finished | Failed | Lost) -> None:
        """Write down how a job ended."""
        if isinstance(event, Finished) and running.state == "reading":
            # It may have been cancelled in its last moment. What was decoded stays, for another order.
            state: State = "cancelled" if running.cancelled else "queued"
            self._store.change(job, state=state, sound=event.sound, peaks=event.peaks, notes=event.notes)
            (self._store.folder(job) / UPLOAD).unlink(missing_ok=True)
        elif isinstance(event, Finished):
            self._finish(job, time.monotonic() - running.began, event)
        elif isinstance(event, Failed):
            self._end(job, "failed", event.why)
        elif self._stopping:
            # It is done again after the next start.
            return
        elif running.cancelled:
            self._end(job, "cancelled", None)
        elif running.state == "reading":
            limits = f"the memory and the {self.bounds.decoding_seconds:g} s that it may take"
            self._end(job, "failed", f"{shown(job.name)}: was not decoded within {limits}; convert it to wav or flac")
        elif job.id not in self._crashed:
            self._crashed.add(job.id)
            self._store.change_until_restart(job, state="queued")
        else:
            said = f"{shown(job.name)}: its process ended ({event.why}); free memory, or choose the preset fast"
            self._end(job, "failed", said)

    def _finish(self, job: Job, seconds: float, event: Finished) -> None:
        order = job.order or Order()
        if order.stretch is None and job.sound is not None:
            self._pace[order.settings.preset] = seconds / max(job.sound.seconds, 1.0)
        self._crashed.discard(job.id)
        done = self._store.change(
            job,
            state="done",
            finished=now(),
            order=None,
            take=job.take + 1,
            settings=job.settings if order.stretch else order.settings,
            stretches=(*job.stretches, order.stretch) if order.stretch else (),
            peaks=job.peaks | event.peaks,
            notes=tuple(dict.fromkeys([*job.notes, *event.notes])),
        )
        self._store.clear_takes(done)
        self._swept = float("-inf")

    def _end(self, job: Job, state: Literal["failed", "cancelled"], why: str | None) -> None:
        """Record that an order failed or was cancelled. An earlier result stays."""
        news = {"state": "done" if job.take else state, "error": why}
        # An upload that was not decoded may be read again, with the order that it came with.
        self._store.change(job, **news, order=None if job.take else job.order)
        self._store.clear_takes(job)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < _SWEEP_SECONDS:
            return
        self._swept = time.monotonic()
        for job in self._store.sweep(self.bounds.keep_days, self.bounds.keep_bytes, now()):
            self._report(
                f"deleted {shown(job.name)}, {'' if job.finished else 'not '}separated, for its age or for room"
            )


def _lost(job: Reading | Separation, given: int, why: str) -> tuple[Sequence[Event], None]:
    return [Lost(job.id, why)], None
