"""A catalogue from its inputs to its last row, whatever separates the songs."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Protocol

from ldm_sep.catalogue.entries import STDIN, check_inputs, entries
from ldm_sep.catalogue.journal import Journal, Shard
from ldm_sep.catalogue.rows import Attempt, Entry, Recipe, Refusal, Row, identity
from ldm_sep.catalogue.song import SeparatorCache, after_crash, separate_once, tries_on
from ldm_sep.catalogue.storage import local_path, stamp_of
from ldm_sep.catalogue.tally import Tally, counting
from ldm_sep.device import choose_device, usable_cores, visible_gpus
from ldm_sep.errors import AudioError, ConfigError, OutputError
from ldm_sep.listing import status_of
from ldm_sep.workers import work_through


class Engine(Protocol):
    """What separates songs: a row for each attempt, in any order. Attempts are taken as workers become free."""

    def __call__(self, attempts: Iterable[Attempt], recipe: Recipe) -> Generator[Row | Refusal, None, None]: ...


def local_engine(
    attempts: Iterable[Attempt], recipe: Recipe, *, workers: int | None = None
) -> Generator[Row | Refusal, None, None]:
    """`Engine` of ``workers`` processes of this machine, one thread each; None for one by GPU or by core.

    DeviceError if the device is not there.
    """
    device = choose_device(recipe.device)
    gpus: Sequence[str] = visible_gpus() if device.type == "cuda" and device.index is None else []
    yield from work_through(
        partial(separate_once, recipe=recipe, cache=SeparatorCache()),
        attempts,
        workers or len(gpus) or usable_cores(),
        partial(after_crash, recipe=recipe, tries=tries_on(device.type)),
        [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus],
    )


def catalogue(
    inputs: Sequence[str],
    recipe: Recipe,
    engine: Engine,
    *,
    journal: Path | None = None,
    shard: Shard = Shard(),
    retry_failed: bool = False,
    report: Callable[[Tally, Row | str], None] = lambda tally, news: None,
) -> Tally:
    """Separate the songs of ``inputs`` (`entries` says what they may be) by ``recipe``, each once.

    A song that has its stems, or that failed by its own fault, is passed over as long as it does not change; with
    ``retry_failed`` the latter are tried again. The journal is in the folder ``journal``, by default ``recipe.out``.
    At the end it lists the songs that failed, as a manifest. ``report`` is told each row, and each line about a place
    that cannot be read.

    Nothing that is finished is lost, however the process ends: the same call goes on. ConfigError for inputs that are
    not there and another catalogue on the same shard; OutputError for a disk that takes no more.
    """
    check_inputs(inputs)
    out = local_path(recipe.out)
    folder = journal or out
    if folder is None:
        raise ConfigError(f"{recipe.out}: an object store holds no journal; name a local folder with --journal")
    tally = Tally()
    # Songs that this run has taken up, as numbers, which take less memory than texts.
    taken: set[int] = set()
    failed: dict[str, None] = {}

    def told(line: str) -> None:
        tally.unreadable += 1
        report(tally, line)

    def due(kept: Journal) -> Iterator[Attempt]:
        for entry in _part(inputs, out, shard, told):
            id = identity(entry.source, recipe.key(""))
            number = int(id, 16)
            if number in taken:
                tally.twice += 1
                continue
            row = kept.find(id)
            if row is None or not _holds(row, entry, recipe) or (row.status == "failed" and retry_failed):
                taken.add(number)
                yield Attempt(entry)
            elif row.status == "failed":
                tally.failed_before += 1
                failed[id] = None
            else:
                tally.done_before += 1

    with ExitStack() as stack:
        kept = stack.enter_context(Journal(folder, shard))
        stack.callback(lambda: kept.write_failed(failed))
        if STDIN not in inputs:
            stack.enter_context(counting(_part(inputs, out, shard, lambda line: None), tally))
        for row in stack.enter_context(closing(engine(due(kept), recipe))):
            if isinstance(row, Refusal):
                raise OutputError(f"{row.line}; run it again then: nothing that is done is lost")
            kept.append(row)
            if row.status == "failed":
                tally.failed += 1
                failed[row.id] = None
            else:
                tally.done += 1
                tally.audio += row.duration
            report(tally, row)
    tally.total = tally.passed
    return tally


def _part(
    inputs: Sequence[str], out: Path | None, shard: Shard, unreadable: Callable[[str], object]
) -> Iterator[Entry]:
    return (entry for entry in entries(inputs, out, unreadable) if shard.has(entry))


def _holds(row: Row, entry: Entry, recipe: Recipe) -> bool:
    """Whether ``row`` still says what is: the song did not change, and its stems have the sizes that they had.

    Whoever changes a file and puts back its time of modification and its size is not noticed. Of objects the stems are
    not looked at.
    """
    try:
        stamp = entry.stamp or ("" if entry.problem else stamp_of(entry.source))
    except AudioError:
        # The attempt meets the same and tells it as the song's row.
        return False
    if row.stamp != stamp:
        return False
    if row.status == "failed":
        return True
    if not set(recipe.stems) <= row.stems.keys():
        return False
    folder = local_path(f"{recipe.out}/{row.folder}")
    if folder is None:
        return True
    facts = [row.stems[stem] for stem in recipe.stems]
    found = [status_of(folder / fact.file) for fact in facts]
    return [None if status is None else status.st_size for status in found] == [fact.bytes for fact in facts]
