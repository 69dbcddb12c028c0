"""What one track asks of a process, and what comes back."""

from dataclasses import dataclass, replace
from pathlib import Path

from ldm_sep.evaluate.match import TrackFiles
from ldm_sep.evaluate.rows import Row


@dataclass(frozen=True)
class CodecFiles:
    """The folder of a checkpoint whose codec is a baseline, and the pretrained codec's weight file if one is named."""

    folder: Path
    weights: Path | None


@dataclass(frozen=True)
class Task:
    """What is to be done for one track: metrics by system, row keys by system, and the spectrogram sheet, if any,
    with all of ``systems``. ``codecs`` by the baseline's name.
    """

    track: TrackFiles
    wanted: dict[str, tuple[str, ...]]
    keys: dict[str, str]
    systems: tuple[str, ...]
    sheet: Path | None
    codecs: dict[str, CodecFiles]


@dataclass(frozen=True)
class Sheet:
    """A spectrogram sheet that was drawn, or an ``error`` in one line."""

    track: str
    error: str | None


Result = Row | Sheet


def after_crash(task: Task, given: int, why: str) -> tuple[Result, Task | None]:
    """The failed result of a process that ended after ``given`` results of ``task``, and what is left to do, if
    anything.
    """
    message = f"the process that scored it ended ({why}); run again, with fewer --jobs if memory is short"
    waiting = list(task.wanted)[given:]
    if not waiting:
        return Sheet(task.track.name, message), None
    system, *rest = waiting
    row = Row(task.track.name, system, task.keys[system], {}, message, 0.0)
    left = replace(task, wanted={name: task.wanted[name] for name in rest})
    return row, left if rest or task.sheet else None
