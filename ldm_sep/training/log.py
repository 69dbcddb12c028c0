"""What a training says of itself: lines as time goes by, ``train.csv`` and ``validation.csv``, TensorBoard."""

import csv
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ldm_sep.config import OptimiserConfig
from ldm_sep.errors import CheckpointError, reason
from ldm_sep.files import read_regular, replacing
from ldm_sep.metrics import spectrogram

# Limit in bytes of a log that a resumed training goes on with.
_LARGEST_LOG = 256 << 20
_PICTURE_SECONDS, _PICTURE_DB = 0.046, 80.0


@dataclass(frozen=True)
class Progress:
    """What a line of a training says.

    ``losses``: means since the last line, or the scores of a validation. ``rate``: steps per second, None for a
    validation. ``skipped``: steps so far whose loss or gradient was not finite.
    """

    step: int
    steps: int
    losses: Mapping[str, float]
    rate: float | None
    minutes_left: float
    skipped: int


class _Means:
    """Means of losses over the steps that were taken, and how fast steps are, since the last `clear`."""

    def __init__(self, now: float) -> None:
        self.clear(now)

    def clear(self, now: float) -> None:
        self.totals: dict[str, Tensor] = {}
        self.taken = self.steps = 0
        self.began = now

    def add(self, losses: Mapping[str, Tensor], unusable: bool) -> None:
        self.steps += 1
        self.taken += not unusable
        for key, value in losses.items():
            # A skipped step adds the names of its losses only.
            value = value.detach().float()
            self.totals[key] = self.totals.get(key, torch.zeros_like(value)) + (0 if unusable else value)

    def values(self) -> dict[str, float]:
        return {key: float(total) / self.taken if self.taken else math.nan for key, total in self.totals.items()}


class TrainingLog:
    """Logs the steps after ``first`` to ``run``. Lines go to ``report``: at the first step, then every
    ``settings.log_seconds``, at the last step and at validations. Used in a ``with``, at whose end, however it comes,
    all that was logged is in the files.
    """

    def __init__(
        self,
        run: Path,
        settings: OptimiserConfig,
        first: int,
        report: Callable[[Progress], None],
        max_minutes: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run, self.settings, self.first, self.report = run, settings, first, report
        self.max_minutes, self.clock = max_minutes, clock
        self.board = Board(run, first)
        self._logs: dict[str, CsvLog] = {}
        self._began = self._told = self._ended = clock()
        self._rows, self._lines = _Means(self._began), _Means(self._began)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.board.close()

    def step(
        self, step: int, losses: Mapping[str, Tensor], rate: float, *, unusable: bool, skipped: int, last: bool
    ) -> None:
        """Take in ``step``, which is counted from one: its losses, its learning rate, whether it was skipped."""
        for means in (self._rows, self._lines):
            means.add(losses, unusable)
        now = self.clock()
        if step % self.settings.log_every == 0 or last:
            speed = self._rows.steps / max(now - self._rows.began, 1e-9)
            row = {**self._rows.values(), "learning_rate": rate, "steps_per_second": speed, "skipped": skipped}
            self._write("train", step, row)
            self._rows.clear(now)
        if step == self.first + 1 or now - self._told >= self.settings.log_seconds or last:
            speed = self._lines.steps / max(now - self._lines.began, 1e-9)
            self._tell(step, self._lines.values(), skipped, speed)
            self._lines.clear(now)
        self._ended = now

    def validated(self, step: int, scores: Mapping[str, float], skipped: int) -> None:
        """Take in the scores after ``step``."""
        self._write("validation", step, scores)
        self._tell(step, scores, skipped)

    def resume(self) -> None:
        """Steps go on. The time since the last one, of a validation or a save, does not count into their rate."""
        pause = self.clock() - self._ended
        for means in (self._rows, self._lines):
            means.began += pause

    def _tell(self, step: int, values: Mapping[str, float], skipped: int, speed: float | None = None) -> None:
        self._told = self.clock()
        minutes = (self._told - self._began) / 60
        # Validations and saves are included, since there will be more of them.
        left = minutes / max(1, step - self.first) * (self.settings.steps - step)
        if self.max_minutes is not None:
            left = min(left, max(0.0, self.max_minutes - minutes))
        self.report(Progress(step, self.settings.steps, dict(values), speed, left, skipped))

    def _write(self, name: str, step: int, values: Mapping[str, float]) -> None:
        log = self._logs.get(name)
        if log is None or not values.keys() <= set(log.columns):
            # A score that was undefined before gets its column now.
            kept = self.first if log is None else step - 1
            log = self._logs[name] = CsvLog(self.run / f"{name}.csv", list(values), kept)
        log.write(step, values)
        self.board.scalars(name, values, step)


class CsvLog:
    """A CSV file that keeps the columns it has. Rows after ``step``, which a resumed run takes again, are dropped.

    CheckpointError if what is there is no such file.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        self.path, self.columns = path, ["step", *columns]
        kept: list[dict[str, str]] = []
        try:
            if path.exists():
                text = read_regular(path, _LARGEST_LOG).decode("utf-8")
                rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
                kept = [row for row in rows if row.get("step") and int(row["step"]) <= step]
                # Also those that this run has no value for.
                self.columns += [column for column in rows.fieldnames or () if column not in self.columns]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise CheckpointError(f"{path}: not a training's log ({reason(error)}); move it away") from None
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(kept)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", restval="")
            writer.writerow({"step": step, **{k: f"{v:.6g}" for k, v in values.items()}})


class Board:
    """TensorBoard's files in ``run/tensorboard``; what an earlier process logged after ``step`` is dropped. Without the
    package tensorboard nothing is written.
    """

    def __init__(self, run: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._writer = None
        else:
            self._writer = SummaryWriter(run / "tensorboard", purge_step=step + 1)

    def scalars(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        """Curves ``prefix/key``."""
        if self._writer is not None:
            for key, value in values.items():
                self._writer.add_scalar(f"{prefix}/{key}", value, step)

    def sound(self, name: str, wave: np.ndarray, sample_rate: int, step: int) -> None:
        """``wave (C, T)`` to listen to, as mono, and its spectrogram: time to the right, frequency up, 80 dB."""
        if self._writer is not None:
            mono = wave.mean(0)
            self._writer.add_audio(name, np.clip(mono, -1, 1)[None], step, sample_rate)
            window = min(round(_PICTURE_SECONDS * sample_rate), len(mono))
            level = 20 * np.log10(spectrogram(mono, window, max(1, sample_rate // 100)).T[::-1] + 1e-7)
            grey = np.clip(1 + (level - level.max()) / _PICTURE_DB, 0, 1)
            self._writer.add_image(name, (255 * grey).astype(np.uint8), step, dataformats="HW")

    def close(self) -> None:
        """Write out what is left."""
        if self._writer is not None:
            self._writer.close()
