"""Where checkpoints are found by name, and which device a word means."""

import os
from pathlib import Path

from ldm_sep.errors import CheckpointError

DEFAULT_CHECKPOINT = "open"


def checkpoint_folders() -> list[Path]:
    """Where names are looked up: ``$LDM_SEP_CHECKPOINTS``, ``./checkpoints``, and the source checkout's
    ``checkpoints/``.
    """
    named = os.environ.get("LDM_SEP_CHECKPOINTS")
    places = [Path(named)] if named else []
    places += [Path("checkpoints"), Path(__file__).resolve().parents[2] / "checkpoints"]
    return [place for place in dict.fromkeys(p.resolve() for p in places) if place.is_dir()]


def list_checkpoints() -> dict[str, Path]:
    """Name to folder of everything that can be named; the first place wins."""
    found: dict[str, Path] = {}
    for place in checkpoint_folders():
        for folder in sorted(place.iterdir()):
            if (folder / "config.json").is_file():
                found.setdefault(folder.name, folder)
    return found


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint by path or by name. CheckpointError lists the names there are."""
    path = Path(name)
    if (path / "config.json").is_file():
        return path
    known = list_checkpoints()
    if str(name) in known:
        return known[str(name)]
    if path.is_dir():
        raise CheckpointError(f"{path}: not a checkpoint (it has no config.json); name the folder that holds one")
    listed = ", ".join(known) or "none were found; set LDM_SEP_CHECKPOINTS to their folder"
    raise CheckpointError(f"{name}: no checkpoint of that name or path; there are: {listed}")
