"""The errors a user can mend. Everything else that is raised is a defect of this package."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager


def printable(text: str) -> str:
    """``text`` on one line that controls no terminal, whatever bytes the names in it hold."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in whole)


class LdmSepError(Exception):
    """Base class. ``str(error)`` is one printable line that names the file or setting and the remedy."""

    def __str__(self) -> str:
        return printable(super().__str__())


class AudioError(LdmSepError):
    """An audio file that cannot be read or written."""


class OutputError(AudioError):
    """An output that the disk or the permissions refuse: no fault of the song, and the next would fare no better."""


class ConfigError(LdmSepError):
    """A configuration file or option that does not make sense."""


class BusyError(ConfigError):
    """A folder where another process is writing."""


class CheckpointError(LdmSepError):
    """A checkpoint folder or weight file that is incomplete, damaged or of another shape."""


class DataError(LdmSepError):
    """A data set that lacks what training or evaluation needs."""


class StudyError(LdmSepError):
    """A listening study's folder, key or answers that are missing, damaged or do not belong together."""


class DeviceError(LdmSepError):
    """A device that was asked for and is not there."""


class DependencyError(LdmSepError):
    """An optional package that a function needs and that is not installed."""


def reason(error: BaseException) -> str:
    """What the operating system or a library said, on one line, without the path that the message already names."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def unwritable(kind: type[LdmSepError], path: str | os.PathLike[str], remedy: str) -> Iterator[None]:
    """An OSError in the block becomes a ``kind``, which says that ``path`` cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise kind(f"{os.fspath(path)}: cannot be written ({reason(error)}); {remedy}") from None


def need_package(purpose: str, package: str, distribution: str | None = None) -> None:
    """DependencyError that names ``purpose`` if ``package`` is not installed or does not import.

    ``distribution`` is what pip calls it, where that is another name.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise missing_package(purpose, package, distribution) from error


def missing_package(purpose: str, package: str, distribution: str | None = None) -> DependencyError:
    """The error for a package that is not there or does not import."""
    return DependencyError(f"{purpose} needs the package {package}; run: pip install {distribution or package}")
