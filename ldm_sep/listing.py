"""Which files below a folder are audio, and what else lies there."""

import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ldm_sep.files import reason, shown

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
    """The files below ``root``; hidden files and folders, such as what macOS leaves, are passed over.

    Links are followed. A folder that several names lead to, as in a loop, is listed once.
    """
    audio: list[Path] = []
    others: Counter[str] = Counter()
    unreadable: list[str] = []
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        unreadable.append(f"{shown(error.filename or root)}: cannot be read ({reason(error)}); check its permissions")

    for place, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        folder = Path(place)
        status = status_of(folder)
        if status is None or (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            status = status_of(folder / name)
            if name.startswith(".") or status is None or not stat.S_ISREG(status.st_mode):
                continue
            if (folder / name).suffix.lower() in AUDIO_SUFFIXES:
                audio.append(folder / name)
            else:
                others[(folder / name).suffix.lower() or "no suffix"] += 1
    return Listing(sorted(audio), others, unreadable)


def audio_files(root: Path) -> list[Path]:
    """The audio files below ``root``, as `list_audio` finds them."""
    return list_audio(root).audio
