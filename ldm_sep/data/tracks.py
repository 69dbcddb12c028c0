"""Where the audio lies: every layout is read into the same list of `Track` records."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from ldm_sep.errors import DataError
from ldm_sep.files import replacing
from ldm_sep.listing import AUDIO_SUFFIXES, audio_files

Split = Literal["train", "valid", "test"]
Layout = Literal["musdb18hq", "stems", "pairs", "csv", "roles"]


class Clip(NamedTuple):
    """A piece of a recording from ``start`` to ``end`` seconds; ``f0`` in Hz, where it holds one steady pitch."""

    start: float
    end: float
    f0: float | None = None


@dataclass(frozen=True)
class Track:
    """One song, or one recording of a solo voice or of music without voice.

    A song has ``vocals`` and either ``accompaniment`` files (their sum) or a ``mixture`` (then the accompaniment
    is mixture - vocals). ``clips`` are the pieces a collage may be cut into; ``singer`` groups
    recordings of one voice; what follows a slash in it names a variant (a pitch, a style) of the same person's voice.
    ``spoken``: a voice that speaks.
    """

    name: str
    split: Split
    vocals: Path | None = None
    accompaniment: tuple[Path, ...] = ()
    mixture: Path | None = None
    singer: str = ""
    clips: tuple[Clip, ...] = ()
    spoken: bool = False

    @property
    def is_song(self) -> bool:
        """Vocals and accompaniment belong together."""
        return self.vocals is not None and (bool(self.accompaniment) or self.mixture is not None)

    @property
    def person(self) -> str:
        """The singer without the variant."""
        return self.singer.split("/")[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """All audio files of the track."""
        single = tuple(p for p in (self.vocals, self.mixture) if p is not None)
        return single + self.accompaniment


def find_audio(folder: Path, stem: str) -> Path | None:
    """``folder/stem`` with any known audio suffix, or None."""
    for suffix in AUDIO_SUFFIXES:
        if (path := folder / f"{stem}{suffix}").is_file():
            return path
    return None


def _subfolders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


# MUSDB18-HQ's validation tracks, as fixed by the `musdb` package and used by open-unmix and demucs.
MUSDB_VALID = frozenset(
    {
        "Actions - One Minute Smile",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Johnny Lokke - Promises & Lies",
        "Patrick Talbot - A Reason To Leave",
        "Triviul - Angelsaint",
        "Alexander Ross - Goodbye Bolero",
        "Fergessen - Nos Palpitants",
        "Leaf - Summerghost",
        "Skelpolu - Human Mistakes",
        "Young Griffo - Pennies",
        "ANiMAL - Rockshow",
        "James May - On The Line",
        "Meaxic - Take A Step",
        "Traffic Experiment - Sirens",
    }
)


def _song_folder(folder: Path, split: Split, need_mixture: bool) -> Track | None:
    vocals = find_audio(folder, "vocals")
    if vocals is None:
        return None
    mixture = find_audio(folder, "mixture")
    inside = (p for p in audio_files(folder) if p.parent == folder)
    stems = tuple(p for p in inside if p.stem not in ("vocals", "mixture"))
    if need_mixture or not stems:
        return Track(folder.name, split, vocals, (), mixture, folder.name) if mixture else None
    return Track(folder.name, split, vocals, stems, mixture, folder.name)


def read_musdb18hq(root: Path) -> list[Track]:
    """``root/{train,test}/<song>/{vocals,drums,bass,other,mixture}.wav``; `MUSDB_VALID` is taken out of train."""
    tracks = []
    for part in ("train", "test"):
        if not (root / part).is_dir():
            continue
        for folder in _subfolders(root / part):
            split: Split = "test" if part == "test" else "valid" if folder.name in MUSDB_VALID else "train"
            if (track := _song_folder(folder, split, need_mixture=False)) is not None:
                tracks.append(track)
    return tracks


def _read_song_folders(root: Path, need_mixture: bool) -> list[Track]:
    parts: list[tuple[Path, Split]] = [
        (root / "train", "train"),
        (root / "valid", "valid"),
        (root / "test", "test"),
    ]
    if not any(folder.is_dir() for folder, _ in parts):
        parts = [(root, "train")]
    tracks = []
    for folder, split in parts:
        if folder.is_dir():
            found = (_song_folder(song, split, need_mixture) for song in _subfolders(folder))
            tracks += [track for track in found if track is not None]
    return tracks


def read_stems(root: Path) -> list[Track]:
    """``root[/train|valid|test]/<song>/vocals.* + any other stems``; everything but vocals and mixture is summed."""
    return _read_song_folders(root, need_mixture=False)


def read_pairs(root: Path) -> list[Track]:
    """``root[/train|valid|test]/<song>/{vocals,mixture}.*``: what the paper needs and nothing more."""
    return _read_song_folders(root, need_mixture=True)


def read_rows(path: Path, required: set[str]) -> list[dict[str, str]]:
    """The rows of a CSV table in UTF-8, with or without the mark that spreadsheets put first. DataError if there is no
    such file, it is in another encoding or one of the ``required`` columns is missing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        columns = ", ".join(sorted(required))
        raise DataError(f"{path}: no such table; name a CSV file with the columns {columns}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not in UTF-8; save it so") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = required - set(reader.fieldnames or ())
    if missing:
        raise DataError(f"{path}: the columns {', '.join(sorted(missing))} are missing")
    return list(reader)


def _check_split(split: str, path: Path) -> Split:
    if split not in ("train", "valid", "test"):
        raise DataError(f"{path}: the split '{split}' is not one of train, valid, test")
    return split  # type: ignore[return-value]


def read_csv(path: Path) -> list[Track]:
    """A table with ``track, split, vocals, mixture`` (or ``accompaniment``, several joined by ``|``), paths relative
    to it.
    """
    tracks = []
    for row in read_rows(path, {"track", "split", "vocals"}):
        vocals, mixture = row["vocals"], row.get("mixture", "")
        stems = tuple(path.parent / p for p in (row.get("accompaniment") or "").split("|") if p)
        if not vocals and not stems:
            raise DataError(f"{path}: the track '{row['track']}' needs a file in vocals or accompaniment")
        tracks.append(
            Track(
                row["track"],
                _check_split(row["split"], path),
                path.parent / vocals if vocals else None,
                stems,
                path.parent / mixture if mixture else None,
                row.get("singer") or row["track"],
            )
        )
    return tracks


def _read_clips(path: Path) -> tuple[Clip, ...]:
    sidecar = path.with_suffix(".txt")
    if not sidecar.is_file():
        return ()
    try:
        lines = sidecar.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{sidecar}: not in UTF-8; save it so") from None
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
                raise DataError(f"{sidecar}: line {number} must be start and end in s, a name and f0 in Hz, by tabs")
            clips.append(Clip(start, end, f0))
    return tuple(clips)


class RoleRow(NamedTuple):
    """A row of the layout ``roles``, see `read_roles`."""

    path: str
    role: Literal["vocals", "instrumental", "speech"]
    pair_id: str
    singer_or_source: str
    split: Split


def add_roles(folder: Path, rows: Sequence[RoleRow]) -> None:
    """Put ``rows`` into ``folder/manifest.csv``, in the place of those of the same paths; the others stay."""
    manifest = folder / "manifest.csv"
    new = {row.path for row in rows}
    old = read_rows(manifest, set(RoleRow._fields)) if manifest.is_file() else []
    kept = [tuple(row[name] for name in RoleRow._fields) for row in old if row["path"] not in new]
    try:
        with replacing(manifest) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([RoleRow._fields, *kept, *rows])
    except OSError as error:
        raise DataError(f"{manifest}: cannot be written ({error.strerror}); make room, or name another --out") from None


def read_roles(path: Path) -> list[Track]:
    """A table of single files: ``path, role, split, pair_id, singer_or_source``.

    role is vocals, instrumental or speech (others are passed over); rows that share a pair_id make one song.
    ``<file>.txt`` beside a file lists its clips, separated by tabs: start and end in seconds and, where known, a name
    and the median f0 in Hz, which says nothing of speech.
    """
    songs: dict[str, dict[str, tuple[Path, Split]]] = {}
    tracks = []
    for row in read_rows(path, set(RoleRow._fields)):
        if row["role"] not in ("vocals", "instrumental", "speech"):
            continue
        file, split = path.parent / row["path"], _check_split(row["split"], path)
        if row["role"] == "speech":
            clips = tuple(Clip(clip.start, clip.end) for clip in _read_clips(file))
            tracks.append(Track(row["path"], split, file, singer=row["singer_or_source"], clips=clips, spoken=True))
        elif row["pair_id"]:
            songs.setdefault(row["pair_id"], {})[row["role"]] = (file, split)
        elif row["role"] == "vocals":
            tracks.append(Track(row["path"], split, file, singer=row["singer_or_source"], clips=_read_clips(file)))
        else:
            tracks.append(Track(row["path"], split, accompaniment=(file,), singer="", clips=_read_clips(file)))
    for name, song in songs.items():
        if set(song) != {"vocals", "instrumental"}:
            raise DataError(f"{path}: the pair {name} needs one vocals and one instrumental row")
        vocals, split = song["vocals"]
        tracks.append(Track(name, split, vocals, (song["instrumental"][0],), singer=name))
    return tracks


def read_tracks(layout: Layout, root: Path) -> list[Track]:
    """The tracks below ``root`` (a folder, or the table for ``csv`` and ``roles``). DataError if there are none."""
    readers: dict[Layout, Callable[[Path], list[Track]]] = {
        "musdb18hq": read_musdb18hq,
        "stems": read_stems,
        "pairs": read_pairs,
        "csv": read_csv,
        "roles": read_roles,
    }
    is_table = layout in ("csv", "roles")
    if is_table and root.is_dir():
        root = root / ("manifest.csv" if layout == "roles" else "tracks.csv")
    if not is_table and not root.is_dir():
        raise DataError(f"{root}: no such folder; give the data set's folder with --data")
    tracks = readers[layout](root)
    if not tracks:
        raise DataError(f"{root}: no tracks of layout '{layout}' found; see the README for the layouts")
    for track in tracks:
        for file in track.files:
            if not file.is_file():
                raise DataError(f"{file}: listed for the track '{track.name}' but missing")
    return tracks
