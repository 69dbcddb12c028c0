"""The training loop that both trainings share, and the state a killed run resumes from.

All randomness comes from generators seeded by (seed, step, rank), and the learning rate is a function of the step,
so a run that is killed and resumed takes exactly the steps an uninterrupted one takes. accelerate provides devices,
precision and distribution; saving is our own, because a state must be complete on disk before an older one goes.
"""

import csv
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ldm_sep.config import OptimiserConfig
from ldm_sep.errors import CheckpointError

_KEEP_STATES = 2


@dataclass(frozen=True)
class LoopSettings:
    """What the loop itself needs; see `ldm_sep.config.OptimiserConfig` for the meaning of each."""

    steps: int
    warmup: int
    gradient_clip: float
    ema_decay: float
    log_every: int
    validate_every: int
    save_every: int
    max_minutes: float | None = None


def loop_settings(config: OptimiserConfig, max_minutes: float | None) -> LoopSettings:
    """The loop's part of a training table."""
    names = LoopSettings.__dataclass_fields__.keys() - {"max_minutes"}
    return LoopSettings(**config.model_dump(include=names), max_minutes=max_minutes)


def step_seed(seed: int, step: int, rank: int) -> int:
    """One 63-bit seed for (seed, step, rank), well mixed, so that neighbouring steps share nothing."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)


@dataclass
class Progress:
    """Told to the caller at every log: step, steps a second, losses and the count of skipped steps."""

    step: int
    steps: int
    rate: float
    losses: dict[str, float] = field(default_factory=dict)
    skipped: int = 0


def learning_rate_scale(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine from 1 to 1/20 at ``steps``."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class ExponentialMovingAverage:
    """theta_ema = d theta_ema + (1 - d) theta over trainable weights, d rising to ``decay`` like (1 + n) / (10 + n)."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.shadow = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, parameters: Sequence[nn.Parameter], step: int) -> None:
        """Take in the weights after optimiser step ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in parameters], 1 - decay)

    @torch.no_grad()
    def swap(self, parameters: Sequence[nn.Parameter]) -> None:
        """Exchange the averaged and the live weights; a second call puts them back."""
        for shadow, parameter in zip(self.shadow, parameters, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(shadow)
            shadow.copy_(held)


class CsvLog:
    """A CSV file with a fixed header; rows after ``step``, which a resumed run takes again, are dropped."""

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        self.path, self.columns = path, ["step", *columns]
        kept: list[dict[str, str]] = []
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                kept = [row for row in csv.DictReader(file) if row.get("step") and int(row["step"]) <= step]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(kept)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", restval="")
            writer.writerow({"step": step, **{k: f"{v:.6g}" for k, v in values.items()}})


@dataclass(frozen=True)
class Reached:
    """Where a training stands: optimiser steps, those of them that were skipped, minutes of all its processes."""

    step: int = 0
    skipped: int = 0
    minutes: float = 0.0


def save_state(
    run: Path,
    reached: Reached,
    module: nn.Module,
    ema: ExponentialMovingAverage,
    optimizer: torch.optim.Optimizer,
) -> Path:
    """Write ``run/state-<step>`` whole or not at all, then drop all but the newest two.

    CheckpointError, with the older states untouched, if a weight is not finite.
    """
    weights = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"{run}: the weight {name} is not finite at step {reached.step}; nothing was saved, "
                "resume from the last state with a smaller learning rate"
            )
    final = run / f"state-{reached.step:08d}"
    temporary = run / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(weights, temporary / "model.safetensors")
    averaged = {str(i): v.cpu().contiguous() for i, v in enumerate(ema.shadow)}
    save_file(averaged, temporary / "ema.safetensors")
    torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
    (temporary / "progress.json").write_text(json.dumps(asdict(reached)), encoding="utf-8")
    for file in temporary.iterdir():
        _fsync(file)
    _fsync(temporary)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _fsync(run)
    for old in find_states(run)[:-_KEEP_STATES]:
        shutil.rmtree(old)
    return final


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def find_states(run: Path) -> list[Path]:
    """The complete states below ``run``, oldest first."""
    return sorted(p for p in run.glob("state-*") if (p / "progress.json").is_file())


def load_state(
    state: Path, module: nn.Module, ema: ExponentialMovingAverage, optimizer: torch.optim.Optimizer
) -> Reached:
    """Load what `save_state` wrote. CheckpointError if it is damaged, or of networks or weights other than these."""
    try:
        reached = Reached(**json.loads((state / "progress.json").read_text(encoding="utf-8")))
        weights, averaged = (load_file(state / f"{name}.safetensors") for name in ("model", "ema"))
        moments = torch.load(state / "optimizer.pt", weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, TypeError, ValueError, UnpicklingError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{state}: damaged ({reason}); delete it to fall back to the state before it") from None
    try:
        module.load_state_dict(weights)
        optimizer.load_state_dict(moments)
        for i, shadow in enumerate(ema.shadow):
            shadow.copy_(averaged[str(i)])
    except (RuntimeError, KeyError, ValueError):
        raise CheckpointError(
            f"{state}: of another training, with other networks or trained weights than these settings have; "
            "undo what changed, or name another --run"
        ) from None
    return reached


def fit(
    accelerator: Accelerator,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    draw: Callable[[int], Sequence[Tensor]],
    settings: LoopSettings,
    run: Path,
    *,
    resume: bool,
    validate: Callable[[int], Mapping[str, float]],
    report: Callable[[Progress], None],
) -> Reached:
    """Train ``objective`` until ``settings.steps`` or ``max_minutes``.

    ``objective(*draw(step))`` returns a mapping of scalar losses with the key ``loss``, which is minimised. A step
    whose loss or gradient norm is not finite is skipped and counted. ``validate(step)`` runs on the main process
    with the averaged weights in place and returns numbers for ``validation.csv``; ``report`` gets the progress. The
    state is saved at intervals and at the end.
    """
    started = time.monotonic()
    base_rates = [group["lr"] for group in optimizer.param_groups]
    trainable = [p for p in objective.parameters() if p.requires_grad]
    ema = ExponentialMovingAverage(trainable, settings.ema_decay)
    before = Reached()
    states = find_states(run)
    if resume and states:
        before = load_state(states[-1], objective, ema, optimizer)
    step, skipped = before.step, before.skipped

    def reached() -> Reached:
        return Reached(step, skipped, before.minutes + (time.monotonic() - started) / 60)

    ema.shadow = [s.to(accelerator.device) for s in ema.shadow]
    model, optimizer = accelerator.prepare(objective, optimizer)
    trainable = [p for p in accelerator.unwrap_model(model).parameters() if p.requires_grad]
    main = accelerator.is_main_process
    train_log = validation_log = None
    board = _open_board(run) if main else None
    window_started, window_steps = time.monotonic(), 0
    totals: dict[str, Tensor] = {}

    while step < settings.steps:
        scale = learning_rate_scale(step, settings.steps, settings.warmup)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * scale
        with accelerator.autocast():
            losses = model(*draw(step))
        accelerator.backward(losses["loss"])
        # Each group by its own norm: a critic's gradients do not shrink those of the codec it judges.
        parts = [group["params"] for group in optimizer.param_groups]
        norm = torch.stack([accelerator.clip_grad_norm_(part, settings.gradient_clip) for part in parts]).norm()
        # Clipping by a non-finite norm would write NaN into every weight.
        finite = torch.isfinite(norm) & torch.isfinite(losses["loss"])
        late = settings.max_minutes is not None and time.monotonic() - started > settings.max_minutes * 60
        # All processes must skip, and stop, at the same step.
        flags = torch.stack([~finite.cpu(), torch.tensor(late)]).float().to(accelerator.device)
        unusable, late = (accelerator.reduce(flags, "sum") > 0).tolist()
        if not unusable:
            optimizer.step()
            ema.update(trainable, step + 1)
        else:
            skipped += 1
        step += 1
        optimizer.zero_grad(set_to_none=True)
        for key, value in {**losses, "gradient_norm": norm}.items():
            totals[key] = totals.get(key, 0) + torch.nan_to_num(value.detach().float())
        window_steps += 1

        last = step >= settings.steps or late
        if main and (step % settings.log_every == 0 or last):
            means = {k: float(v) / window_steps for k, v in totals.items()}
            rate = window_steps / (time.monotonic() - window_started)
            row = {**means, "learning_rate": base_rates[0] * scale, "steps_per_second": rate}
            if train_log is None:
                train_log = CsvLog(run / "train.csv", [*row, "skipped"], before.step)
            train_log.write(step, {**row, "skipped": skipped})
            _to_board(board, "train", row, step)
            report(Progress(step, settings.steps, rate, means, skipped))
            totals, window_steps = {}, 0
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
    if board is not None:
        board.close()
    return reached()


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
