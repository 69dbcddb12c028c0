"""Answer files: which lines count, and what is said of those that do not."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ldm_sep.errors import StudyError, reason
from ldm_sep.study.records import LINE, Answer, Milestone, Study


@dataclass(frozen=True)
class Answers:
    """Lines that count, in the order of their arrival. ``notes``: what was passed over, a line for each reason."""

    answers: tuple[Answer, ...]
    milestones: tuple[Milestone, ...]
    notes: tuple[str, ...]


def fault_of(study: Study, answer: Answer) -> str | None:
    """Why ``answer`` cannot be one of ``study``, in a few words; None if it can. Training trials are part of it."""
    listener = next((one for one in study.listeners if one.number == answer.listener), None)
    if listener is None:
        return f"there is no listener {answer.listener}"
    heard = {one.trial for one in listener.trials} | {trial.id for trial in study.training}
    trial = next((t for t in (*study.training, *study.trials) if t.id == answer.trial and t.id in heard), None)
    if trial is None:
        return f"listener {answer.listener} has no trial {answer.trial}"
    if answer.stimulus not in {stimulus.id for stimulus in trial.stimuli}:
        return f"trial {answer.trial} has no stimulus {answer.stimulus}"
    question = next((one for one in study.questions if one.id == answer.question), None)
    if question is None:
        return f"there is no question '{answer.question}'"
    if not question.allows(answer.rating):
        return f"{answer.rating:g} is not on the scale of '{answer.question}'"
    return None


def counted(lines: Iterable[Answer | Milestone]) -> tuple[list[Answer | Milestone], int]:
    """The lines that count, and how many do not: of repeated deliveries and of second ratings the first counts."""
    events: set[tuple[int, str]] = set()
    rated: set[tuple[int, str, str]] = set()
    kept: list[Answer | Milestone] = []
    passed_over = 0
    for line in lines:
        event = line.listener, line.event
        cell = (line.listener, line.stimulus, line.question) if isinstance(line, Answer) else None
        if event in events or cell in rated:
            passed_over += 1
            continue
        events.add(event)
        if cell is not None:
            rated.add(cell)
        kept.append(line)
    return kept, passed_over


def load_lines(path: Path) -> tuple[list[Answer | Milestone], list[str]]:
    """Every readable line of one answer file, and a note for each that is not: a server killed while writing leaves a
    torn last line. StudyError if the file cannot be read at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StudyError(f"{path}: not readable ({reason(error)}); check its permissions") from None
    lines: list[Answer | Milestone] = []
    notes = []
    rows = data.split(b"\n")
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        try:
            lines.append(LINE.validate_json(row))
        except ValidationError:
            torn = number == len(rows)
            what = "torn in mid-writing" if torn else "damaged"
            notes.append(f"{path}: line {number} is {what} and is passed over")
    return lines, notes


def load_answers(folder: Path, study: Study) -> Answers:
    """The answers to ``study`` in ``folder``. Lines that are damaged, repeated or not of this study are passed over
    with a note; the others count. StudyError if there is no such folder or nothing in it counts.
    """
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder; name the one that `ldm-sep study serve` wrote answers to")
    kept: list[Answer | Milestone] = []
    notes: list[str] = []
    for path in sorted(folder.glob("*.jsonl"), key=lambda path: (len(path.name), path.name)):
        lines, damaged = load_lines(path)
        notes += damaged
        fitting = []
        for line in lines:
            if str(line.listener) != path.stem:
                notes.append(f"{path}: a line of listener {line.listener} stands in it and is passed over")
            elif isinstance(line, Answer) and (fault := fault_of(study, line)) is not None:
                notes.append(f"{path}: an answer is passed over: {fault}")
            else:
                fitting.append(line)
        # Faulty lines are out before this, so that none of them counts as the first answer and hides a good one.
        once, twice = counted(fitting)
        kept += once
        if twice:
            notes.append(f"{path}: {twice} repeated answers are passed over, the first ones count")
    answers = tuple(line for line in kept if isinstance(line, Answer))
    if not answers:
        raise StudyError(f"{folder}: no answer to this study in it; check that folder and study belong together")
    return Answers(answers, tuple(line for line in kept if isinstance(line, Milestone)), tuple(notes))
