"""What the processes that do the work tell the server, and how they tell it while they work."""

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
    """What ``act(tell)`` tells, while it goes on in a thread of its own; an exception of it comes last."""
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
    """A line about files or folders for somebody who knows them as ``name``, and is not to know where they are."""
    for path in paths:
        line = line.replace(shown(path), shown(name))
    return line
