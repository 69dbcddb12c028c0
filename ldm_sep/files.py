"""Files and folders: how their names are shown and opened, how folders are made and audio is listed."""

import errno
import os
import sys
from pathlib import Path

from ldm_sep.errors import ConfigError


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


AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif")


def make_folder(folder: Path) -> None:
    """Make ``folder``, where it is missing. ConfigError if it cannot be, or nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); name another folder") from None


def audio_files(root: Path) -> list[Path]:
    """The audio files below ``root``, sorted; hidden files and folders, such as what macOS leaves, are passed over."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )
