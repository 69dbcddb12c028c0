"""How far apart vocals of different seeds lie, second by second: only where sampling had a choice are they apart."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

import numpy as np

from ldm_sep.audio import AudioReader, probe
from ldm_sep.files import replacing, write_text
from ldm_sep.separation.progress import Progress
from ldm_sep.separation.renewal import in_step
from ldm_sep.separation.separator import Separator
from ldm_sep.separation.sidecar import Settings
from ldm_sep.separation.song import blocks_of, part_of
from ldm_sep.signal.loudness import power_db


@dataclass(frozen=True)
class Second:
    """A second of a song: ``level_db``, the mean square of the mean of all candidates in dB under full scale, and
    ``spread_db``, that of their deviation from this mean (with k - 1 for k candidates).
    """

    start: float
    level_db: float
    spread_db: float


def spread(separator: Separator, path: Path, settings: Settings, count: int, progress: Progress) -> list[Second]:
    """The ``count`` (2 or more) candidates of the vocals from the seed of ``settings`` on, compared by the second."""
    rate = probe(path).sample_rate
    first, wanted = part_of(settings, rate)
    with ExitStack() as stack:
        reader = stack.enter_context(AudioReader(path, start=first, stereo=True, notice=lambda line: None))
        channels = reader.info.channels
        left = None if reader.info.frames is None else max(0, reader.info.frames - first)
        # 0 where neither the header nor the settings tell.
        frames = min((frames for frames in (wanted, left) if frames is not None), default=0)
        copies = tee(blocks_of(reader, wanted), count)
        plans = [settings.plan.model_copy(update={"seed": settings.plan.seed + number}) for number in range(count)]
        songs = [
            stack.enter_context(closing(separator.stream_by(plan, copy, rate, channels)))
            for plan, copy in zip(plans, copies, strict=True)
        ]
        streams = [(part.vocals for part in song) for song in songs]
        rows: list[Second] = []
        for block in _seconds(in_step(streams), rate):
            mean = block.mean(0)
            power = float(np.square(block - mean).sum() / (count - 1) / mean.size)
            start = settings.start + len(rows)
            rows.append(Second(start, power_db(float(np.square(mean).mean())), power_db(power)))
            progress.tell(min(0.99, len(rows) * rate / frames) if frames else 0.0)
    progress.tell(1.0)
    return rows


def _seconds(blocks: Iterator[list[np.ndarray]], rate: int) -> Iterator[np.ndarray]:
    """Whole seconds ``(K, C, rate)``, and what is left, of ``blocks`` of K streams."""
    pending: list[np.ndarray] = []
    length = 0
    for block in blocks:
        pending.append(np.stack(block).astype(np.float64))
        length += pending[-1].shape[2]
        if length >= rate:
            whole = np.concatenate(pending, 2)
            while whole.shape[2] >= rate:
                yield whole[..., :rate]
                whole = whole[..., rate:]
            pending, length = [whole], whole.shape[2]
    if length:
        yield np.concatenate(pending, 2)


def write_table(rows: Sequence[Second], path: Path) -> None:
    """``second,level_db,spread_db``, a line a second."""
    lines = ["second,level_db,spread_db", *(f"{r.start:g},{r.level_db:.2f},{r.spread_db:.2f}" for r in rows)]
    write_text(path, "\n".join(lines) + "\n")


def write_plot(rows: Sequence[Second], path: Path) -> None:
    """Level and spread over time, as PNG."""
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(9, 3), layout="constrained")
    axes = sheet.subplots()
    times = [row.start for row in rows]
    axes.step(times, [row.level_db for row in rows], where="post", label="vocals, mean of the candidates")
    axes.step(times, [row.spread_db for row in rows], where="post", label="how far they lie apart")
    axes.set(xlabel="s", ylabel="dB under full scale")
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        sheet.savefig(temporary, format="png", dpi=110)
