"""Layouts that are tables of files: what is in a row, and the clips of a recording."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ldm_sep.config.fields import Line
from ldm_sep.data.tracks import Clip, Split, Track
from ldm_sep.errors import DataError, reason, unwritable
from ldm_sep.files import read_regular, replacing
from ldm_sep.records import LARGEST_TEXT, Record, read_table

FileName = Annotated[Line, Field(min_length=1)]


class TrackRow(Record):
    """A row of the layout ``csv``, see `read_csv`."""

    track: FileName
    split: Split
    vocals: Line
    mixture: Line = ""
    accompaniment: Annotated[str, Field(max_length=20_000)] = ""
    singer: Line = ""


class RoleRow(Record):
    """A row of the layout ``roles``, see `read_roles`."""

    path: FileName
    role: Line
    split: Split
    pair_id: Line
    singer_or_source: Line


def read_csv(path: Path) -> list[Track]:
    """A table with ``track, split, vocals, mixture`` (or ``accompaniment``, several joined by ``|``), paths relative
    to it.
    """
    tracks = []
    for row in read_table(path, TrackRow, DataError):
        stems = tuple(path.parent / name for name in row.accompaniment.split("|") if name)
        if not row.vocals and not stems:
            raise DataError(f"{path}: the track '{row.track}' needs a file in vocals or accompaniment")
        vocals, mixture = (path.parent / name if name else None for name in (row.vocals, row.mixture))
        tracks.append(Track(row.track, row.split, vocals, stems, mixture, row.singer or row.track))
    return tracks


def read_roles(path: Path) -> list[Track]:
    """A table of single files: ``path, role, split, pair_id, singer_or_source``.

    role is vocals, instrumental or speech (others are passed over); rows that share a pair_id make one song.
    ``<file>.txt`` beside a file lists its clips, separated by tabs: start and end in seconds and, where known, a name
    and the median f0 in Hz, which says nothing of speech.
    """
    songs: dict[str, dict[str, tuple[Path, Split]]] = {}
    tracks = []
    for row in read_table(path, RoleRow, DataError):
        file, singer = path.parent / row.path, row.singer_or_source
        if row.role == "speech":
            clips = tuple(Clip(clip.start, clip.end) for clip in _read_clips(file))
            tracks.append(Track(row.path, row.split, file, singer=singer, clips=clips, spoken=True))
        elif row.role not in ("vocals", "instrumental"):
            continue
        elif row.pair_id:
            songs.setdefault(row.pair_id, {})[row.role] = (file, row.split)
        elif row.role == "vocals":
            tracks.append(Track(row.path, row.split, file, singer=singer, clips=_read_clips(file)))
        else:
            tracks.append(Track(row.path, row.split, accompaniment=(file,), clips=_read_clips(file)))
    for name, song in songs.items():
        if set(song) != {"vocals", "instrumental"}:
            raise DataError(f"{path}: the pair {name} needs one vocals and one instrumental row")
        vocals, split = song["vocals"]
        tracks.append(Track(name, split, vocals, (song["instrumental"][0],), singer=name))
    return tracks


def add_roles(folder: Path, rows: Sequence[RoleRow]) -> None:
    """Put ``rows`` into ``folder/manifest.csv``, in the place of those of the same paths; the others stay."""
    manifest = folder / "manifest.csv"
    new = {row.path for row in rows}
    old = read_table(manifest, RoleRow, DataError) if manifest.is_file() else []
    kept = [row for row in old if row.path not in new]
    columns = list(RoleRow.model_fields)
    with (
        unwritable(DataError, manifest, "make room, or name another --out"),
        replacing(manifest) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(row.model_dump() for row in [*kept, *rows])


def _read_clips(path: Path) -> tuple[Clip, ...]:
    sidecar = path.with_suffix(".txt")
    if not sidecar.exists():
        return ()
    try:
        lines = read_regular(sidecar, LARGEST_TEXT).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{sidecar}: not in UTF-8; save it so") from None
    except OSError as error:
        raise DataError(f"{sidecar}: cannot be read ({reason(error)})") from None
    clips = []
    for number, line in enumerate(lines, 1):
        fields = line.split("\t")
        if len(fields) >= 2:
            try:
                start, end = float(fields[0]), float(fields[1])
                f0 = float(fields[3]) if len(fields) > 3 and fields[3].strip() else None
            except ValueError:
                start = end = f0 = math.nan
            # Comparisons with NaN are false.
            if not (0 <= start < end < math.inf and (f0 is None or 0 < f0 < math.inf)):
                raise DataError(
                    f"{sidecar}: line {number} must be start and end in seconds, a name and f0 in Hz, separated by tabs"
                )
            clips.append(Clip(start, end, f0))
    return tuple(clips)
