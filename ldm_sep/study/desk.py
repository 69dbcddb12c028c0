"""Where each listener of a study is, and what may be recorded next. It knows of no web server."""

import threading
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from ldm_sep.config import Record
from ldm_sep.errors import StudyError
from ldm_sep.study.ledger import Ledger
from ldm_sep.study.records import HEADPHONES_PASSED, Answer, Milestone, Page, Study, pages

Step = Literal["consent", "level", "headphones", "page", "training", "finished", "done"]

# A stimulus can be rated after this many seconds, or after all of it where it is shorter.
HEARD_SECONDS = 2.0


class OutOfTurnError(Exception):
    """Something that cannot be recorded at this point; ``str`` tells the listener why."""


class Position(Record):
    """Where a listener is. ``page`` is the page that comes next, None if ``step`` is no page; ``done`` of ``total``
    pages are answered, practice included. ``repeated``: what was just sent had been recorded before.
    """

    step: Step
    page: Page | None
    done: int
    total: int
    repeated: bool = False


class Progress(Record):
    """What the experimenter sees of a listener: how far, never how anything was rated."""

    listener: int
    step: Step
    done: int
    total: int
    headphones: tuple[int, ...]
    first: datetime | None
    last: datetime | None


def _cells(study: Study, page: Page) -> set[tuple[str, str]]:
    return {(stimulus.id, question.id) for stimulus in page.stimuli for question in study.questions}


class _Seat:
    """One listener: the pages, the answers so far, and a lock, since two tabs may answer at once."""

    def __init__(self, study: Study, number: int, path: Path) -> None:
        self.pages = pages(study, number)
        self.cells = [_cells(study, page) for page in self.pages]
        self.lock = threading.Lock()
        page_of = {s.id: (n, len(self.cells[n])) for n, page in enumerate(self.pages) for s in page.stimuli}
        self.ledger = Ledger(path, page_of)

    def rated(self) -> set[tuple[str, str]]:
        return {(line.stimulus, line.question) for line in self.ledger.lines if isinstance(line, Answer)}

    def milestones(self) -> list[Milestone]:
        return [line for line in self.ledger.lines if isinstance(line, Milestone)]


class Desk:
    """Takes what listeners 1 to ``listeners`` of ``study`` answer and writes it below ``folder``.

    Several threads may call it. StudyError for files that cannot be written, and for more listeners than orders.
    """

    def __init__(self, study: Study, folder: Path, listeners: int | None = None) -> None:
        numbers = sorted(order.number for order in study.listeners)
        if listeners is not None and listeners > len(numbers):
            raise StudyError(f"--listeners {listeners}: the study has orders for {len(numbers)}; prepare it for more")
        self.study = study
        self._seats = {n: _Seat(study, n, folder / f"{n}.jsonl") for n in numbers[:listeners]}
        self.numbers: Sequence[int] = tuple(self._seats)
        self.notes = [note for seat in self._seats.values() for note in seat.ledger.notes]

    def position(self, number: int) -> Position:
        """Where listener ``number`` is."""
        seat = self._seats[number]
        with seat.lock:
            return self._position(seat)

    def audio_of(self, number: int) -> Collection[str]:
        """The audio files that listener ``number`` may hear."""
        shown = self._seats[number].pages
        references = {page.trial.reference for page in shown if page.trial.reference is not None}
        return references | {stimulus.audio for page in shown for stimulus in page.stimuli}

    def rate(self, number: int, answers: Sequence[Answer]) -> Position:
        """Record a page of ratings as a whole; a page that has been recorded stays as it is.

        OutOfTurnError if it is not the page that comes next, if a stimulus is unheard or unrated, or if a rating has
        the event of another. `SaveError` if the disk does not take it.
        """
        seat = self._seats[number]
        cells = {(answer.stimulus, answer.question) for answer in answers}
        with seat.lock:
            if answers and cells <= seat.rated():
                return self._position(seat, repeated=True)
            here = self._position(seat)
            if here.page is None or {a.trial for a in answers} - {here.page.trial.id}:
                raise OutOfTurnError("This is not the page that comes next.")
            self._check_page(here.page, answers)
            # The second of two lines of one event would never count, and the page would come again. What is on the disk
            # of this very page may be sent again.
            events = {answer.event for answer in answers}
            own = {stimulus.id for stimulus in here.page.stimuli}
            others = {line.event for line in seat.ledger.lines if getattr(line, "stimulus", None) not in own}
            if len(events) < len(answers) or events & others:
                raise OutOfTurnError("Two ratings were sent as one; please reload the page.")
            seat.ledger.append(answers)
            return self._position(seat)

    def pass_milestone(self, number: int, milestone: Milestone) -> Position:
        """Record that a step was passed, once; a headphone check that was not passed is recorded and asked again.

        OutOfTurnError if it is not the step that comes next. `SaveError` if the disk does not take it.
        """
        seat = self._seats[number]
        with seat.lock:
            due = milestone.step == self._position(seat).step
            before = any(milestone.step == line.step for line in seat.milestones())
            if milestone.event in {line.event for line in seat.ledger.lines} or (before and not due):
                return self._position(seat, repeated=True)
            if not due:
                raise OutOfTurnError("This is not the step that comes next.")
            if milestone.step == "headphones" and milestone.correct is None:
                raise OutOfTurnError("The headphone check has no result.")
            seat.ledger.append([milestone])
            return self._position(seat)

    def progress(self) -> list[Progress]:
        """How far everybody is."""
        found = []
        for number, seat in self._seats.items():
            with seat.lock:
                here = self._position(seat)
                times = [line.answered if isinstance(line, Answer) else line.at for line in seat.ledger.lines]
                checks = tuple(line.correct for line in seat.milestones() if line.correct is not None)
            found.append(
                Progress(
                    listener=number,
                    step=here.step,
                    done=here.done,
                    total=here.total,
                    headphones=checks,
                    first=min(times, default=None),
                    last=max(times, default=None),
                )
            )
        return found

    def close(self) -> None:
        """Close all files."""
        for seat in self._seats.values():
            seat.ledger.close()

    def _position(self, seat: _Seat, *, repeated: bool = False) -> Position:
        rated = seat.rated()
        left = [page for page, cells in zip(seat.pages, seat.cells, strict=True) if not cells <= rated]
        step = self._step(seat, left)
        return Position(
            step=step,
            page=left[0] if step == "page" else None,
            done=len(seat.pages) - len(left),
            total=len(seat.pages),
            repeated=repeated,
        )

    def _step(self, seat: _Seat, left: Sequence[Page]) -> Step:
        passed = {
            line.step
            for line in seat.milestones()
            if line.step != "headphones" or (line.correct or 0) >= HEADPHONES_PASSED
        }
        before: tuple[Step, ...] = ("consent", "level", "headphones") if self.study.headphones else ("consent", "level")
        for step in before:
            if step not in passed:
                return step
        if left and left[0].training:
            return "page"
        if self.study.training and "training" not in passed:
            return "training"
        if left:
            return "page"
        return "done" if "finished" in passed else "finished"

    def _check_page(self, page: Page, answers: Sequence[Answer]) -> None:
        cells = _cells(self.study, page)
        given = [(answer.stimulus, answer.question) for answer in answers]
        if set(given) - cells or len(given) != len(set(given)):
            raise OutOfTurnError("This is not the page that comes next.")
        if set(given) != cells:
            raise OutOfTurnError("Something on this page is not rated yet.")
        questions = {question.id: question for question in self.study.questions}
        for answer in answers:
            if answer.listened < min(HEARD_SECONDS, 0.9 * page.trial.seconds):
                raise OutOfTurnError("Something on this page was not listened to yet.")
            if not questions[answer.question].allows(answer.rating):
                raise OutOfTurnError("A rating is not on the scale.")
        if self.study.method == "ab" and sum(answer.rating for answer in answers) != 1:
            raise OutOfTurnError("One of the two is preferred, or neither.")
