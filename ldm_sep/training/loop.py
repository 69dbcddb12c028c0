"""The training loop that both trainings share.

All randomness comes from generators seeded by (seed, step, rank), and the learning rate is a function of the step,
so a run that is killed and resumed takes exactly the steps an uninterrupted one takes. accelerate provides devices and
distribution; saving is our own (`training.state`), because a state must be complete on disk before an
older one goes.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ldm_sep.config import OptimiserConfig
from ldm_sep.files import complete_leftovers, write_text
from ldm_sep.training.log import Board, Progress, TrainingLog
from ldm_sep.training.state import ExponentialMovingAverage, Reached, find_states, load_state, save_state, saving


def step_seed(seed: int, step: int, rank: int) -> int:
    """One 63-bit seed for (seed, step, rank), well mixed, so that neighbouring steps share nothing."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)


def in_precision(precision: Literal["fp32", "bf16"], device: torch.device) -> torch.autocast:
    """Within it, networks run in this precision. Batches, targets and losses belong outside: bf16 has 8 bits."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def learning_rate_scale(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine from 1 to 1/20 at ``steps``."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


@dataclass(frozen=True)
class Session:
    """One process's part in a training: the devices it has, and the folder ``run`` of states and logs.

    resume: go on from the last state in ``run``. max_minutes: stop after these, None for no limit. ``report`` gets the
    progress.
    """

    accelerator: Accelerator
    run: Path
    resume: bool
    max_minutes: float | None
    report: Callable[[Progress], None]


def fit(
    session: Session,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    draw: Callable[[int], Sequence[Tensor]],
    settings: OptimiserConfig,
    *,
    record: str,
    validate: Callable[[int, Board], Mapping[str, float]],
) -> tuple[Reached, Mapping[str, float]]:
    """Train ``objective`` until ``settings.steps`` or the session's end. Returns where it stands and, on the main
    process, the last validation's scores. The averaged weights are then in place.

    ``objective(*draw(step))`` returns a mapping of scalar losses. The one under ``loss`` is minimised. Mixed precision
    is the objective's own affair (`in_precision`). A step whose loss or gradient norm is not finite is skipped and
    counted. ``validate(step, board)`` runs on the main process with the averaged weights in place and returns numbers
    for ``validation.csv``. The state is saved at intervals and at the end.

    ``record``, the settings as JSON, is written to ``run/config.json`` only after the last state has been loaded:
    settings of a start that failed did not make the states that are there.
    """
    started = time.monotonic()
    base_rates = [group["lr"] for group in optimizer.param_groups]
    trainable = [p for p in objective.parameters() if p.requires_grad]
    ema = ExponentialMovingAverage(trainable, settings.ema_decay)
    accelerator, run = session.accelerator, session.run
    before, processes = Reached(), accelerator.num_processes
    states = find_states(run)
    if session.resume and states:
        before = load_state(states[-1], objective, ema, optimizer)
    step, skipped = before.step, before.skipped

    def reached() -> Reached:
        minutes = before.minutes + (time.monotonic() - started) / 60
        return Reached(step=step, skipped=skipped, minutes=minutes, processes=processes)

    ema.shadow = [s.to(accelerator.device) for s in ema.shadow]
    model, optimizer = accelerator.prepare(objective, optimizer)
    trainable = [p for p in accelerator.unwrap_model(model).parameters() if p.requires_grad]
    scores: Mapping[str, float] | None = None
    if accelerator.is_main_process:
        with saving(run, before.step):
            complete_leftovers(run)
            write_text(run / "config.json", record)
    # Loaded networks are in evaluation mode, in which recurrent layers have no backward pass on CUDA.
    objective.train()

    with (
        TrainingLog(run, settings, before.step, session.report, session.max_minutes)
        if accelerator.is_main_process
        else nullcontext()
    ) as log:
        while step < settings.steps:
            scale = learning_rate_scale(step, settings.steps, settings.warmup)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * scale
            losses = model(*draw(step))
            accelerator.backward(losses["loss"])
            # Each parameter group is clipped by its own norm, so that large gradients of one do not shrink the others.
            parts = [group["params"] for group in optimizer.param_groups]
            norm = torch.stack([accelerator.clip_grad_norm_(part, settings.gradient_clip) for part in parts]).norm()
            # Clipping by a non-finite norm would write NaN into every weight.
            finite = torch.isfinite(norm) & torch.isfinite(losses["loss"])
            late = session.max_minutes is not None and time.monotonic() - started > session.max_minutes * 60
            # All processes must skip, and stop, at the same step.
            flags = torch.stack([~finite.cpu(), torch.tensor(late)]).float().to(accelerator.device)
            unusable, late = (accelerator.reduce(flags, "sum") > 0).tolist()
            if not unusable:
                optimizer.step()
                ema.update(trainable, step + 1)
            skipped += unusable
            step += 1
            optimizer.zero_grad(set_to_none=True)

            last = step >= settings.steps or late
            if log is not None:
                told = {**losses, "gradient_norm": norm}
                log.step(step, told, base_rates[0] * scale, unusable=unusable, skipped=skipped, last=last)
            if step % settings.validate_every == 0 or last:
                accelerator.wait_for_everyone()
                if log is not None:
                    ema.swap(trainable)
                    objective.eval()
                    with torch.no_grad():
                        scores = validate(step, log.board)
                    objective.train()
                    ema.swap(trainable)
                    log.validated(step, scores, skipped)
            if log is not None and (step % settings.save_every == 0 or last):
                save_state(run, reached(), accelerator.unwrap_model(model), ema, optimizer)
            if log is not None:
                log.resume()
            if last:
                break
        accelerator.wait_for_everyone()
        # What is exported are the averaged weights.
        ema.swap(trainable)
        objective.eval()
        if log is not None and scores is None:
            # The states were at the last step already: nothing was trained, so it is validated here.
            with torch.no_grad():
                scores = validate(step, log.board)
    return reached(), scores or {}
