"""Where checkpoints are found by name."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from ldm_sep.bundled import shipped
from ldm_sep.errors import CheckpointError
from ldm_sep.files import complete_swap, shown
from ldm_sep.listing import status_of

DEFAULT_CHECKPOINT = "open"


def checkpoint_folders() -> list[Path]:
    """Where names are looked up, in this order: ``$LDM_SEP_CHECKPOINTS``, what is shipped, ``./checkpoints``.

    What lies in the current folder comes last, so that no name means another checkpoint there than elsewhere.
    """
    named, ours = os.environ.get("LDM_SEP_CHECKPOINTS"), shipped("checkpoints")
    places = [Path(named)] if named else []
    places += [ours] if ours else []
    places.append(Path("checkpoints"))
    return [place for place in dict.fromkeys(p.resolve() for p in places) if _is_folder(place)]


def _is_folder(path: Path) -> bool:
    status = status_of(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _holds_checkpoint(folder: Path) -> bool:
    status = status_of(folder / "config.json")
    return status is not None and stat.S_ISREG(status.st_mode)


def list_checkpoints() -> dict[str, Path]:
    """Name to folder of everything that can be named; the first place wins."""
    found: dict[str, Path] = {}
    for place in checkpoint_folders():
        # Folders of somebody else, which cannot be looked into, hold none.
        with suppress(OSError):
            for folder in sorted(place.iterdir()):
                if not folder.name.startswith(".") and _holds_checkpoint(folder):
                    found.setdefault(folder.name, folder)
    return found


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint by name or by path. CheckpointError lists the names there are.

    A word that is a known name means that checkpoint, even beside a folder of the same name; ``./word`` is the folder.
    """
    path, known = Path(name), list_checkpoints()
    if str(name) in known:
        return known[str(name)]
    complete_swap(path)
    if _holds_checkpoint(path):
        return path
    if _is_folder(path):
        raise CheckpointError(f"{path}: not a checkpoint (it has no config.json); name the folder that holds one")
    listed = shown(", ".join(known)) or "none were found; set LDM_SEP_CHECKPOINTS to their folder"
    raise CheckpointError(f"{name!s}: no checkpoint of that name or path; there are: {listed}")
