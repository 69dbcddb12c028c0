"""Which files below a folder are audio, and what else lies there."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ldm_sep.errors import reason
from ldm_sep.files import shown

AUDIO_SUFFIXES: tuple[str, ...]
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".m4a", ".mp4", ".aac", ".wma")
AUDIO_SUFFIXES += (".mp2", ".wv", ".ape", ".tta", ".aifc", ".au", ".caf", ".w64", ".rf64", ".bwf", ".ac3", ".mka")
AUDIO_SUFFIXES += (".webm", ".mkv", ".mov", ".m4v", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".3gp", ".m4b")


def status_of(path: Path) -> os.stat_result | None:
    """What the operating system says of a file or folder, links followed; ``None`` where there is none to be seen."""
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Listing:
    """What is below a folder: ``audio`` files, sorted; how many other files of each suffix; a line for each place that
    cannot be read.
    """

    audio: list[Path]
    others: Counter[str]
    unreadable: list[str]


def list_audio(root: Path) -> Listing:
    """The files below ``root``, as `walk_audio` finds them."""
    others: Counter[str] = Counter()
    unreadable: list[str] = []
    audio = sorted(
        walk_audio(root, unreadable.append, lambda path: others.update([path.suffix.lower() or "no suffix"]))
    )
    return Listing(audio, others, unreadable)


def walk_audio(
    root: Path,
    unreadable: Callable[[str], object],
    other: Callable[[Path], object] = lambda path: None,
    without: Path | None = None,
) -> Iterator[Path]:
    """The audio files below ``root`` as the disk gives them, one by one, in no order; ``unreadable`` is told a line for
    each place that cannot be read, and ``other`` every other file.

    Hidden files and folders, such as what macOS leaves, are passed over, and so is the folder ``without``. Links are
    followed. A folder that several names lead to, as in a loop, is walked through once.
    """
    waiting = [root]
    excluded = status_of(without) if without is not None else None
    seen = {(excluded.st_dev, excluded.st_ino)} if excluded is not None else set()
    while waiting:
        folder = waiting.pop()
        status = status_of(folder)
        if status is None or (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = folder / entry.name
                    status = None if entry.name.startswith(".") else status_of(path)
                    if status is None:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(path)
                    elif stat.S_ISREG(status.st_mode) and path.suffix.lower() in AUDIO_SUFFIXES:
                        yield path
                    elif stat.S_ISREG(status.st_mode):
                        other(path)
        except OSError as error:
            unreadable(f"{shown(folder)}: cannot be read ({reason(error)}); check its permissions")


def audio_files(root: Path) -> list[Path]:
    """The audio files below ``root``, as `list_audio` finds them."""
    return list_audio(root).audio
