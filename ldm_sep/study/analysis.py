"""The whole analysis of a study: who counts, what was found, how sure it is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ldm_sep.errors import StudyError
from ldm_sep.study import mixed
from ldm_sep.study.collect import Collected
from ldm_sep.study.compare import Difference, SystemMean, agreement, differences, system_means, tabulate
from ldm_sep.study.correlate import Correlation, correlate
from ldm_sep.study.preference import Preference, Strength, preferences, strengths
from ldm_sep.study.ratings import Choice, Rating, columns
from ldm_sep.study.records import Method, Question, Role
from ldm_sep.study.screening import Rejected, repeat_error, screen

Scores = Mapping[tuple[str, str], dict[str, float]]


@dataclass(frozen=True)
class QuestionResult:
    """What was found on one question. ``alpha``: Krippendorff's; ``model``: the second opinion, where it was wanted."""

    question: Question
    listeners: int
    items: int
    means: tuple[SystemMean, ...]
    differences: tuple[Difference, ...]
    alpha: float | None
    model: mixed.MixedModel | None
    correlations: tuple[Correlation, ...]


@dataclass(frozen=True)
class Analysis:
    """A study's result. An A/B study has ``strengths`` and ``preferences``, the others ``questions``.

    ``unfinished``: listeners with the share of their ratings that is there; it counts all the same. ``repeat_error``:
    mean absolute difference of repeated ratings over those who count, None without repeats.
    """

    title: str
    method: Method | None
    roles: dict[str, Role]
    listeners: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    unfinished: dict[str, float]
    repeat_error: float | None
    questions: tuple[QuestionResult, ...]
    strengths: tuple[Strength, ...]
    preferences: tuple[Preference, ...]
    notes: tuple[str, ...]


def analyse(
    collected: Collected,
    *,
    against: str | None = None,
    scores: Scores | None = None,
    with_model: bool = True,
    keep_all: bool = False,
) -> Analysis:
    """Analyse what `collect` found.

    ``against``: compare each system with this one only, which asks less of Holm's correction. ``scores``: of
    `ldm-sep evaluate`, to correlate with. ``keep_all``: report who breaks a rule of screening, and leave nobody out.

    StudyError where nobody is left, or ``against`` is no system.
    """
    systems = sorted(name for name, role in collected.roles.items() if role == "system")
    if against is not None and against not in systems:
        raise StudyError(f"--against {against}: the systems are {', '.join(systems)}; name one of them")
    scale = (collected.questions[0].minimum, collected.questions[0].maximum)
    rows: Sequence[Rating | Choice] = collected.ratings or collected.choices
    rejected = screen(rows, collected.roles, collected.method, scale, collected.headphones)
    gone = set() if keep_all else {one.listener for one in rejected}
    kept = [row for row in rows if row.listener not in gone]
    given = Counter(row.listener for row in kept)
    listeners = sorted(given, key=lambda name: (len(name), name))
    if not listeners:
        raise StudyError("no listener is left after the screening; see who went and why with --keep-all")
    # An A/B choice answers for both of its sounds.
    answered_by = 2 if collected.method == "ab" else 1
    shares = {name: answered_by * given[name] / collected.expected.get(name, 1) for name in listeners}
    ratings = [row for row in kept if isinstance(row, Rating)]
    choices = [row for row in kept if isinstance(row, Choice)]
    errors = [repeat_error([row for row in ratings if row.listener == name]) for name in listeners]
    repeated = [error for error in errors if error is not None]
    strong = strengths(choices) if choices else []
    return Analysis(
        title=collected.title,
        method=collected.method,
        roles=collected.roles,
        listeners=tuple(listeners),
        rejected=tuple(rejected),
        unfinished={name: share for name, share in shares.items() if share < 1},
        repeat_error=float(np.mean(repeated)) if repeated else None,
        questions=tuple(
            _question(question, ratings, systems, against, scores, with_model)
            for question in collected.questions
            if any(row.question == question.id for row in ratings)
        ),
        strengths=tuple(strong),
        preferences=tuple(preferences(choices, [one.system for one in strong], against)) if choices else (),
        notes=collected.notes,
    )


def _question(
    question: Question,
    ratings: Sequence[Rating],
    systems: Sequence[str],
    against: str | None,
    scores: Scores | None,
    with_model: bool,
) -> QuestionResult:
    own = columns(ratings, question.id)
    tables = tabulate(own)
    means = system_means(tables, (question.minimum, question.maximum))
    compared = [one.system for one in means if one.system in systems]
    ordinal = question.maximum - question.minimum < 10
    items = sorted(map(str, np.unique(own.item)))
    return QuestionResult(
        question,
        tables.values.shape[1],
        len(items),
        tuple(means),
        tuple(differences(tables, compared, against)),
        agreement(tables, ordinal=ordinal),
        mixed.fit(own, compared) if with_model else None,
        tuple(correlate(tables, items, scores)) if scores is not None else (),
    )
