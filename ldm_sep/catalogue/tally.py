"""How far a catalogue is: counts, throughput and the time that is left."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


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
        rare = {"failed before": self.failed_before, "named twice": self.twice, "places unreadable": self.unreadable}
        words += [f"{count} {what}" for what, count in rare.items() if count]
        if self.done + self.failed:
            words.append(f"{self.songs_per_minute:.1f} songs a minute, {self.audio / self.seconds:.1f} times real time")
        if left := self.seconds_left:
            words.append(f"{_clock(left)} left")
        return ", ".join(words)


@contextmanager
def counting(songs: Iterable[object], tally: Tally) -> Iterator[None]:
    """Beside the block, count ``songs`` in a thread; the number becomes the ``total`` of ``tally``."""
    stopped = threading.Event()

    def count() -> None:
        number = 0
        # The same inputs are worked on beside this, and what is wrong with them is told there.
        with suppress(Exception):
            for _ in songs:
                number += 1
                if stopped.is_set():
                    return
            tally.total = number

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _clock(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"
