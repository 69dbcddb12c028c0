"""From answers and the key to ratings."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path

from ldm_sep.errors import StudyError
from ldm_sep.files import sha256_of
from ldm_sep.study.answers import load_answers
from ldm_sep.study.ratings import Choice, Rating
from ldm_sep.study.records import (
    STUDY_FILE,
    Key,
    Method,
    Question,
    Role,
    StimulusKey,
    Study,
    TrialKey,
    load_key,
    load_study,
)


@dataclass(frozen=True)
class Collected:
    """Ratings with all that their analysis needs.

    ``method``: None for a table from elsewhere. ``roles`` of every system's name; ``choices`` of an A/B study, which
    has no other ratings. ``headphones``: right answers in the headphone check, by listener. ``expected``: ratings that
    each listener was to give. ``source``: the study and its key, where there are any. ``notes``: what was passed over.
    """

    title: str
    method: Method | None
    questions: tuple[Question, ...]
    roles: dict[str, Role]
    ratings: tuple[Rating, ...]
    choices: tuple[Choice, ...] = ()
    headphones: dict[str, int] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    source: tuple[Study, Key] | None = None
    notes: tuple[str, ...] = ()


def load_pair(folder: Path, key_path: Path) -> tuple[Study, Key]:
    """A study and its key. StudyError where they do not belong together."""
    study, key = load_study(folder), load_key(key_path)
    if sha256_of(folder / STUDY_FILE) != key.study_sha256:
        raise StudyError(f"{key_path}: is not the key of {folder / STUDY_FILE}, or one was changed; name the right one")
    return study, key


def collect(folder: Path, key_path: Path, answers_folder: Path) -> Collected:
    """Ratings in ``answers_folder`` of the study in ``folder``, training left out.

    StudyError, ConfigError: something is missing, damaged or does not belong together.
    """
    study, key = load_pair(folder, key_path)
    answers = load_answers(answers_folder, study)
    practice = {trial.id for trial in study.training}
    rated = [(str(a.listener), a.stimulus, a.question, a.rating) for a in answers.answers if a.trial not in practice]
    if not rated:
        raise StudyError(f"{answers_folder}: practice alone has been answered so far; wait for the first listener")
    heard = {str(listener.number): sum(len(one.stimuli) for one in listener.trials) for listener in study.listeners}
    return replace(
        collect_ratings(study, key, () if study.method == "ab" else ratings_of(key, rated)),
        choices=tuple(choices_of(key, rated)) if study.method == "ab" else (),
        headphones={
            str(m.listener): m.correct for m in answers.milestones if m.step == "headphones" and m.correct is not None
        },
        expected={listener: count * len(study.questions) for listener, count in heard.items()},
        notes=answers.notes,
    )


def collect_table(rows: Sequence[Rating], title: str) -> Collected:
    """Ratings from a table, all of systems. The scale is 1 to 5 or 0 to 100, whichever holds them, else as far as they
    go.
    """
    questions: list[Question] = []
    for name in dict.fromkeys(row.question for row in rows):
        values = [row.rating for row in rows if row.question == name]
        low, high = min(values), max(values)
        # A scale has a length, also where all ratings are the same.
        wide = (low, high if high > low else low + 1)
        scale = next(((a, b) for a, b in ((1.0, 5.0), (0.0, 100.0)) if a <= low and high <= b), wide)
        unique = _unused(name, {question.id for question in questions})
        questions.append(Question(id=unique, text=name, minimum=scale[0], maximum=scale[1], step=0.01, labels=()))
    ids = {question.text: question.id for question in questions}
    renamed = tuple(row._replace(question=ids[row.question]) for row in rows)
    return Collected(title, None, tuple(questions), {row.system: "system" for row in rows}, renamed)


def _unused(name: str, taken: set[str]) -> str:
    """An id like ``name`` that is not ``taken``: letters alone, so numbers at its end are written in letters."""
    plain = re.sub("[^a-z_]", "_", name.lower())[:20]
    numbered = (f"{plain}_{''.join('abcdefghij'[int(digit)] for digit in str(number))}" for number in count(2))
    return next(one for one in chain([plain], numbered) if one not in taken)


def collect_ratings(study: Study, key: Key, rows: Sequence[Rating]) -> Collected:
    """``rows`` that another program collected for ``study``."""
    roles = {stimulus.system: stimulus.role for stimulus in key.stimuli}
    return Collected(study.title, study.method, study.questions, roles, tuple(rows), source=(study, key))


def ratings_of(key: Key, rated: Iterable[tuple[str, str, str, float]]) -> list[Rating]:
    """Ratings of what the stimuli of (listener, stimulus, question, rating) are."""
    trials, stimuli = _lookup(key)
    rows = []
    for listener, name, question, value in rated:
        trial = trials[stimuli[name].trial]
        again = int(trial.repeats is not None)
        rows.append(Rating(listener, trial.item, stimuli[name].system, question, value, again))
    return rows


def choices_of(key: Key, rated: Iterable[tuple[str, str, str, float]]) -> list[Choice]:
    """A/B choices: a trial counts where both its stimuli have their rating, 1 and 0 or 0.5 each."""
    trials, stimuli = _lookup(key)
    shares: dict[tuple[str, str], dict[str, float]] = {}
    for listener, name, _, value in rated:
        shares.setdefault((listener, stimuli[name].trial), {})[stimuli[name].system] = value
    rows = []
    for (listener, trial), pair in shares.items():
        if len(pair) == 2 and sum(pair.values()) == 1:
            (first, share), (second, _) = sorted(pair.items())
            again = int(trials[trial].repeats is not None)
            rows.append(Choice(listener, trials[trial].item, first, second, share, again))
    return rows


def _lookup(key: Key) -> tuple[dict[str, TrialKey], dict[str, StimulusKey]]:
    return {trial.trial: trial for trial in key.trials}, {stimulus.stimulus: stimulus for stimulus in key.stimuli}
