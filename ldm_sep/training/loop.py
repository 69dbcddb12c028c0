"""The training loop that both trainings share.

All randomness comes from generators seeded by (seed, step, rank), and the learning rate is a function of the step,
so a run that is killed and resumed takes exactly the steps an uninterrupted one takes. accelerate provides devices and
distribution; saving is our own (`training.state`), because a state must be complete on disk before an
older one goes.
"""

import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ldm_sep.config import OptimiserConfig
from ldm_sep.files import complete_leftovers, replacing
from ldm_sep.training.state import ExponentialMovingAverage, Reached, find_states, load_state, save_state, saving


def step_seed(seed: int, step: int, rank: int) -> int:
    """One 63-bit seed for (seed, step, rank), well mixed, so that neighbouring steps share nothing."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)


def in_precision(precision: Literal["fp32", "bf16"], device: torch.device) -> torch.autocast:
    """Within it, networks run in this precision. Batches, targets and losses belong outside: bf16 has 8 bits."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@dataclass
class Progress:
    """Told to the caller at every log: step, steps a second, losses and the count of skipped steps."""

    step: int
    steps: int
    rate: float
    losses: dict[str, float] = field(default_factory=dict)
    skipped: int = 0

    @property
    def minutes_left(self) -> float | None:
        """Until the last step at this rate; None where the rate is not known."""
        return (self.steps - self.step) / self.rate / 60 if self.rate else None


def learning_rate_scale(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine from 1 to 1/20 at ``steps``."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class CsvLog:
    """A CSV file with a fixed header; rows after ``step``, which a resumed run takes again, are dropped."""

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        self.path, self.columns = path, ["step", *columns]
        kept: list[dict[str, str]] = []
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                kept = [row for row in csv.DictReader(file) if row.get("step") and int(row["step"]) <= step]
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(kept)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", restval="")
            writer.writerow({"step": step, **{k: f"{v:.6g}" for k, v in values.items()}})


def fit(
    accelerator: Accelerator,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    draw: Callable[[int], Sequence[Tensor]],
    settings: OptimiserConfig,
    run: Path,
    *,
    resume: bool,
    max_minutes: float | None,
    record: str,
    validate: Callable[[int], Mapping[str, float]],
    report: Callable[[Progress], None],
) -> tuple[Reached, Mapping[str, float]]:
    """Train ``objective`` until ``settings.steps`` or ``max_minutes``. Returns where it stands and, on the main
    process, the last validation; the averaged weights are in place then.

    ``objective(*draw(step))`` returns a mapping of scalar losses with the key ``loss``, which is minimised; mixed
    precision is the objective's own affair (`in_precision`). A step
    whose loss or gradient norm is not finite is skipped and counted. ``validate(step)`` runs on the main process
    with the averaged weights in place and returns numbers for ``validation.csv``; ``report`` gets the progress. The
    state is saved at intervals and at the end. ``record``, the settings as JSON, becomes ``run/config.json`` once the
    last state is loaded: what a start that failed was asked for is not what the states there were made with.
    """
    started = time.monotonic()
    base_rates, decays = ([group[key] for group in optimizer.param_groups] for key in ("lr", "weight_decay"))
    trainable = [p for p in objective.parameters() if p.requires_grad]
    ema = ExponentialMovingAverage(trainable, settings.ema_decay)
    before = Reached()
    states = find_states(run)
    if resume and states:
        before = load_state(states[-1], objective, ema, optimizer)
        # The state has the rates and the decay it was made with; this run's settings hold from here on.
        for group, decay in zip(optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
    step, skipped = before.step, before.skipped

    def reached() -> Reached:
        return Reached(step, skipped, before.minutes + (time.monotonic() - started) / 60)

    ema.shadow = [s.to(accelerator.device) for s in ema.shadow]
    model, optimizer = accelerator.prepare(objective, optimizer)
    trainable = [p for p in accelerator.unwrap_model(model).parameters() if p.requires_grad]
    main = accelerator.is_main_process
    if main:
        with saving(run, before.step):
            complete_leftovers(run)
            with replacing(run / "config.json") as temporary:
                temporary.write_text(record, encoding="utf-8")
    train_log = validation_log = None
    scores: Mapping[str, float] | None = None
    board = _open_board(run) if main else None
    window_started, window_steps, counted = time.monotonic(), 0, 0
    totals: dict[str, Tensor] = {}
    # Recurrent layers have no backward pass on CUDA while they are set to evaluate, as loaded networks are.
    objective.train()

    while step < settings.steps:
        scale = learning_rate_scale(step, settings.steps, settings.warmup)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * scale
        losses = model(*draw(step))
        accelerator.backward(losses["loss"])
        # Each group by its own norm: large gradients of one do not shrink those of the other.
        parts = [group["params"] for group in optimizer.param_groups]
        norm = torch.stack([accelerator.clip_grad_norm_(part, settings.gradient_clip) for part in parts]).norm()
        # Clipping by a non-finite norm would write NaN into every weight.
        finite = torch.isfinite(norm) & torch.isfinite(losses["loss"])
        late = max_minutes is not None and time.monotonic() - started > max_minutes * 60
        # All processes must skip, and stop, at the same step.
        flags = torch.stack([~finite.cpu(), torch.tensor(late)]).float().to(accelerator.device)
        unusable, late = (accelerator.reduce(flags, "sum") > 0).tolist()
        if not unusable:
            optimizer.step()
            ema.update(trainable, step + 1)
            # Means are over the steps that were taken.
            for key, value in {**losses, "gradient_norm": norm}.items():
                totals[key] = totals.get(key, 0) + value.detach().float()
            counted += 1
        else:
            skipped += 1
        step += 1
        optimizer.zero_grad(set_to_none=True)
        window_steps += 1

        last = step >= settings.steps or late
        if main and (step % settings.log_every == 0 or last):
            means = {k: float(totals[k]) / counted if counted else math.nan for k in (*losses, "gradient_norm")}
            rate = window_steps / (time.monotonic() - window_started)
            row = {**means, "learning_rate": base_rates[0] * scale, "steps_per_second": rate}
            if train_log is None:
                train_log = CsvLog(run / "train.csv", [*row, "skipped"], before.step)
            train_log.write(step, {**row, "skipped": skipped})
            _to_board(board, "train", row, step)
            report(Progress(step, settings.steps, rate, means, skipped))
            totals, window_steps, counted = {}, 0, 0
        elif main and step == before.step + 1:
            # A first sign of life, long before the first means.
            rate = 1 / (time.monotonic() - window_started)
            report(Progress(step, settings.steps, rate, {"loss": losses["loss"].item()}, skipped))
        if step % settings.validate_every == 0 or last:
            accelerator.wait_for_everyone()
            if main:
                ema.swap(trainable)
                objective.eval()
                with torch.no_grad():
                    scores = validate(step)
                objective.train()
                ema.swap(trainable)
                if validation_log is None:
                    validation_log = CsvLog(run / "validation.csv", list(scores), before.step)
                validation_log.write(step, scores)
                _to_board(board, "validation", scores, step)
                report(Progress(step, settings.steps, 0.0, dict(scores), skipped))
        if main and (step % settings.save_every == 0 or last):
            save_state(run, reached(), accelerator.unwrap_model(model), ema, optimizer)
        if main and window_steps == 0:
            window_started = time.monotonic()
        if last:
            break
    accelerator.wait_for_everyone()
    # What follows (exporting) wants the averaged weights.
    ema.swap(trainable)
    objective.eval()
    if main and scores is None:
        # The states were at the last step already.
        with torch.no_grad():
            scores = validate(step)
    if board is not None:
        board.close()
    return reached(), scores or {}


def _open_board(run: Path):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(run / "tensorboard")


def _to_board(board, prefix: str, values: Mapping[str, float], step: int) -> None:
    if board is not None:
        for key, value in values.items():
            board.add_scalar(f"{prefix}/{key}", value, step)
