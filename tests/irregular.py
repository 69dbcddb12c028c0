"""What may lie where a file should."""

import os
from pathlib import Path


def put_in_place(path: Path, kind: str) -> None:
    """A pipe, a device or a folder at ``path``; nothing for other kinds."""
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
