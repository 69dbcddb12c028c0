"""Separation of waves, streams and files, and the plan of a run over many files.

What it offers is loaded when it is used: what is said of names and folders must not wait for torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "STEMS": "naming",
    "Cancelled": "progress",
    "Options": "options",
    "Separator": "separator",
    "Stem": "naming",
    "Stems": "stems",
    "separate_file": "separator",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
