"""The state of a training on disk: a killed run resumes from it as if nothing had happened."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ldm_sep.config import Config
from ldm_sep.errors import CheckpointError
from ldm_sep.files import replacing

_KEEP_STATES = 2


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

    CheckpointError, with the older states untouched, if a weight is not finite or the disk is full.
    """
    weights = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"{run}: the weight {name} is not finite at step {reached.step}; nothing was saved, "
                "resume from the last state with a smaller learning rate"
            )
    final = run / f"state-{reached.step:08d}"
    averaged = {str(i): v.cpu().contiguous() for i, v in enumerate(ema.shadow)}
    with saving(run, reached.step), replacing(final) as folder:
        folder.mkdir()
        save_file(weights, folder / "model.safetensors")
        save_file(averaged, folder / "ema.safetensors")
        torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        (folder / "progress.json").write_text(json.dumps(asdict(reached)), encoding="utf-8")
    for old in find_states(run)[:-_KEEP_STATES]:
        shutil.rmtree(old)
    return final


@contextmanager
def saving(run: Path, step: int) -> Iterator[None]:
    """Within it, what the disk or the packages that write to ``run`` complain of is one CheckpointError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch and safetensors have their own errors for a full disk.
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{run}: step {step} could not be saved ({reason}); see that there is room, and go on with --resume"
        ) from error


def find_states(run: Path) -> list[Path]:
    """The complete states below ``run``, oldest first."""
    return sorted(p for p in run.glob("state-*") if (p / "progress.json").is_file())


def changed_settings(run: Path, config: Config) -> str:
    """Which settings of ``config`` differ from those of the states in ``run``, as a line: "resumed", and the changes.

    Changes are allowed, but should not happen by oversight.
    """
    try:
        before = _flat(json.loads((run / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return "resumed; what it began with is not known"
    now = _flat(json.loads(config.model_dump_json()))
    changed = [f"{k} {before.get(k)} -> {now.get(k)}" for k in {**before, **now} if before.get(k) != now.get(k)]
    return "resumed" + (f", changed: {', '.join(changed)}" if changed else "")


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in table.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


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
