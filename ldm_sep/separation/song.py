"""One song from a file into files: surveyed, separated, written together with the record of how."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import ldm_sep
from ldm_sep.audio import AudioReader, AudioWriter, Subtype, default_subtype, expected_bytes, survey
from ldm_sep.errors import AudioError
from ldm_sep.files import reason, sha256_of, shown
from ldm_sep.separation.jobs import SIDECAR, Stem, Suffix
from ldm_sep.separation.options import Options
from ldm_sep.separation.outputs import appearing_together, check_room, check_targets
from ldm_sep.separation.progress import Progress
from ldm_sep.separation.sidecar import (
    CheckpointFacts,
    InputFacts,
    Meter,
    Settings,
    Sidecar,
    StemFacts,
    Versions,
    checkpoint_hash,
    settings_key,
)

if TYPE_CHECKING:
    from ldm_sep.separation.separator import Separator

# Bounds the memory of blocks read at any sample rate.
BLOCK = 65536


@dataclass(frozen=True)
class Place:
    """The files of one song's result: names in ``folder``, by stem, and the sidecar's."""

    folder: Path
    stems: dict[Stem, str]
    sidecar: str = SIDECAR

    @classmethod
    def plain(cls, folder: Path, stems: Sequence[Stem], suffix: Suffix) -> Place:
        """``folder/<stem>.<suffix>`` and ``folder/separation.json``."""
        return cls(folder, {stem: f"{stem}.{suffix}" for stem in stems})


def settled(separator: Separator, options: Options, suffix: Suffix, subtype: Subtype | None) -> Settings:
    """What decides the bytes of the stems, with everything that was left open filled in."""
    return Settings(plan=separator.plan(options), suffix=suffix, subtype=subtype or default_subtype(suffix))


def key_of(separator: Separator, path: Path, settings: Settings) -> str:
    """The key that the stems of ``path`` have in their sidecar. AudioError if the file cannot be read."""
    try:
        song = sha256_of(path)
    except OSError as error:
        raise AudioError(f"{shown(path)}: cannot be read ({reason(error)}); check its permissions") from error
    return settings_key(song, checkpoint_hash(separator.manifest), settings)


def separate_song(
    separator: Separator,
    path: Path,
    place: Place,
    options: Options,
    *,
    suffix: Suffix,
    subtype: Subtype | None,
    longest: float | None,
    progress: Progress,
    notice: Callable[[str], None],
) -> Sidecar:
    """`Separator.separate_file` into a ``place``; returns what stands in the sidecar there."""
    started = time.perf_counter()
    settings = settled(separator, options, suffix, subtype)
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(shown(line))
        notice(line)

    progress.tell(0.0, "reading")
    frames = survey(path, stereo=True, longest=longest, notice=tell)
    targets = {stem: place.folder / name for stem, name in place.stems.items()}
    with AudioReader(path, stereo=True, notice=lambda line: None) as reader, ExitStack() as stack:
        rate, channels = reader.info.sample_rate, reader.info.channels
        check_targets(path, [*targets.values(), place.folder / place.sidecar])
        check_room(place.folder, len(targets) * expected_bytes(frames, channels, rate, suffix, subtype))
        song = InputFacts(
            file=_relative(path, place.folder),
            sha256=sha256_of(path),
            sample_rate=rate,
            channels=channels,
            frames=frames,
        )
        names = [*place.stems.values(), place.sidecar]
        *parts, record = stack.enter_context(appearing_together(place.folder, names))
        files = dict(zip(targets, parts, strict=True))
        meters = {stem: Meter() for stem in targets}
        with ExitStack() as writing:
            writers = {
                stem: writing.enter_context(AudioWriter(target, rate, channels, subtype=subtype, into=files[stem]))
                for stem, target in targets.items()
            }
            done = 0
            for part in separator.stream(reader.blocks(BLOCK), rate, channels, options):
                for stem, writer in writers.items():
                    samples = getattr(part, stem)
                    writer.write(samples)
                    meters[stem].push(samples)
                done += part.vocals.shape[1]
                progress.tell(done / frames)
            # Bytes that an encoder keeps back, and the disk, may take a while.
            progress.tell(1.0, "writing")
        for writer in writers.values():
            if writer.clipped:
                tell(f"{writer.path}: {writer.clipped} samples beyond full scale were clipped; float wav keeps them")
        checkpoint = CheckpointFacts(name=shown(separator.name), sha256=checkpoint_hash(separator.manifest))
        sidecar = Sidecar(
            format=1,
            key=settings_key(song.sha256, checkpoint.sha256, settings),
            input=song,
            checkpoint=checkpoint,
            settings=settings,
            stems={
                stem: StemFacts(
                    file=shown(targets[stem].name),
                    sha256=sha256_of(file),
                    bytes=file.stat().st_size,
                    sample_rate=rate,
                    channels=channels,
                    frames=meters[stem].frames,
                    peak=meters[stem].peak,
                    level_db=meters[stem].level_db,
                    clipped=writers[stem].clipped,
                )
                for stem, file in files.items()
            },
            versions=Versions(ldm_sep=ldm_sep.__version__, torch=str(torch.__version__)),
            device=str(separator.device),
            warnings=told,
            seconds=time.perf_counter() - started,
        )
        record.write_text(sidecar.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return sidecar


def _relative(path: Path, folder: Path) -> str:
    """``path`` as seen from ``folder``, so that a tree that is moved as a whole still finds its songs."""
    try:
        return shown(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix())
    except ValueError:  # another drive
        return shown(path.resolve())
