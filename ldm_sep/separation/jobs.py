"""What a command line of files and folders asks for, checked before any work."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.files import shown
from ldm_sep.listing import AUDIO_SUFFIXES, list_audio, status_of

Stem = Literal["vocals", "instrumental"]
STEMS: tuple[Stem, ...] = get_args(Stem)
Suffix = Literal["wav", "flac", "mp3"]
# The record beside the stems (`sidecar`).
SIDECAR = "separation.json"
_WRITTEN_SUFFIXES = tuple(f".{suffix}" for suffix in get_args(Suffix))


@dataclass(frozen=True)
class Job:
    """One input file and the folder its stems go to."""

    input: Path
    folder: Path


@dataclass(frozen=True)
class Work:
    """What is to do: ``jobs``, other files ``passed_over`` in folders by suffix, and a line for each place that is
    ``unreadable``.
    """

    jobs: list[Job]
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


def plan_jobs(
    inputs: Sequence[Path],
    out: Path,
    stems: Sequence[Stem],
    suffix: str,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Work:
    """A job for every input file; folders stand for the audio files below them, but for what runs into ``out`` wrote.

    With ``skip_existing`` outputs may exist that have a sidecar, which tells whether they are what is asked for
    (`sidecar.is_made`). AudioError, before anything is written, for a missing input, a folder without audio, two inputs
    that would write to one folder, outputs that are inputs too, or other outputs that exist without ``overwrite``.
    """
    jobs: list[Job] = []
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
            found = [p for p in listing.audio if not (inside and p.resolve().is_relative_to(results))]
            if not found and not listing.unreadable:
                known = ", ".join(AUDIO_SUFFIXES)
                raise AudioError(f"{shown(path)}: no audio files in this folder; known are {known}")
            jobs += _without_results([Job(p, out / p.relative_to(path).parent / track_name(p)) for p in found])
            passed_over += listing.others
            unreadable += listing.unreadable
        else:
            jobs.append(Job(path, out / track_name(path)))
    jobs = list({(job.input.resolve(), job.folder): job for job in jobs}.values())
    _check_outputs(jobs, stems, suffix, overwrite, skip_existing)
    return Work(jobs, passed_over, unreadable)


def track_name(path: Path) -> str:
    """The name of the folder for a file's stems: its own without suffix, or whole where that would be no name."""
    return path.stem if path.stem.strip(". ") else path.name


def _without_results(jobs: Sequence[Job]) -> list[Job]:
    """The jobs but for stems that an earlier run wrote for one of them, into its folder."""
    folders = {job.folder.resolve() for job in jobs}
    return [
        job
        for job in jobs
        if not (
            job.input.stem in STEMS and job.input.suffix in _WRITTEN_SUFFIXES and job.input.parent.resolve() in folders
        )
    ]


def _check_outputs(
    jobs: Sequence[Job], stems: Sequence[Stem], suffix: str, overwrite: bool, skip_existing: bool
) -> None:
    inputs = {(status.st_dev, status.st_ino): job.input for job in jobs if (status := status_of(job.input))}
    taken: dict[Path, Path] = {}
    for job in jobs:
        name = shown(job.input)
        if job.folder in taken:
            raise AudioError(
                f"{name}: would be written to {shown(job.folder)}, as {shown(taken[job.folder])} would; "
                "rename one or separate them into different --out folders"
            )
        taken[job.folder] = job.input
        there = [target for stem in stems if os.path.lexists(target := job.folder / f"{stem}.{suffix}")]
        if there and not (overwrite or skip_existing):
            raise AudioError(
                f"{shown(there[0])}: exists already; add --overwrite or --skip-existing, or name another --out"
            )
        if there and not overwrite and not (job.folder / SIDECAR).is_file():
            raise AudioError(
                f"{shown(there[0])}: exists already, and no {SIDECAR} beside it tells what it is; "
                "add --overwrite, or name another --out"
            )
        for target in there:
            if (status := status_of(target)) and (status.st_dev, status.st_ino) in inputs:
                raise AudioError(f"{shown(target)}: would be written over and is an input; name another --out")
