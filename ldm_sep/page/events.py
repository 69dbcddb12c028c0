"""Messages from the working processes to the server, and how they are sent during the work."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ldm_sep.files import shown
from ldm_sep.page.records import Lane, Sound


@dataclass(frozen=True)
class Started:
    """The process ``pid`` has begun with the job ``id``."""

    id: str
    pid: int


@dataclass(frozen=True)
class Advanced:
    """``fraction`` of the job is done."""

    id: str
    fraction: float


@dataclass(frozen=True)
class Finished:
    """The job is done and its files are whole; ``sound`` of a song that was decoded. The rest is as in `Job`."""

    id: str
    peaks: dict[Lane, float]
    notes: tuple[str, ...]
    sound: Sound | None = None


@dataclass(frozen=True)
class Failed:
    """The job cannot be done; ``why`` is a line for the user."""

    id: str
    why: str


@dataclass(frozen=True)
class Lost:
    """The process of the job ended before the job did."""

    id: str
    why: str


Event = Started | Advanced | Finished | Failed | Lost


def as_they_come(act: Callable[[Callable[[Event], None]], None]) -> Iterator[Event]:
    """The events that ``act(tell)`` sends, as they come, while it runs in a thread. Its exception is raised last."""
    told: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            act(told.put)
            told.put(None)
        except BaseException as error:
            told.put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while (one := told.get()) is not None:
        if isinstance(one, BaseException):
            raise one
        yield one
    thread.join()


def named(line: str, name: str, *paths: Path) -> str:
    """``line`` with ``name`` for each of ``paths``: the user knows them by it, and the server's paths are not shown."""
    for path in paths:
        line = line.replace(shown(path), shown(name))
    return line
