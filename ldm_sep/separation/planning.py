"""What a command line of files and folders asks for, checked before any work."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.files import shown
from ldm_sep.listing import AUDIO_SUFFIXES, list_audio, status_of
from ldm_sep.separation.naming import STEMS, SUFFIXES, Place, Stem, Suffix, Template, track_name


@dataclass(frozen=True)
class PlannedSong:
    """One input file, where its result goes, and the folder that it has ``below`` the one that was named."""

    input: Path
    place: Place
    below: Path = Path()


@dataclass(frozen=True)
class Work:
    """What is to do: ``songs``, other files ``passed_over`` in folders by suffix, and a line for each place that is
    ``unreadable``.
    """

    songs: list[PlannedSong]
    passed_over: Counter[str]
    unreadable: list[str]

    def summary(self, done: int, skipped: int, failed: int) -> str:
        """The line at the end of a run."""
        counts = f"{done} separated, {skipped} skipped, {failed + len(self.unreadable)} failed"
        kinds = ", ".join(f"{suffix} {count}" for suffix, count in sorted(self.passed_over.items()))
        return f"{counts}, {self.passed_over.total()} passed over" + (f" ({shown(kinds)})" if kinds else "")


def parse_stems(text: str) -> tuple[Stem, ...]:
    """``vocals,instrumental`` in any order, each at most once counted. ConfigError for other words."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in STEMS]
    if unknown or not words:
        raise ConfigError(f"--stems {text or '(empty)'}: choose from {', '.join(STEMS)}")
    return tuple(stem for stem in STEMS if stem in words)


def plan_songs(
    inputs: Sequence[Path],
    out: Path,
    template: Template,
    stems: Sequence[Stem],
    suffix: Suffix,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Work:
    """A plan for every input file; folders stand for the audio files below them, but for what runs into ``out`` wrote.

    Inputs that ``template`` would give one name, as `song.mp4` and `song.wav`, keep their suffix in ``{track}``. With
    ``skip_existing`` outputs may exist that have a sidecar, which tells whether they are what is asked for
    (`sidecar.is_made`). AudioError, before anything is written, for a missing input, a folder without audio, inputs
    that would be written to the same files, outputs that are inputs too, or other outputs that exist without
    ``overwrite``.
    """
    found: list[tuple[Path, Path]] = []
    passed_over: Counter[str] = Counter()
    unreadable: list[str] = []
    results = out.resolve()
    for path in inputs:
        status = status_of(path)
        if status is None:
            raise AudioError(f"{shown(path)}: no such file or folder; check the name")
        if stat.S_ISDIR(status.st_mode):
            listing = list_audio(path)
            inside = path.resolve() in results.parents
            songs = [p for p in listing.audio if not (inside and p.resolve().is_relative_to(results))]
            if not songs and not listing.unreadable:
                known = ", ".join(AUDIO_SUFFIXES)
                raise AudioError(f"{shown(path)}: no audio files in this folder; known are {known}")
            found += _without_results([(p, out / p.relative_to(path).parent) for p in songs], template)
            passed_over += listing.others
            unreadable += listing.unreadable
        else:
            found.append((path, out))
    # A song that is named twice is separated once.
    found = list({(path.resolve(), folder): (path, folder) for path, folder in found}.values())
    places = _told_apart(found, template, stems, suffix)
    planned = [
        PlannedSong(path, place, folder.relative_to(out)) for (path, folder), place in zip(found, places, strict=True)
    ]
    _check_outputs(planned, overwrite, skip_existing)
    return Work(planned, passed_over, unreadable)


def _place(path: Path, folder: Path, track: str, template: Template, stems: Sequence[Stem], suffix: Suffix) -> Place:
    return template.place(folder, track, path.suffix.removeprefix("."), stems, suffix)


def _told_apart(
    found: Sequence[tuple[Path, Path]], template: Template, stems: Sequence[Stem], suffix: Suffix
) -> Iterator[Place]:
    """The place of each input; the whole names of inputs stand for ``{track}`` where places would be the same."""
    plain = [_place(path, folder, track_name(path), template, stems, suffix) for path, folder in found]
    counts = Counter(place.record for place in plain)
    for (path, folder), place in zip(found, plain, strict=True):
        same = counts[place.record] > 1
        yield _place(path, folder, path.name, template, stems, suffix) if same else place


def _without_results(found: Sequence[tuple[Path, Path]], template: Template) -> list[tuple[Path, Path]]:
    """The inputs, each with its output folder, but for stems that an earlier run wrote for one of them."""
    makers: dict[Path, set[Path]] = {}
    for path, folder in found:
        for suffix in SUFFIXES:
            for track in {track_name(path), path.name}:
                for target in _place(path, folder, track, template, STEMS, suffix).targets.values():
                    makers.setdefault(target.parent.resolve() / target.name, set()).add(path)
    return [(p, folder) for p, folder in found if not makers.get(p.parent.resolve() / p.name, set()) - {p}]


def _check_outputs(songs: Sequence[PlannedSong], overwrite: bool, skip_existing: bool) -> None:
    inputs = {(status.st_dev, status.st_ino): song.input for song in songs if (status := status_of(song.input))}
    taken: dict[Path, Path] = {}
    for song in songs:
        name, record = shown(song.input), song.place.record
        if record in taken:
            raise AudioError(
                f"{name}: would be written to the files of {shown(taken[record])}, in {shown(record.parent)}; "
                "rename one, add {trackext} to --filename, or separate them into different --out folders"
            )
        taken[record] = song.input
        there = [target for target in song.place.targets.values() if os.path.lexists(target)]
        if there and not (overwrite or skip_existing):
            raise AudioError(
                f"{shown(there[0])}: exists already; add --overwrite or --skip-existing, or name another --out"
            )
        if there and not overwrite and not record.is_file():
            raise AudioError(
                f"{shown(there[0])}: exists already, and no {shown(record.name)} beside it tells what it is; "
                "add --overwrite, or name another --out"
            )
        for target in there:
            if (status := status_of(target)) and (status.st_dev, status.st_ino) in inputs:
                raise AudioError(f"{shown(target)}: would be written over and is an input; name another --out")
