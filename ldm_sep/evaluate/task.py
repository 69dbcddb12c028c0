"""What one track asks of a process, and what comes back."""

from dataclasses import dataclass, replace
from pathlib import Path

from ldm_sep.evaluate.match import TrackFiles
from ldm_sep.evaluate.rows import Row
from ldm_sep.separation.naming import Stem


@dataclass(frozen=True)
class CodecFiles:
    """The folder of a checkpoint whose codec is a baseline, and the pretrained codec's weight file if one is named."""

    folder: Path
    weights: Path | None


@dataclass(frozen=True)
class SheetFiles:
    """Where the excerpt of a track goes: the ``picture`` of its spectrograms, and the folder of its ``players``."""

    picture: Path
    players: Path


@dataclass(frozen=True)
class Task:
    """What is to be done for one ``stem`` of a track: the ``wanted`` pairs of system and metrics, in order, and the
    sheet of its excerpt, if any, with all of ``systems``. Row ``keys`` by system, ``codecs`` by the baseline's name.
    """

    track: TrackFiles
    stem: Stem
    wanted: tuple[tuple[str, tuple[str, ...]], ...]
    keys: dict[str, str]
    systems: tuple[str, ...]
    sheet: SheetFiles | None
    codecs: dict[str, CodecFiles]


@dataclass(frozen=True)
class Sheet:
    """The sheet of a track that was made, or an ``error`` in one line."""

    track: str
    error: str | None


Result = Row | Sheet


def after_crash(task: Task, given: int, why: str) -> tuple[list[Result], Task | None]:
    """What stands for the result that was due when a process ended after ``given`` results of ``task``, and what is
    left to do, if anything.

    Nobody knows which metric it was, so those of the row that was due are tried again one by one; one that ends a
    process again has failed.
    """
    message = f"the process that scored it ended ({why}); run again, with fewer --jobs if memory is short"
    waiting = task.wanted[given:]
    if not waiting:
        return [Sheet(task.track.name, message)], None
    (system, metrics), *rest = waiting
    if len(metrics) > 1:
        return [], replace(task, wanted=(*((system, (metric,)) for metric in metrics), *rest))
    row = Row(task.track.name, system, task.keys[system], {}, None, 0.0, dict.fromkeys(metrics, message))
    return [row], replace(task, wanted=tuple(rest)) if rest or task.sheet else None
