"""Where stems go: what is refused before any work, and how they appear."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ldm_sep.errors import AudioError, OutputError, reason
from ldm_sep.files import replacing_together, shown


def check_targets(source: Path, targets: Iterable[Path]) -> None:
    """AudioError if one of ``targets`` is ``source``, be it by a link, or is no file."""
    for target in targets:
        try:
            if not target.exists():
                continue
            if target.samefile(source):
                raise AudioError(f"{shown(target)}: is the input itself; name another folder for the output")
            if not target.is_file():
                raise AudioError(f"{shown(target)}: is no file, so none is written over it; name another folder")
        except OSError as error:
            raise AudioError(
                f"{shown(target)}: is no name for a file ({reason(error)}); name another folder"
            ) from error


def check_room(folder: Path, needed: int) -> None:
    """OutputError if the disk of ``folder``, which need not exist, has less than ``needed`` bytes free."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OutputError(
            f"{shown(folder)}: about {needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are free; "
            "make room, or choose another folder or --format"
        )


@contextmanager
def appearing_together(folder: Path, names: Sequence[str]) -> Iterator[list[Path]]:
    """`ldm_sep.files.replacing_together` for the stems of a song. OutputError if the disk says no."""
    try:
        with replacing_together(folder, names) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(
            f"{shown(folder)}: cannot be written ({reason(error)}); "
            "check the folder's permissions and free space, or choose another folder"
        ) from error
