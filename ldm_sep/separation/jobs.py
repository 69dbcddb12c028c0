"""What a command line of files and folders asks for, checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.files import AUDIO_SUFFIXES, audio_files

Stem = Literal["vocals", "instrumental"]
STEMS: tuple[Stem, ...] = get_args(Stem)


@dataclass(frozen=True)
class Job:
    """One input file and the folder its stems go to."""

    input: Path
    folder: Path


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
) -> list[Job]:
    """A job for every input file; folders stand for the audio files below them, but for those below ``out``.

    With ``skip_existing`` inputs whose stems are all there are left out. AudioError, before anything is written, for a
    missing input, a folder without audio, two inputs that would write to one folder, or outputs that exist without
    ``overwrite`` or ``skip_existing``.
    """
    results = out.resolve()
    jobs: list[Job] = []
    for path in inputs:
        if path.is_dir():
            # What an earlier run wrote into a folder inside this one is no song.
            inside = path.resolve() in results.parents
            found = [p for p in audio_files(path) if not (inside and p.resolve().is_relative_to(results))]
            if not found:
                raise AudioError(f"{path}: no audio files in this folder; known are {', '.join(AUDIO_SUFFIXES)}")
            jobs += [Job(p, out / p.relative_to(path).parent / p.stem) for p in found]
        elif path.exists():
            jobs.append(Job(path, out / path.stem))
        else:
            raise AudioError(f"{path}: no such file or folder; check the name")
    taken: dict[Path, Path] = {}
    due: list[Job] = []
    for job in jobs:
        if job.folder in taken:
            raise AudioError(
                f"{job.input}: would be written to {job.folder}, as {taken[job.folder]} would; "
                "rename one or separate them into different --out folders"
            )
        taken[job.folder] = job.input
        there = [target for stem in stems if (target := job.folder / f"{stem}.{suffix}").exists()]
        if there and not (overwrite or skip_existing):
            raise AudioError(f"{there[0]}: exists already; add --overwrite or --skip-existing, or name another --out")
        # Half a result is made again: stems of one run belong together.
        if overwrite or len(there) < len(stems):
            due.append(job)
    return due
