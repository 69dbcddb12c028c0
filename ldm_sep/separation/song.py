"""One song from a file into files: surveyed, separated, written together with the record of how."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import ldm_sep
from ldm_sep.audio import AudioReader, AudioWriter, expected_bytes, probe, survey
from ldm_sep.errors import AudioError, reason
from ldm_sep.files import sha256_of, shown
from ldm_sep.separation.given import check_length, read_in_step, require_predictor
from ldm_sep.separation.naming import Place, Stem
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
from ldm_sep.separation.windowed import BLOCK

if TYPE_CHECKING:
    from ldm_sep.separation.separator import Separator
    from ldm_sep.separation.stems import Stems


def separate_song(
    separator: Separator,
    path: Path,
    place: Place,
    settings: Settings,
    *,
    longest: float | None,
    progress: Progress,
    notice: Callable[[str], None],
    called: str | None = None,
    sha256: str | None = None,
    estimate: Path | None = None,
    estimate_sha256: str | None = None,
) -> Sidecar:
    """`Separator.separate_file` into a ``place``; returns what stands in the sidecar there.

    ``called``: what the sidecar says of where the song was, instead of ``path``. ``sha256``: the song's `hash_of`,
    where it is known already; ``estimate_sha256`` that of ``estimate``.
    """
    import torch

    started = time.perf_counter()
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(shown(line))
        notice(line)

    progress.tell(0.0, "reading")
    total = survey(path, stereo=True, longest=longest, notice=tell)
    targets = place.targets
    rate = probe(path).sample_rate
    given_frames = 0
    if estimate is not None:
        require_predictor(separator)
        given_frames = survey(estimate, stereo=True, longest=longest, notice=tell)
        check_length(estimate, given_frames / probe(estimate).sample_rate, path, total / rate)
    first, wanted = part_of(settings, rate)
    if first >= total:
        raise AudioError(f"{shown(path)}: ends at {total / rate:.3f} s; choose an earlier start")
    frames = total - first if wanted is None else min(total - first, wanted)
    with ExitStack() as stack:
        reader = stack.enter_context(AudioReader(path, start=first, stereo=True, notice=lambda line: None))
        channels = reader.info.channels
        for source in (path, estimate):
            if source is not None:
                check_targets(source, [*targets.values(), place.record])
        check_room(
            place.folder, len(targets) * expected_bytes(frames, channels, rate, settings.suffix, settings.subtype)
        )
        song = _facts(called or _relative(path, place.folder), sha256 or hash_of(path), reader, total)
        given, blocks = None, None
        if estimate is not None:
            voices = stack.enter_context(AudioReader(estimate, stereo=True, notice=lambda line: None))
            given = _facts(
                _relative(estimate, place.folder), estimate_sha256 or hash_of(estimate), voices, given_frames
            )
            blocks = read_in_step(voices, rate, channels, first, frames)
        names = [*place.stems.values(), place.sidecar]
        *parts, record = stack.enter_context(appearing_together(place.folder, names))
        files = dict(zip(targets, parts, strict=True))
        writers: dict[Stem, AudioWriter] = {}
        with ExitStack() as writing:
            for stem, target in targets.items():
                writers[stem] = writing.enter_context(
                    AudioWriter(
                        target,
                        rate,
                        channels,
                        subtype=settings.subtype,
                        bit_rate=settings.bit_rate,
                        into=files[stem],
                    )
                )
            stream = separator.stream_by(settings.plan, blocks_of(reader, frames), rate, channels, estimate=blocks)
            with closing(stream) as stems:
                meters = write_stems(stems, writers, frames, progress)
            # Bytes that an encoder keeps back, and the disk, may take a while.
            progress.tell(1.0, "writing")
        for writer in writers.values():
            if writer.clipped:
                tell(f"{writer.path}: {writer.clipped} samples beyond full scale were clipped; float wav keeps them")
        checkpoint = CheckpointFacts(name=shown(separator.name), sha256=checkpoint_hash(separator.manifest))
        sidecar = Sidecar(
            format=1,
            key=settings_key(song.sha256, checkpoint.sha256, settings, None if given is None else given.sha256),
            input=song,
            estimate=given,
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


def write_stems(
    stems: Iterable[Stems], writers: Mapping[Stem, AudioWriter], frames: int, progress: Progress
) -> dict[Stem, Meter]:
    """Write ``stems``, ``frames`` samples in all, as they come; returns the measures of what was written."""
    meters = {stem: Meter() for stem in writers}
    done = 0
    for part in stems:
        for stem, writer in writers.items():
            samples = getattr(part, stem)
            writer.write(samples)
            meters[stem].push(samples)
        done += part.vocals.shape[1]
        progress.tell(done / frames)
    return meters


def hash_of(path: Path) -> str:
    """The SHA-256 of a song's file. AudioError if it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise AudioError(f"{shown(path)}: cannot be read ({reason(error)}); check its permissions") from error


def part_of(settings: Settings, sample_rate: int) -> tuple[int, int | None]:
    """First sample of the part that ``settings`` ask for, and its samples, None up to the song's end."""
    wanted = None if settings.duration is None else max(1, round(settings.duration * sample_rate))
    return round(settings.start * sample_rate), wanted


def blocks_of(reader: AudioReader, frames: int | None) -> Iterator[np.ndarray]:
    """The next ``frames`` samples of ``reader``, None for all, in blocks."""
    left = 2**62 if frames is None else frames
    while left and (block := reader.take(min(BLOCK, left))).shape[1]:
        left -= block.shape[1]
        yield block


def _facts(file: str, sha256: str, reader: AudioReader, frames: int) -> InputFacts:
    info = reader.info
    return InputFacts(file=file, sha256=sha256, sample_rate=info.sample_rate, channels=info.channels, frames=frames)


def _relative(path: Path, folder: Path) -> str:
    """``path`` as seen from ``folder``, so that a tree that is moved as a whole still finds its songs."""
    try:
        return shown(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix())
    except ValueError:  # another drive
        return shown(path.resolve())
