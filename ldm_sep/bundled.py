"""Where the checkpoints and configurations are that come with the package."""

import importlib.resources
from pathlib import Path
from typing import Literal


def shipped(kind: Literal["checkpoints", "configs"]) -> Path | None:
    """The folder of what is shipped: inside an installed package, or beside it in a checkout. None if there is none."""
    installed = importlib.resources.files("ldm_sep") / "shipped" / kind
    if isinstance(installed, Path) and installed.is_dir():
        return installed
    checkout = Path(__file__).resolve().parents[1]
    # A folder of that name beside an installed package would be somebody else's.
    return checkout / kind if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir() else None
