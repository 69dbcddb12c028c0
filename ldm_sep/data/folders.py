"""Layouts that are folders of songs: the names of files say what they are."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ldm_sep.data.tracks import Split, Track
from ldm_sep.listing import AUDIO_SUFFIXES

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


def read_musdb18hq(root: Path) -> list[Track]:
    """``root/{train,test}/<song>/{vocals,drums,bass,other,mixture}.wav``; `MUSDB_VALID` is taken out of train."""
    tracks = [*_songs(root / "train", "train", need_mixture=False), *_songs(root / "test", "test", need_mixture=False)]
    return [replace(t, split="valid") if t.split == "train" and t.name in MUSDB_VALID else t for t in tracks]


def read_stems(root: Path) -> list[Track]:
    """``root[/train|valid|test]/<song>/vocals.* + any other stems``; everything but vocals and mixture is summed."""
    return [track for folder, split in _splits(root) for track in _songs(folder, split, need_mixture=False)]


def read_pairs(root: Path) -> list[Track]:
    """``root[/train|valid|test]/<song>/{vocals,mixture}.*``: what the paper needs and nothing more."""
    return [track for folder, split in _splits(root) for track in _songs(folder, split, need_mixture=True)]


def _splits(root: Path) -> list[tuple[Path, Split]]:
    parts: list[tuple[Path, Split]] = [(root / split, split) for split in get_args(Split)]
    return parts if any(folder.is_dir() for folder, _ in parts) else [(root, "train")]


def _songs(root: Path, split: Split, *, need_mixture: bool) -> Iterator[Track]:
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        stems = _audio_in(folder)
        vocals, mixture = (next((p for p in stems if p.stem == name), None) for name in ("vocals", "mixture"))
        others = () if need_mixture else tuple(p for p in stems if p.stem not in ("vocals", "mixture"))
        if vocals is not None and (others or mixture is not None):
            yield Track(folder.name, split, vocals, others, mixture, folder.name)


def _audio_in(folder: Path) -> list[Path]:
    """The audio files in ``folder`` itself, by name, and of one name in the order of the suffixes."""
    inside = (p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file())
    known = [p for p in inside if p.suffix.lower() in AUDIO_SUFFIXES]
    return sorted(known, key=lambda p: (p.stem, AUDIO_SUFFIXES.index(p.suffix.lower())))
