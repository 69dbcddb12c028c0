"""The songs of a study: which files belong to one, and where in it somebody sings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldm_sep.audio import probe, read
from ldm_sep.errors import DataError
from ldm_sep.evaluate import match_songs, match_tracks
from ldm_sep.files import shown
from ldm_sep.metrics import active_frames

# Excerpts begin on this grid.
_GRID_SECONDS = 0.1
_FRAME_SECONDS = 0.01
# Lengths may differ by what lossy formats add or drop.
_LENGTH_TOLERANCE = 0.1


@dataclass(frozen=True)
class Song:
    """One song's files. ``reference``: the true vocals, where there are any; ``estimates`` by the system's name."""

    name: str
    reference: Path | None
    mixture: Path | None
    estimates: dict[str, Path]


@dataclass(frozen=True)
class Excerpt:
    """``seconds`` of ``song`` from ``start`` on. ``sung``: share of its frames in which somebody sings."""

    song: Song
    start: float
    seconds: float
    sung: float


def find_songs(reference: Path | None, estimates: Mapping[str, Path], mixtures: Path | None) -> list[Song]:
    """The songs of the folders, as `ldm_sep.evaluate` matches them; without references those of ``mixtures``.

    DataError where files are missing or ambiguous, ConfigError for a system's name that means something else, and
    DataError where there is neither a folder of references nor one of mixtures.
    """
    if reference is not None:
        tracks = match_tracks(reference, estimates, mixtures)
        return [Song(track.name, track.reference, track.mixture, track.estimates) for track in tracks]
    if mixtures is None:
        raise DataError("which songs? name the folder of true vocals with --reference, or of songs with --mixtures")
    return [Song(name, None, mixture, found) for name, mixture, found in match_songs(mixtures, estimates)]


def draw_excerpt(song: Song, seconds: float, least_sung: float, rng: np.random.Generator) -> Excerpt | float:
    """An excerpt of ``seconds`` in whose frames somebody sings for at least the share ``least_sung``, all of them
    equally likely. If there is none, the highest share that any excerpt has.

    Where somebody sings is told by the true vocals: frames within 40 dB of the loudest (`active_frames`). Without them,
    it is where most of the estimates say so. 0 for a song shorter than ``seconds``. DataError for files of different
    lengths.
    """
    length = _common_length(song)
    if length < seconds:
        return 0.0
    told_by = [song.reference] if song.reference is not None else list(song.estimates.values())
    sings = np.mean([_active(path, length) for path in told_by], axis=0) > 0.5
    frames = round(seconds / _FRAME_SECONDS)
    before = np.concatenate([[0], np.cumsum(sings)])
    starts = np.arange(0, max(1, len(sings) - frames + 1), round(_GRID_SECONDS / _FRAME_SECONDS))
    starts = starts[starts * _FRAME_SECONDS + seconds <= length]
    shares = (before[np.minimum(starts + frames, len(sings))] - before[starts]) / frames
    fitting = np.flatnonzero(shares >= least_sung)
    if not len(fitting):
        return float(shares.max())
    chosen = int(rng.choice(fitting))
    return Excerpt(song, round(float(starts[chosen]) * _FRAME_SECONDS, 3), seconds, float(shares[chosen]))


def _common_length(song: Song) -> float:
    """Seconds that all files of the song have. DataError if one is of another length: it would not be in step."""
    lengths = {}
    for path in files_of(song):
        info = probe(path)
        if info.frames is None:
            raise DataError(f"{shown(path)}: its length is not stated in the file; write it as wav or flac first")
        lengths[path] = info.frames / info.sample_rate
    longest = max(lengths, key=lengths.__getitem__)
    shortest = min(lengths, key=lengths.__getitem__)
    if lengths[longest] - lengths[shortest] > _LENGTH_TOLERANCE:
        raise DataError(
            f"{shown(shortest)}: {lengths[shortest]:.2f} s long, but {shown(longest)} is {lengths[longest]:.2f} s; "
            "files of one song must begin and end together"
        )
    return lengths[shortest]


def files_of(song: Song) -> Sequence[Path]:
    """All files of a song, the reference and the mixture first."""
    return [path for path in (song.reference, song.mixture) if path is not None] + list(song.estimates.values())


def _active(path: Path, length: float) -> np.ndarray:
    wave, rate = read(path)
    mask = active_frames(wave, rate).mask
    # A hop is a whole number of samples, so at odd rates it is not quite 10 ms.
    hop = int(rate / 100) / rate
    index = np.minimum((np.arange(round(length / _FRAME_SECONDS)) * _FRAME_SECONDS / hop).astype(int), len(mask) - 1)
    return mask[index]
