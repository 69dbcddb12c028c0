"""How file names go into messages and into libsndfile."""

import os
import sys
from pathlib import Path


def shown(path: str | os.PathLike[str]) -> str:
    """``path`` on one printable line, whatever bytes the name holds."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def native(path: Path) -> str | bytes:
    """``path`` in the form that libsndfile opens, names that are not valid UTF-8 included."""
    return str(path) if sys.platform == "win32" else os.fsencode(path)


def reason(error: OSError | ValueError) -> str:
    """What the operating system said, without the path that the message already names."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
