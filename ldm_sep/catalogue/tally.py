"""How far a catalogue is: counts, throughput and the time that is left."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType


@dataclass
class Tally:
    """Songs so far: ``done`` and ``failed`` in this run, ``done_before`` and ``failed_before`` in earlier ones, named
    ``twice``; ``unreadable`` places; and ``audio``, the seconds of sound that were separated in this run.

    ``total``: how many songs there are, None where that is not known yet.
    """

    done: int = 0
    failed: int = 0
    done_before: int = 0
    failed_before: int = 0
    twice: int = 0
    unreadable: int = 0
    audio: float = 0.0
    total: int | None = None
    _started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the beginning of the run."""
        return time.monotonic() - self._started

    @property
    def songs_per_minute(self) -> float:
        """Of this run."""
        return 60 * (self.done + self.failed) / max(self.seconds, 1e-3)

    @property
    def passed(self) -> int:
        """Songs that there is nothing more to do for."""
        return self.done + self.failed + self.done_before + self.failed_before + self.twice

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None where it cannot be known."""
        if self.total is None or not self.done + self.failed:
            return None
        return 60 * max(0, self.total - self.passed) / self.songs_per_minute

    @property
    def complete(self) -> bool:
        """Whether every song of the inputs has its stems."""
        return not self.failed + self.failed_before + self.unreadable

    def line(self) -> str:
        """In words."""
        words = [f"{self.done} separated", f"{self.failed} failed", f"{self.done_before} done before"]
        words += [f"{self.failed_before} failed before"] if self.failed_before else []
        words += [f"{self.twice} named twice"] if self.twice else []
        words += [f"{self.unreadable} places unreadable"] if self.unreadable else []
        if self.done + self.failed:
            words.append(f"{self.songs_per_minute:.1f} songs a minute, {self.audio / self.seconds:.1f} times real time")
        left = self.seconds_left
        words += [f"{_clock(left)} left"] if left else []
        return ", ".join(words)


class Count:
    """Counts ``songs`` in a thread beside the work and tells ``total`` at the end. A context manager."""

    def __init__(self, songs: Iterable[object], total: Callable[[int], None]) -> None:
        self._songs, self._total = songs, total
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        # What is wrong with the inputs is told where they are worked on. Without a count there is no time left to tell.
        with suppress(Exception):
            for _ in self._songs:
                number += 1
                if self._stopped.is_set():
                    return
            self._total(number)


def _clock(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"
