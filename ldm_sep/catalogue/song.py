"""One song of a catalogue, in the process of a worker, and what is tried when that process ends."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ldm_sep.catalogue.rows import Attempt, Recipe, Refusal, Row, folder_name, identity
from ldm_sep.catalogue.storage import borrowed, lent, local_path, stamp_of
from ldm_sep.errors import (
    AudioError,
    BusyError,
    CheckpointError,
    ConfigError,
    DependencyError,
    DeviceError,
    LdmSepError,
    OutputError,
)
from ldm_sep.files import shown
from ldm_sep.records import shortened
from ldm_sep.separation.naming import SIDECAR, Place, Stem
from ldm_sep.separation.progress import Progress
from ldm_sep.separation.separator import Separator
from ldm_sep.separation.sidecar import Sidecar, is_made, read_sidecar
from ldm_sep.separation.song import hash_of, separate_song
from ldm_sep.signal.loudness import SILENT_PEAK

# Tried in turn. The second is the same as the first, since another process may have taken the memory.
_TRIES = ("", "again", "with half the segment", "with half the segment, on the CPU")
# Seconds to wait for another process that separates the same song into the same folder, and between two looks.
_PATIENCE, _PAUSE = 3600.0, 0.5
_SHORTEST_SEGMENT = 1.0


class UnusableError(LdmSepError):
    """A checkpoint or device that separates no song at all."""


class SeparatorCache:
    """The checkpoint, loaded once for each device, in the process that uses it."""

    def __init__(self) -> None:
        self._loaded: dict[str, Separator] = {}

    def separator(self, recipe: Recipe, device: str) -> Separator:
        """On ``device``. CheckpointError or DeviceError if it cannot be."""
        if device not in self._loaded:
            self._loaded[device] = Separator.load(recipe.checkpoint, device=device, codec_weights=recipe.codec_weights)
        return self._loaded[device]


def tries_on(device: str) -> int:
    """How many processes may end before a song is given up. The last of the tries differs by the CPU alone."""
    return len(_TRIES) - 1 if device == "cpu" else len(_TRIES)


def separate_once(attempt: Attempt, recipe: Recipe, cache: SeparatorCache) -> Iterator[Row | Refusal]:
    """The row of a song: separated, found to be so already, or failed by its own fault.

    In its place a refusal where no song could be done: the disk, the checkpoint or the device is at fault.

    What is nobody's fault that could be named, as a lack of memory, ends the process. Then `after_crash` goes on.
    """
    started = time.perf_counter()
    source, stamp, song, copy = attempt.entry.source, "", "", ""
    try:
        if attempt.entry.problem:
            raise AudioError(attempt.entry.problem)
        stamp = stamp_of(source)
        with borrowed(source) as path:
            copy, song = shown(path), hash_of(path)
            folder = folder_name(attempt.entry.name, recipe.key(song))
            sidecar = _result(attempt, recipe, cache, path, song, folder)
        if stamp_of(source) != stamp:
            raise AudioError(f"{shown(source)}: changed while it was read; run it again when it is complete")
    except (OutputError, BusyError, UnusableError) as error:
        yield Refusal(str(error))
    except AudioError as error:
        # Messages name the object, not its temporary copy.
        line = str(error).replace(copy, shown(source)) if copy else str(error)
        yield _failed(attempt, recipe, line, stamp, song, time.perf_counter() - started)
    else:
        lines = [line.replace(f"{shown(recipe.out)}/{folder}/", "") for line in sidecar.warnings]
        lines += [f"{fact.file}: holds silence" for fact in sidecar.stems.values() if fact.peak < SILENT_PEAK]
        yield Row(
            **_beginning(attempt, recipe, stamp, song),
            status="done",
            key=sidecar.key,
            folder=folder,
            stems=sidecar.stems,
            duration=sidecar.input.frames / sidecar.input.sample_rate,
            warnings=[*attempt.crashes, *lines],
            seconds=round(time.perf_counter() - started, 3),
        )


def after_crash(
    attempt: Attempt, given: int, why: str, *, recipe: Recipe, tries: int
) -> tuple[Sequence[Row], Attempt | None]:
    """What comes after a process that ended for the reason ``why``: the next try, or the row of a song given up.

    For `ldm_sep.workers.work_through`, with ``tries`` of `tries_on`.
    """
    if given:
        return [], None
    # It may be the text of an exception, of any length; a row's texts have one.
    why = shortened(why)
    tried = replace(attempt, crashes=(*attempt.crashes, f"a process that separated it ended ({why})"))
    if len(tried.crashes) < tries:
        return [], tried
    line = f"{shown(attempt.entry.source)}: given up, {tries} processes that separated it ended, the last by {why}"
    stamp = ""
    with suppress(OSError, LdmSepError):
        stamp = stamp_of(attempt.entry.source)
    return [_failed(attempt, recipe, line, stamp, "", 0.0)], None


def _failed(attempt: Attempt, recipe: Recipe, line: str, stamp: str, song: str, seconds: float) -> Row:
    known = _beginning(attempt, recipe, stamp, song)
    return Row(**known, status="failed", error=line, warnings=list(attempt.crashes), seconds=round(seconds, 3))


def _beginning(attempt: Attempt, recipe: Recipe, stamp: str, song: str) -> dict[str, Any]:
    return {
        "id": identity(attempt.entry.source, recipe.key("")),
        "source": shown(attempt.entry.source),
        "name": attempt.entry.name,
        "stamp": stamp,
        "input": song,
        "tries": len(attempt.crashes) + 1,
    }


def _result(attempt: Attempt, recipe: Recipe, cache: SeparatorCache, path: Path, song: str, folder: str) -> Sidecar:
    """What the sidecar in ``folder`` says, once the stems of the file at ``path`` are there; ``song`` is its hash."""
    target = f"{recipe.out}/{folder}"
    patience = time.monotonic() + _PATIENCE
    while True:
        sidecar = _found(target, recipe.key(song), recipe.stems)
        if sidecar is not None:
            return sidecar
        try:
            return _separated(attempt, recipe, cache, path, song, target)
        except BusyError:
            if time.monotonic() > patience:
                raise
            time.sleep(_PAUSE)


def _found(target: str, key: str, stems: Sequence[Stem]) -> Sidecar | None:
    """The sidecar in ``target``, if it stands for ``stems`` of this ``key``."""
    try:
        with borrowed(f"{target}/{SIDECAR}") as record:
            sidecar = read_sidecar(record)
            # In an object store the sidecar is written last, so its stems are there.
            whole = local_path(target) is None or is_made(record, key, stems)
    except AudioError:
        return None
    return sidecar if whole and sidecar.key == key and set(stems) <= sidecar.stems.keys() else None


def _separated(attempt: Attempt, recipe: Recipe, cache: SeparatorCache, path: Path, song: str, target: str) -> Sidecar:
    count = len(attempt.crashes)
    half = max(_SHORTEST_SEGMENT, recipe.settings.plan.segment / 2)
    options = replace(recipe.options, segment=half) if count > 1 else recipe.options
    try:
        separator = cache.separator(recipe, "cpu" if count > 2 else recipe.device)
    except (CheckpointError, ConfigError, DependencyError, DeviceError) as error:
        raise UnusableError(str(error)) from None
    with lent(target, SIDECAR) as folder:
        sidecar = separate_song(
            separator,
            path,
            Place.plain(folder, recipe.stems, recipe.settings.suffix),
            separator.settings(options, suffix=recipe.settings.suffix, subtype=recipe.settings.subtype),
            longest=recipe.longest,
            progress=Progress(None),
            notice=lambda line: None,
            sha256=song,
        )
        if local_path(target) is None:
            # Messages name the objects, not their temporary copies.
            source = shown(attempt.entry.source)
            lines = [line.replace(shown(path), source).replace(shown(folder), target) for line in sidecar.warnings]
            facts = sidecar.input.model_copy(update={"file": source})
            sidecar = sidecar.model_copy(update={"input": facts, "warnings": lines})
            (folder / SIDECAR).write_text(sidecar.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return sidecar
