"""What was measured of one track and system, and the file that keeps it across runs.

``scores.jsonl`` has one line per row, appended and flushed as soon as the row is known. A row is keyed by what it was
computed from, so that another run takes over what still holds and computes what changed. Of two lines for the same
track and system the later one counts; a line that cannot be read, as a kill leaves it, counts as absent.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ldm_sep.errors import BusyError, DataError, reason, unwritable
from ldm_sep.evaluate.match import TrackFiles
from ldm_sep.files import locked, read_regular, replacing
from ldm_sep.metrics import METRICS, Score
from ldm_sep.separation.naming import Stem

# Packages whose version may change a score.
_PACKAGES = ("ldm-sep", "numpy", "scipy", "soxr", "soundfile", "librosa", "pesq", "visqol-python", "torch")

# Limit in bytes of a file of rows. A row has about a thousand.
_LARGEST = 256 << 20
_REMEDY = "free some space or choose another --out"


@dataclass(frozen=True)
class Row:
    """Scores by metric key of one track and system, what they cost in seconds, and the key of what they rest on.

    ``failed`` says, in one line each, why metrics could not be computed. Where the pair could not be scored at all,
    ``error`` says why and there are no scores.
    """

    track: str
    system: str
    key: str
    scores: dict[str, Score]
    error: str | None
    seconds: float
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def complaints(self) -> list[str]:
        """What went wrong, each in one line."""
        if self.error:
            return [self.error]
        return [f"{self.track}, {self.system}, {metric}: {why}" for metric, why in self.failed.items()]

    def to_json(self) -> str:
        """One line."""
        record: dict[str, Any] = {
            "track": self.track,
            "system": self.system,
            "scores": {name: score.value for name, score in self.scores.items()},
            "undefined": {name: score.reason for name, score in self.scores.items() if score.value is None},
            "failed": self.failed,
            "error": self.error,
            "seconds": self.seconds,
            "key": self.key,
        }
        return json.dumps(record, ensure_ascii=False, allow_nan=False)


def row_from_json(line: str) -> Row | None:
    """The row that `Row.to_json` wrote, or None for anything else."""
    try:
        record = json.loads(line)
        undefined = record["undefined"]
        scores = {
            name: Score(None, str(undefined[name])) if value is None else Score(_finite(value))
            for name, value in record["scores"].items()
        }
        error = record["error"]
        return Row(
            str(record["track"]),
            str(record["system"]),
            str(record["key"]),
            scores,
            None if error is None else str(error),
            _finite(record["seconds"]),
            {str(name): str(why) for name, why in record["failed"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("neither NaN nor infinity is a score")
    return float(value)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on; packages that are not installed are left out."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def identity(path: Path) -> list[str | int]:
    """What tells whether a file is still the same: place, size and times. DataError if it is gone.

    The time of modification can be set by whoever copies a file; that of the last change of its entry cannot.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}); check the file") from None
    return [str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def row_key(track: TrackFiles, system: str, stem: Stem, parts: Sequence[Path], packages: Mapping[str, str]) -> str:
    """Hash of what a row rests on: reference, mixture, the estimate or the ``parts`` of a codec's checkpoint, the
    stem, the metrics' definitions and the versions of ``packages``. Which metrics were asked for is not in it.
    """
    estimate = track.estimates.get(system)
    files = [track.reference, track.mixture, estimate, *parts]
    record = {
        "system": system if estimate is None else "",
        "stem": stem,
        "files": [None if path is None else identity(path) for path in files],
        "definitions": [[metric.key, metric.definition] for metric in METRICS],
        "versions": dict(packages),
    }
    return hash_of(json.dumps(record))


def hash_of(text: str) -> str:
    """The first 12 digits of the SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def track_hash(names: Iterable[str]) -> str:
    """First 12 digits of the SHA-256 of the sorted names, one a line: the same list, the same hash."""
    return hash_of("\n".join(sorted(names)))


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. DataError if it cannot be written."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. DataError if it cannot be written."""
    with unwritable(DataError, path, _REMEDY), replacing(path) as temporary:
        temporary.write_bytes(data)


class RowFile:
    """``scores.jsonl``, open for appending. A context manager; at its end superseded lines are taken out.

    ``rows`` by (track, system) is what it holds. DataError if it cannot be read or written, is something else, or is
    open in another evaluation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], Row] = {}
        with unwritable(DataError, path, _REMEDY), ExitStack() as stack:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Opening a pipe would wait for its other end.
            if path.exists() and not path.is_file():
                raise DataError(f"{path}: is no file; choose another --out")
            try:
                # Two evaluations in one folder would each drop the other's rows.
                stack.enter_context(locked(path.parent))
            except BusyError:
                raise DataError(
                    f"{path}: another evaluation is writing it; wait for its end or choose another --out"
                ) from None
            # Unbuffered: what a full disk refuses must not be written again when the file is closed.
            self._file = stack.enter_context(path.open("ab", buffering=0))
            # Bytes that are no UTF-8 belong to a torn line, which is passed over.
            text = read_regular(path, _LARGEST).decode("utf-8", "replace")
            # Not `splitlines`, which also splits at other characters that names may hold.
            for line in text.split("\n"):
                if (row := row_from_json(line)) is not None:
                    self.rows[row.track, row.system] = row
            # A process that was killed in its first row leaves a torn line alone.
            if text.strip() and not self.rows and not text.startswith('{"track": '):
                raise DataError(f"{path}: is no file of scores; choose another --out")
            if text and not text.endswith("\n"):
                self._write(b"\n")
            self._stack = stack.pop_all()

    def _write(self, data: bytes) -> None:
        # A disk that fills up may take a part, and refuses the rest in the next call.
        while data:
            data = data[self._file.write(data) :]

    def append(self, row: Row) -> None:
        """Add a row; it is in the file when this returns."""
        with unwritable(DataError, self.path, _REMEDY):
            self._write(row.to_json().encode("utf-8", "backslashreplace") + b"\n")
            os.fsync(self._file.fileno())
        self.rows[row.track, row.system] = row

    def compact(self) -> None:
        """Keep the last line of every track and system, sorted."""
        lines = [self.rows[place].to_json() + "\n" for place in sorted(self.rows)]
        write_text(self.path, "".join(lines))

    def __enter__(self) -> "RowFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is None:
                self.compact()


def merged(old: Row | None, new: Row) -> Row:
    """``new`` with what ``old``, if it rests on the same, has besides; the scores in the metrics' order."""
    if old is None or old.key != new.key or old.error or new.error:
        scores, failed, seconds = new.scores, new.failed, new.seconds
    else:
        scores, seconds = old.scores | new.scores, round(old.seconds + new.seconds, 3)
        failed = {name: why for name, why in (old.failed | new.failed).items() if name not in new.scores}
    ordered = {metric.key: scores[metric.key] for metric in METRICS if metric.key in scores}
    return Row(new.track, new.system, new.key, ordered, new.error, seconds, failed)


def is_done(row: Row | None, key: str, metrics: Iterable[str]) -> bool:
    """Whether ``row`` still holds and has all ``metrics``."""
    return row is not None and row.key == key and row.error is None and set(metrics) <= row.scores.keys()
