"""Where songs come from and stems go: local files, and objects named by URIs, through fsspec.

An object is copied to this machine's temporary folder before it is read, and stems are copied from there, since audio
files are read from both ends.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ldm_sep.errors import AudioError, ConfigError, OutputError, need_package, reason
from ldm_sep.files import as_file_name, require_regular, shown
from ldm_sep.listing import AUDIO_SUFFIXES, status_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# The schemes that are allowed, and the package that each needs beside fsspec. A manifest must not make this machine
# contact other hosts.
_REMOTE = {"s3": "s3fs", "gs": "gcsfs", "memory": "fsspec"}
# Larger than 12 hours of anything that is music.
_LARGEST = 1 << 38


def local_path(place: str) -> Path | None:
    """The path that ``place`` is, also as a ``file://`` URI; None for other URIs. ConfigError for unknown schemes."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*(::.*)?)://", place)
    if scheme is None:
        return Path(place)
    if scheme[1] == "file":
        return Path(unquote(urlsplit(place).path))
    if scheme[1] not in _REMOTE:
        raise ConfigError(f"{shown(place)}: no such place; name a path, or a URI of file, {', '.join(_REMOTE)}")
    return None


def stamp_of(source: str) -> str:
    """What tells a file or object from a later one under its name; empty where there is none.

    Of a file: size, time of modification in nanoseconds and inode. Of an object: size and entity tag, or else time.
    AudioError for an object that cannot be asked after.
    """
    path = local_path(source)
    if path is None:
        system, name = _object(source)
        try:
            return _stamp(system.info(name))
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise _refused(source, error) from None
    status = status_of(path)
    return "" if status is None else f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


@contextmanager
def borrowed(source: str) -> Iterator[Path]:
    """A local file with the content of ``source``. AudioError if it cannot be read."""
    path = local_path(source)
    if path is not None:
        if status_of(path) is None:
            raise AudioError(f"{shown(path)}: no such file; check the name")
        try:
            require_regular(path, _LARGEST)
        except OSError as error:
            raise AudioError(f"{shown(path)}: cannot be read ({reason(error)}); check the file") from None
        yield path
        return
    system, name = _object(source)
    with tempfile.TemporaryDirectory(prefix="ldm-sep-") as folder:
        copy = Path(folder, as_file_name(PurePosixPath(name).name))
        try:
            system.get_file(name, str(copy))
        except FileNotFoundError:
            raise AudioError(f"{shown(source)}: no such object; check the name") from None
        except OSError as error:
            raise _refused(source, error) from None
        yield copy


@contextmanager
def lent(folder: str, last: str) -> Iterator[Path]:
    """A local folder whose files are those of ``folder``, a path or a URI, when the block ends without an exception.

    Objects are written one after another, that named ``last`` after all others, so that where it is they all are.
    OutputError if they cannot be.
    """
    path = local_path(folder)
    if path is not None:
        yield path
        return
    system, name = _object(folder)
    with tempfile.TemporaryDirectory(prefix="ldm-sep-") as temporary:
        yield Path(temporary)
        try:
            for file in sorted(Path(temporary).iterdir(), key=lambda file: (file.name == last, file.name)):
                system.put_file(str(file), f"{name}/{file.name}")
        except OSError as error:
            raise OutputError(f"{shown(folder)}: cannot be written ({reason(error)}); check the rights") from error


def walk_objects(uri: str, unreadable: Callable[[str], object]) -> Iterator[tuple[str, str, str]]:
    """URI, name below ``uri`` and stamp of the audio objects there, or of those that match it as a pattern.

    ``unreadable`` is told a line for each folder that cannot be listed.
    """

    def told(error: OSError) -> None:
        unreadable(f"{shown(uri)}: cannot be listed ({_why(error)}); check the name and the rights")

    system, name = _object(uri)
    scheme = uri.split("://")[0]
    if "*" in name:
        base = name.split("*")[0].rpartition("/")[0]
        listing = system.glob(name, detail=True).values()
    else:
        base = name
        # Folder by folder, so that no list of all is needed.
        walked = system.walk(name, detail=True, on_error=told)
        listing = chain.from_iterable(files.values() for _, _, files in walked)
    for info in listing:
        path = info["name"]
        if info.get("type") == "file" and PurePosixPath(path).suffix.lower() in AUDIO_SUFFIXES:
            yield f"{scheme}://{path.lstrip('/')}", str(PurePosixPath(path).relative_to(base)), _stamp(info)


def _refused(source: str, error: OSError) -> AudioError:
    return AudioError(f"{shown(source)}: cannot be read ({_why(error)}); check the rights")


def _why(error: OSError) -> str:
    # Of what is not there a store gives the name alone.
    return "not there" if isinstance(error, FileNotFoundError) else reason(error)


def _object(uri: str) -> tuple["AbstractFileSystem", str]:
    scheme = uri.split("://")[0]
    need_package(f"{scheme}://", "fsspec")
    need_package(f"{scheme}://", _REMOTE[scheme])
    import fsspec

    return fsspec.core.url_to_fs(uri)


def _stamp(info: dict[str, Any]) -> str:
    tag = info.get("ETag") or info.get("etag") or info.get("LastModified") or info.get("created") or ""
    if isinstance(tag, datetime):
        tag = tag.timestamp()
    return f"{info.get('size', 0)} {tag}".strip()
