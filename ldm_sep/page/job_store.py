"""The songs on the disk: a folder for each, which appears and disappears as a whole."""

import os
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ldm_sep.errors import ConfigError, LdmSepError
from ldm_sep.files import make_folder, replacing, sync, unfinished_name, write_text
from ldm_sep.page.records import ACTIVE, Job
from ldm_sep.records import checked, read_json

_RECORD = "job.json"
UPLOAD, MIXTURE = "upload", "mixture.wav"


class JobStore:
    """All jobs below ``folder``, in memory and on the disk. Several threads may call it.

    A change counts when it is on the disk. What a killed server left half-made is removed at the start; a record that
    cannot be read is left where it is and told of in ``notes``.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self._jobs_folder, self._incoming = folder / "jobs", folder / "incoming"
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self.notes: list[str] = []
        for part in (folder, self._jobs_folder, self._incoming):
            make_folder(part)
        for leftover in (*self._incoming.iterdir(), *self._jobs_folder.glob(".*")):
            shutil.rmtree(leftover, ignore_errors=True)
        for path in sorted(self._jobs_folder.iterdir()):
            try:
                job = checked(Job, read_json(path / _RECORD, ConfigError, "delete the folder"), str(path / _RECORD))
                self._jobs[job.id] = job
            except LdmSepError as error:
                self.notes.append(str(error))

    def incoming(self) -> Path:
        """A new folder for an upload, which becomes a job by `put`, or is to be given to `discard`."""
        path = unfinished_name(self._incoming / "song")
        path.mkdir()
        return path

    def discard(self, incoming: Path) -> None:
        """Remove a folder of `incoming`, if it is still there."""
        shutil.rmtree(incoming, ignore_errors=True)

    def put(self, job: Job, incoming: Path) -> None:
        """Make a job of ``incoming``. OSError if the disk is full."""
        with replacing(self.folder(job)) as temporary:
            (incoming / _RECORD).write_text(job.model_dump_json(indent=1), encoding="utf-8")
            incoming.rename(temporary)
        with self._lock:
            self._jobs[job.id] = job

    def folder(self, job: Job) -> Path:
        """Where the upload of ``job`` is, or what was decoded of it, and its takes."""
        return self._jobs_folder / job.id

    def take(self, job: Job, number: int) -> Path:
        """Where the stems of a take are, with what is drawn and made of them."""
        return self.folder(job) / "takes" / str(number)

    def clear_takes(self, job: Job) -> None:
        """Remove all takes but the one that is the result."""
        for path in self.folder(job).glob("takes/*"):
            if path != self.take(job, job.take):
                shutil.rmtree(path, ignore_errors=True)

    def get(self, name: str) -> Job | None:
        """The job of that id."""
        with self._lock:
            return self._jobs.get(name)

    def all(self) -> Sequence[Job]:
        """Every job, the oldest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: (job.created, job.id))

    def change(self, job: Job, **news: object) -> Job:
        """``job`` as it is now with ``news``, on the disk. KeyError if it was deleted; OSError if the disk is full."""
        with self._lock:
            changed = self._jobs[job.id].model_copy(update=news)
            write_text(self.folder(job) / _RECORD, changed.model_dump_json(indent=1))
            self._jobs[job.id] = changed
            return changed

    def change_until_restart(self, job: Job, **news: object) -> None:
        """The same in memory only: for what a restart should not see, or a full disk cannot take."""
        with self._lock:
            if job.id in self._jobs:
                self._jobs[job.id] = self._jobs[job.id].model_copy(update=news)

    def delete(self, job: Job) -> None:
        """Remove a job with its files."""
        with self._lock:
            self._jobs.pop(job.id, None)
            path = self.folder(job)
            # Renamed first, so that the job is gone at once even if removing its files takes long.
            hidden = unfinished_name(path)
            with suppress(OSError):
                path.rename(hidden)
                sync(path.parent)
        shutil.rmtree(hidden, ignore_errors=True)

    def size(self, job: Job) -> int:
        """Bytes of the files of ``job``."""
        total = 0
        # Files and folders may be renamed or removed meanwhile. `os.walk` passes over a folder that is gone.
        for folder, _, names in os.walk(self.folder(job)):
            for name in names:
                with suppress(OSError):
                    total += Path(folder, name).stat().st_size
        return total

    def sweep(self, keep_days: float, keep_bytes: int, now: datetime) -> Sequence[Job]:
        """Delete finished jobs that are older than ``keep_days``, and the oldest while all take more than
        ``keep_bytes``. What waits or is worked on stays. Returns what was deleted.
        """
        idle = sorted((job for job in self.all() if job.state not in ACTIVE), key=_last_change)
        sizes = {job.id: self.size(job) for job in self.all()}
        total = sum(sizes.values())
        gone = []
        for job in idle:
            if now - _last_change(job) > timedelta(days=keep_days) or total > keep_bytes:
                self.delete(job)
                total -= sizes[job.id]
                gone.append(job)
        return gone


def now() -> datetime:
    """The time, as records have it."""
    return datetime.now(UTC)


def _last_change(job: Job) -> datetime:
    return job.finished or job.created
