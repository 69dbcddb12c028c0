"""Files and folders: how names are shown, and how files appear whole or not at all."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ldm_sep.errors import BusyError, ConfigError, printable, unwritable

# Windows opens devices by these names, whatever the suffix.
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}
# Begins the name of everything unfinished. Hidden, so that listings pass it over.
_UNFINISHED = ".ldm-sep-"
_COMMIT = ".commit"
_RETIRED = f"{_UNFINISHED}was-"


def shown(path: str | os.PathLike[str]) -> str:
    """``path`` on one printable line, whatever bytes the name holds."""
    return printable(os.fspath(path))


def as_file_name(text: str, longest: int = 120) -> str:
    """``text`` as a single visible name of a file or folder, for whatever system: no separators, no control
    characters, no device names, at most ``longest`` bytes. Different texts may get the same name.
    """
    plain = "".join(c if c.isalnum() or c in " -_.()" else "_" for c in shown(text)).strip(" .")
    plain = plain.encode("utf-8")[:longest].decode("utf-8", "ignore").strip(" .")
    return f"_{plain}" if not plain or plain.split(".")[0].strip().upper() in _DEVICES else plain


def native(path: Path) -> str | bytes:
    """``path`` in the form that libsndfile opens, names that are not valid UTF-8 included."""
    return str(path) if sys.platform == "win32" else os.fsencode(path)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a whole file, as 64 hex digits. OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_regular(path: Path, largest: int) -> None:
    """OSError unless ``path`` is a regular file of at most ``largest`` bytes: a pipe blocks, a device never ends."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if status.st_size > largest:
        raise OSError(errno.EFBIG, f"{status.st_size:,} bytes, more than the {largest:,} that such a file may have")


def read_regular(path: Path, largest: int) -> bytes:
    """The bytes of a file, as `require_regular` allows them."""
    require_regular(path, largest)
    with path.open("rb") as file:
        return file.read(largest)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk. OSError if the disk says no."""
    with _descriptor(path) as descriptor:
        if descriptor is not None:
            os.fsync(descriptor)


def unfinished_name(path: Path) -> Path:
    """An unused hidden name beside ``path``, with its suffix."""
    return path.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}{path.suffix}")


def _retired_name(path: Path) -> Path:
    return path.with_name(f"{_RETIRED}{path.name}")


def complete_swap(path: Path) -> None:
    """Give a folder its name back if a crash of `replacing` left it without."""
    with suppress(OSError, RuntimeError, ValueError):  # a loop of links, "/": for the caller to tell
        target = path.resolve()
        retired = _retired_name(target)
        if not os.path.lexists(target) and retired.is_dir():
            retired.rename(target)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make ``folder`` and those above it; the ones that were missing are removed again after an exception."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for made in missing:
            with suppress(OSError):  # somebody else may have put a file there
                made.rmdir()
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``: the file or folder that the block makes there takes the place of ``path``.

    Missing folders above are made, and removed again after an exception. What was made is on the disk before it gets
    its name, so a crash leaves the old or the new under that name, whole; after an exception the old is untouched and
    nothing else is left. What a killed process left in the folder is removed first, unless somebody else is writing
    there. Where ``path`` is a link, what it points to is replaced. OSError if the disk is full or the folder cannot be
    written.
    """
    target = path.resolve()
    temporary, retired = unfinished_name(target), _retired_name(target)
    with _made(target.parent), _shared(target.parent):
        complete_swap(target)
        try:
            yield temporary
            made = [*temporary.rglob("*"), temporary] if temporary.is_dir() else [temporary]
            for part in made:
                sync(part)
            if target.is_dir():
                # A folder with something in it cannot be renamed over.
                target.rename(retired)
                temporary.rename(target)
            else:
                temporary.replace(target)
            sync(target.parent)
        finally:
            # Stopped between the two renames, by the disk or a signal: the old one gets its name back.
            complete_swap(target)
            if os.path.lexists(target):
                shutil.rmtree(retired, ignore_errors=True)
            shutil.rmtree(temporary, ignore_errors=True)
            with suppress(OSError):
                temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as `replacing` does. OSError if the disk is full or the folder cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Within it no other process is in a block of this ``name``; waits for its turn.

    Systems that cannot lock files, and temporary folders that cannot be written, let everybody in.
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError):
            import fcntl

            # Not a link: the folder is everybody's.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            descriptor = os.open(Path(tempfile.gettempdir()) / f"ldm-sep-{os.getuid()}-{name}.lock", flags, 0o600)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it no other process, nor another such block of this one, has ``folder`` locked, which may be a file too.

    BusyError at once if one has. The lock ends with the process, however that ends. File systems and operating
    systems that cannot lock folders (Windows) do not.
    """
    with _descriptor(folder) as descriptor:
        if _lock(descriptor, exclusive=True) is False:
            raise BusyError(
                f"{shown(folder)}: another process is writing there; wait for it to end, or name another folder"
            )
        yield


@contextmanager
def _shared(folder: Path) -> Iterator[None]:
    """Within it nobody takes what is unfinished in ``folder`` for leftovers; if nobody was writing, those go first."""
    with _descriptor(folder) as descriptor:
        if any(folder.glob(f"{_UNFINISHED}*")) and _lock(descriptor, exclusive=True):
            with suppress(OSError):  # they are somebody else's
                complete_leftovers(folder)
        # Who tidies up here is done soon. Who has the folder locked goes on, and lets nobody else tidy up.
        for wait in (0.005, 0.01, 0.0):
            if _lock(descriptor, exclusive=False) is False:
                time.sleep(wait)
        yield


@contextmanager
def _descriptor(path: Path) -> Iterator[int | None]:
    if sys.platform == "win32":  # it opens no folders, and syncs nothing that is open for reading
        yield None
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int | None, exclusive: bool) -> bool | None:
    """Whether the lock is had now; ``None`` where there are none."""
    if descriptor is None:
        return None
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return None
    return True


@contextmanager
def replacing_together(folder: Path, names: Sequence[str]) -> Iterator[list[Path]]:
    """Temporary names in ``folder`` for ``names``: the files that the block makes there get their names as one unit.

    At no moment, that of a crash included, does the folder show an old file beside a new one of the same unit: a list
    of what is complete is written first, old files are removed next, then the new ones are renamed. What a killed
    process left is completed by that list, or removed, by the next block on the folder. Missing folders are made, and
    removed again after an exception. BusyError if another process is writing there; OSError if the disk is full.
    """
    with _made(folder), locked(folder):
        complete_leftovers(folder)
        # No suffix of audio, so that nobody who looks for that finds them.
        unit = {unfinished_name(folder / "unit.part").name: name for name in names}
        try:
            yield [folder / temporary for temporary in unit]
            for temporary in unit:
                sync(folder / temporary)
            commit = unfinished_name(folder / f"unit{_COMMIT}")
            written = unfinished_name(folder / "unit.part")
            written.write_text(json.dumps(unit), encoding="utf-8")
            sync(written)
            written.rename(commit)
            sync(folder)
        finally:
            # From the list on, the unit is complete.
            complete_leftovers(folder)


def complete_leftovers(folder: Path) -> None:
    """Give complete units of files in ``folder`` their names, and remove all else that is unfinished there.

    OSError if that cannot be done.
    """
    unfinished = sorted(folder.glob(f"{_UNFINISHED}*"))
    for commit in unfinished:
        if commit.suffix != _COMMIT:
            continue
        unit = _read_commit(commit)
        for temporary, name in unit.items():
            if (folder / temporary).exists():
                (folder / name).unlink(missing_ok=True)
        sync(folder)
        for temporary, name in unit.items():
            with suppress(FileNotFoundError):
                (folder / temporary).rename(folder / name)
        sync(folder)
    for leftover in unfinished:
        complete_swap(folder / leftover.name.removeprefix(_RETIRED))
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _read_commit(path: Path) -> dict[str, str]:
    """Temporary names to names; empty if the list was not written here."""
    try:
        unit = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    names = [*unit, *unit.values()] if isinstance(unit, dict) else [None]
    plain = all(isinstance(n, str) and n not in ("", ".", "..") and not {"/", "\\", "\0"} & set(n) for n in names)
    return unit if plain and all(t.startswith(_UNFINISHED) for t in unit) else {}


def make_folder(folder: Path) -> None:
    """Make ``folder``, where it is missing. ConfigError if it cannot be, or nothing can be written there."""
    with unwritable(ConfigError, folder, "name another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
