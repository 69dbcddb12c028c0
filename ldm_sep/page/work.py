"""Separation of a decoded song, in a process that keeps the checkpoint from job to job."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ldm_sep.errors import LdmSepError
from ldm_sep.page.events import Advanced, Event, Failed, Finished, Started, as_they_come, named
from ldm_sep.page.overview import write_overview
from ldm_sep.page.records import Lane, Order
from ldm_sep.separation.naming import STEMS
from ldm_sep.separation.options import Options
from ldm_sep.separation.progress import Progress, Stage
from ldm_sep.separation.retake import renew_stems
from ldm_sep.separation.separator import Separator

# Share of the work that drawing the stems' overviews is counted as.
_DRAWING = 0.04


@dataclass(frozen=True)
class Separation:
    """Separate ``mixture`` of the job ``id``, called ``name``, into the folder ``out`` as ``order`` says. ``before``:
    the folder of the result that a stretch is renewed in.
    """

    id: str
    name: str
    mixture: Path
    order: Order
    before: Path
    out: Path


class SeparationWorker:
    """Separates songs: called with one `Separation` after another, it loads the checkpoint at the first."""

    def __init__(self, checkpoint: str, device: str, threads: int | None) -> None:
        self._checkpoint, self._device, self._threads = checkpoint, device, threads
        self._separator: Separator | None = None

    def __call__(self, job: Separation) -> Iterator[Event]:
        """Separate the song. An error that the user can mend becomes `Failed`, and the earlier result stays."""
        yield Started(job.id, os.getpid())
        try:
            yield from as_they_come(lambda tell: self._separate(job, tell))
        except (LdmSepError, OSError) as error:
            yield Failed(job.id, named(str(error), job.name, job.mixture, job.before, job.out))

    def _separate(self, job: Separation, tell: Callable[[Event], None]) -> None:
        # What a killed process may have left.
        shutil.rmtree(job.out, ignore_errors=True)
        if self._separator is None:
            self._separator = Separator.load(self._checkpoint, device=self._device)
        settings, stretch = job.order.settings, job.order.stretch
        options = Options(preset=settings.preset, seed=settings.seed, threads=self._threads)
        notes: list[str] = []

        def progress(fraction: float, stage: Stage, left: float | None) -> None:
            tell(Advanced(job.id, fraction * (1 - _DRAWING)))

        if stretch is not None:
            options = replace(options, renewed=((stretch.start, stretch.end, stretch.seed),))
            renew_stems(self._separator, job.mixture, job.before, job.out, options, Progress(progress))
        else:
            self._separator.separate_file(
                job.mixture,
                job.out,
                options,
                longest=None,
                progress=progress,
                notice=lambda line: notes.append(named(line, job.name, job.mixture, job.out)),
            )
        peaks: dict[Lane, float] = {stem: write_overview(job.out / f"{stem}.wav", job.out, stem) for stem in STEMS}
        tell(Finished(job.id, peaks, tuple(notes)))
