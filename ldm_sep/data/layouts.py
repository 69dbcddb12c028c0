"""The tracks of a data set, however it is laid out."""

from collections.abc import Callable
from pathlib import Path

from ldm_sep.data.folders import MUSDB_VALID, read_musdb18hq, read_pairs, read_stems
from ldm_sep.data.tables import read_csv, read_roles
from ldm_sep.data.tracks import Layout, Track
from ldm_sep.errors import DataError, reason

# What --data names, by layout.
LAYOUTS: dict[Layout, str] = {
    "musdb18hq": "DATA/{train,test}/SONG/{vocals,drums,bass,other,mixture}.wav",
    "stems": "DATA/[train|valid|test]/SONG/vocals.* and any other stems",
    "pairs": "DATA/[train|valid|test]/SONG/{vocals,mixture}.*",
    "csv": "DATA/tracks.csv, a table: track,split,vocals,mixture",
    "roles": "DATA/manifest.csv, a table: path,role,split,pair_id,singer_or_source",
}
_TABLES: dict[Layout, str] = {"csv": "tracks.csv", "roles": "manifest.csv"}


def read_tracks(layout: Layout, root: Path) -> list[Track]:
    """The tracks below ``root`` (a folder, or the table for ``csv`` and ``roles``). DataError if there are none."""
    readers: dict[Layout, Callable[[Path], list[Track]]] = {
        "musdb18hq": read_musdb18hq,
        "stems": read_stems,
        "pairs": read_pairs,
        "csv": read_csv,
        "roles": read_roles,
    }
    if layout in _TABLES and root.is_dir():
        root = root / _TABLES[layout]
    if layout not in _TABLES and not root.is_dir():
        raise DataError(f"{root}: no such folder; give the data set's folder with --data")
    try:
        tracks = readers[layout](root)
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read ({reason(error)})") from None
    if not tracks:
        raise DataError(f"{root}: no tracks of layout '{layout}' found: {LAYOUTS[layout]}")
    for track in tracks:
        for file in track.files:
            if not file.is_file():
                raise DataError(f"{file}: listed for the track '{track.name}' but missing")
    return tracks


def guess_layout(root: Path) -> Layout:
    """The layout that what lies in ``root`` has. DataError if it looks like none of them."""
    if not root.exists():
        raise DataError(f"{root}: no such folder; name the one that holds your songs")
    for layout, name in _TABLES.items():
        if (root / name).is_file() or (root.is_file() and root.name == name):
            return layout
    if root.is_file():
        return "csv"
    if any(track.name in MUSDB_VALID for track in read_musdb18hq(root)):
        return "musdb18hq"
    # Stems win over pairs: they tell what the mixture is made of.
    stems, pairs = read_stems(root), read_pairs(root)
    if not stems:
        known = "; ".join(LAYOUTS.values())
        raise DataError(f"{root}: holds no songs of a known layout: {known}")
    return "stems" if len(pairs) < len(stems) or all(track.accompaniment for track in stems) else "pairs"
