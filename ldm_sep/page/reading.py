"""Decoding of uploads, each in a process of its own, which is all that a hostile file can end."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ldm_sep.audio import AudioReader, AudioWriter
from ldm_sep.errors import AudioError, LdmSepError
from ldm_sep.files import shown
from ldm_sep.page.events import Advanced, Event, Failed, Finished, Started, named
from ldm_sep.page.overview import write_overview
from ldm_sep.page.records import Sound

_BLOCK = 65536


@dataclass(frozen=True)
class Reading:
    """Decode ``upload`` of the job ``id``, which its owner calls ``name``, into ``mixture``: at most ``seconds`` long,
    with at most ``memory`` bytes more than the process has to begin with. Its overview is written beside it.
    """

    id: str
    name: str
    upload: Path
    mixture: Path
    seconds: float
    memory: int


def read_upload(job: Reading) -> Iterator[Event]:
    """Decode it; AudioError and a full disk become `Failed`, what has been written is taken away."""
    yield Started(job.id, os.getpid())
    try:
        yield from _decode(job)
    except (LdmSepError, OSError) as error:
        yield Failed(job.id, named(str(error), job.name, job.upload, job.mixture))


def _decode(job: Reading) -> Iterator[Event]:
    _limit_memory(job.memory)
    notes: list[str] = []
    frames = 0
    with AudioReader(
        job.upload, stereo=True, notice=lambda line: notes.append(named(line, job.name, job.upload))
    ) as reader:
        rate, channels = reader.info.sample_rate, reader.info.channels
        longest = job.seconds * rate
        with AudioWriter(job.mixture, rate, channels) as writer:
            for block in reader.blocks(_BLOCK):
                frames += block.shape[1]
                if frames > longest:
                    limit = f"{job.seconds / 60:g} minutes"
                    raise AudioError(f"{shown(job.name)}: is longer than {limit}, the most that is taken here; cut it")
                writer.write(block)
                if reader.info.frames:
                    yield Advanced(job.id, min(1.0, frames / reader.info.frames))
    loudest = write_overview(job.mixture, job.mixture.parent, job.mixture.stem)
    sound = Sound(sample_rate=rate, channels=channels, frames=frames)
    yield Finished(job.id, {"mixture": loudest}, tuple(notes), sound)


def _limit_memory(more: int) -> None:
    """Let this process take at most ``more`` bytes of address space beyond what it has, where the system can."""
    try:
        import resource

        has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (has + more, has + more))
