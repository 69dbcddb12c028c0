"""What a command line of files and folders asks for, checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ldm_sep.errors import AudioError, ConfigError

Stem = Literal["vocals", "instrumental"]
STEMS: tuple[Stem, ...] = get_args(Stem)
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif")


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


def plan_jobs(inputs: Sequence[Path], out: Path, stems: Sequence[Stem], suffix: str, overwrite: bool) -> list[Job]:
    """A job for every input file; folders stand for the audio files below them.

    AudioError, before anything is written, for a missing input, a folder without audio, two inputs that would write to
    one folder, or outputs that exist without ``overwrite``.
    """
    jobs: list[Job] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
            if not found:
                raise AudioError(f"{path}: no audio files in this folder; known are {', '.join(AUDIO_SUFFIXES)}")
            jobs += [Job(p, out / p.relative_to(path).parent / p.stem) for p in found]
        elif path.exists():
            jobs.append(Job(path, out / path.stem))
        else:
            raise AudioError(f"{path}: no such file or folder; check the name")
    taken: dict[Path, Path] = {}
    for job in jobs:
        if job.folder in taken:
            raise AudioError(
                f"{job.input}: would be written to {job.folder}, as {taken[job.folder]} would; "
                "rename one or separate them into different --out folders"
            )
        taken[job.folder] = job.input
        for stem in stems:
            target = job.folder / f"{stem}.{suffix}"
            if target.exists() and not overwrite:
                raise AudioError(f"{target}: exists already; add --overwrite or name another --out")
    return jobs
