"""Ratings as one table: who rated which system on which item, on which question."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ldm_sep.errors import StudyError
from ldm_sep.markdown import csv_table
from ldm_sep.records import open_table, table_rows

if TYPE_CHECKING:
    import numpy as np

COLUMNS = ("listener", "item", "system", "question", "rating")


class Rating(NamedTuple):
    """One rating. ``presentation``: 0 the first time, 1 where the same trial was presented again."""

    listener: str
    item: str
    system: str
    question: str
    rating: float
    presentation: int = 0


class Choice(NamedTuple):
    """An A/B choice between two systems: ``share`` is 1 where ``first`` was preferred, 0.5 where neither was."""

    listener: str
    item: str
    first: str
    second: str
    share: float
    presentation: int = 0


@dataclass(frozen=True)
class Ratings:
    """Columns of one question's ratings, of equal length: names are arrays of strings."""

    listener: np.ndarray
    item: np.ndarray
    system: np.ndarray
    rating: np.ndarray


def columns(rows: Iterable[Rating], question: str) -> Ratings:
    """The first presentations of ``question`` as columns."""
    import numpy as np

    kept = [row for row in rows if row.question == question and row.presentation == 0]
    listeners, items, systems = (np.array([row[place] for row in kept], dtype=str) for place in range(3))
    return Ratings(listeners, items, systems, np.array([row.rating for row in kept], dtype=float))


def only_question(rows: Iterable[Rating], wanted: str | None) -> str:
    """``wanted``, or the only question there is. StudyError where there are several, or none of that name."""
    names = list(dict.fromkeys(row.question for row in rows))
    if wanted is not None and wanted not in names:
        raise StudyError(f"--question {wanted}: the ratings have {', '.join(names)}; name one of them")
    if wanted is None and len(names) > 1:
        raise StudyError(f"the ratings have {len(names)} questions; name one with --question: {', '.join(names)}")
    return wanted or names[0]


def read_csv(path: Path) -> list[Rating]:
    """A table with the columns listener, item, system, rating and, if there are several questions, question.

    StudyError names the file, the line and what is wrong with it: a column is missing, a rating is no number, the same
    listener rated the same twice.
    """
    reader = open_table(path, StudyError, [name for name in COLUMNS if name != "question"])
    rows: list[Rating] = []
    seen: set[tuple[str, ...]] = set()
    for where, row in table_rows(path, reader, StudyError):
        try:
            value = float(row["rating"])
        except (TypeError, ValueError):
            raise StudyError(f"{where}: '{row['rating']}' is no rating; write a number") from None
        listener, item, system = ((row.get(name) or "").strip() for name in COLUMNS[:3])
        if not (listener and item and system) or not math.isfinite(value):
            raise StudyError(f"{where}: a name is empty or the rating is not finite; complete the line")
        question = (row.get("question") or "").strip() or "rating"
        if (listener, item, system, question) in seen:
            raise StudyError(f"{where}: {listener} rated {system} on {item} before; take one of the lines out")
        seen.add((listener, item, system, question))
        rows.append(Rating(listener, item, system, question, value))
    if not rows:
        raise StudyError(f"{path}: no ratings in it; check the file")
    return rows


def as_ratings(choices: Iterable[Choice]) -> list[Rating]:
    """A/B choices as ratings, the question naming the pair: 1 for the preferred system, 0 for the other, or 0.5."""
    return [
        Rating(one.listener, one.item, system, f"{one.first} or {one.second}", share, one.presentation)
        for one in choices
        for system, share in ((one.first, one.share), (one.second, 1 - one.share))
    ]


def to_csv(rows: Iterable[Rating]) -> str:
    """The table that `read_csv` reads; repeated presentations are left out."""
    return csv_table(COLUMNS, [(*row[:4], f"{row.rating:g}") for row in rows if row.presentation == 0])
