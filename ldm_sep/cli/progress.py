"""How a run over songs is shown: a bar on a terminal, lines elsewhere, JSON for programs, or nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Shown = Literal["auto", "bar", "lines", "json", "none"]
Outcome = Literal["separated", "skipped", "failed"]
# Share of a song between two lines.
_STEP = 0.1


class Show(Protocol):
    """Told of each song in turn: ``begin``, then ``at`` as it goes, then ``end``; and of lines between."""

    def begin(self, number: int, total: int, name: str) -> None:
        """Song ``number`` of ``total`` is next."""
        return

    def at(self, fraction: float, stage: str, left: float | None) -> None:
        """The song is so far; ``left`` in seconds."""
        return

    def end(self, outcome: Outcome) -> None:
        """The song is over."""
        return

    def line(self, kind: Literal["warning", "error"], text: str) -> None:
        """Something that the user has to know, on standard error."""
        typer.echo(f"ldm-sep: {'warning: ' if kind == 'warning' else ''}{text}", err=True)


def choose_show(shown: Shown, quiet: bool) -> Show:
    """What ``--progress`` and ``--quiet`` ask for; ``auto`` is a bar on a terminal and lines elsewhere."""
    if shown == "json":
        return JsonLines()
    if quiet or shown == "none":
        return Silent()
    if shown == "bar" or (shown == "auto" and sys.stderr.isatty()):
        return Bar()
    return Lines()


class Silent(Show):
    """Warnings and errors alone."""


class Lines(Show):
    """A line for each song and each tenth of it, on standard error."""

    def __init__(self) -> None:
        self._title = self._name = ""
        self._next = 0.0

    def begin(self, number: int, total: int, name: str) -> None:
        """Keep the title: an input that cannot be read leaves one line and no more."""
        self._title, self._name, self._next = f"song {number} of {total}: {name}", name, 0.0

    def at(self, fraction: float, stage: str, left: float | None) -> None:
        """The title first, then a line each tenth."""
        if stage == "reading" or fraction < self._next:
            return
        if not self._next:
            typer.echo(self._title, err=True)
        rest = "" if left is None or fraction >= 1 else f", {clock(left)} left"
        typer.echo(f"{self._name}: {100 * fraction:.0f} %{rest}", err=True)
        # Above 1 after the last line.
        self._next = _STEP * (int(fraction / _STEP + 1e-9) + 1)

    def end(self, outcome: Outcome) -> None:
        """Songs that were passed over are said too."""
        if outcome == "skipped":
            typer.echo(f"{self._title}: skipped, made by the same settings before", err=True)


class Bar(Show):
    """A bar for each song, on standard error, and what is left."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._title = ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def begin(self, number: int, total: int, name: str) -> None:
        """Keep the title: an input that cannot be read leaves one line and no more."""
        self._title = f"song {number} of {total}: {name}" if total > 1 else name

    def at(self, fraction: float, stage: str, left: float | None) -> None:
        """Shown from the first result on."""
        if stage == "reading":
            return
        if self._bar is None or self._task is None:
            from rich.markup import escape
            from rich.progress import BarColumn, Progress, TimeRemainingColumn

            columns = "{task.description}", BarColumn(), "{task.percentage:3.0f} %", TimeRemainingColumn()
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(escape(self._title), total=1.0)
            self._bar.start()
        self._bar.update(self._task, completed=fraction)

    def end(self, outcome: Outcome) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None

    def line(self, kind: Literal["warning", "error"], text: str) -> None:
        """Above the bar."""
        text = f"ldm-sep: {'warning: ' if kind == 'warning' else ''}{text}"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class JsonLines(Show):
    """An object a line, on standard error; ``event`` is song, progress, end, warning or error."""

    def begin(self, number: int, total: int, name: str) -> None:
        """``{"event": "song", "number": 3, "total": 12, "name": ...}``"""
        self._event("song", number=number, total=total, name=name)

    def at(self, fraction: float, stage: str, left: float | None) -> None:
        """``{"event": "progress", "fraction": 0.4, "stage": "separating", "eta": 12.3}``, seconds or null."""
        self._event("progress", fraction=round(fraction, 4), stage=stage, eta=None if left is None else round(left, 1))

    def end(self, outcome: Outcome) -> None:
        """``{"event": "end", "outcome": ...}``"""
        self._event("end", outcome=outcome)

    def line(self, kind: Literal["warning", "error"], text: str) -> None:
        """``{"event": "warning" or "error", "text": ...}``"""
        self._event(kind, text=text)

    def _event(self, event: str, **values: object) -> None:
        typer.echo(json.dumps({"event": event, **values}), err=True)


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, and the function of (done, total) that moves it.

    It is shown from the first call on, when all checks are passed: a mistake leaves one line and no more.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(label, total=None)

    def move(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield move
    finally:
        if bar.live.is_started:
            bar.stop()


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """A table on standard output; whatever a cell holds is shown as it is."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ldm_sep.files import shown

    table = Table(*head, title=title, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    Console().print(table)


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
