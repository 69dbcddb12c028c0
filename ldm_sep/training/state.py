"""The state of a training on disk: a killed run resumes from it as if nothing had happened."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ldm_sep.checkpoint.weights import LARGEST
from ldm_sep.config import Config
from ldm_sep.errors import CheckpointError, reason
from ldm_sep.files import replacing, require_regular, shown
from ldm_sep.records import Record, checked, read_json, read_pickled

_KEEP_STATES = 2
_REMEDY = "delete the state's folder to fall back to the one before it"


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


class Reached(Record):
    """Where a training stands: optimiser steps, how many of them were skipped, minutes summed over the runs that
    resumed one another, and how many ``processes`` the last of these had.
    """

    step: Annotated[int, Field(ge=0, le=10**12)] = 0
    skipped: Annotated[int, Field(ge=0, le=10**12)] = 0
    minutes: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    processes: Annotated[int, Field(ge=1, le=10**6)] = 1


def save_state(
    run: Path, reached: Reached, module: nn.Module, ema: ExponentialMovingAverage, optimizer: torch.optim.Optimizer
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
        (folder / "progress.json").write_text(reached.model_dump_json(), encoding="utf-8")
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
        raise CheckpointError(
            f"{run}: step {step} could not be saved ({reason(error)}); see that there is room, and go on with --resume"
        ) from error


def find_states(run: Path) -> list[Path]:
    """The complete states below ``run``, oldest first."""
    found = (p for p in run.glob("state-*") if (p / "progress.json").is_file())
    # Numbers are padded to eight digits; from 100,000,000 steps on they are longer.
    return sorted(found, key=lambda p: (len(p.name), p.name))


def resumed(run: Path, config: Config, batch_size: int, processes: int) -> str:
    """What is to be said of going on from the states in ``run`` with ``config`` and ``processes``, as a line: that they
    are resumed, and what is otherwise than before. Changes are allowed, but should not happen by oversight.
    """
    now = _flat(json.loads(config.model_dump_json()))
    try:
        before = _flat(read_json(run / "config.json", CheckpointError, ""))
        changed = [f"{k} {before.get(k)} -> {now.get(k)}" for k in {**before, **now} if before.get(k) != now.get(k)]
    except (CheckpointError, AttributeError):
        return shown(f"{run}: resumed; what it began with is not known")
    line = f"{run}: resumed" + (f", changed: {', '.join(changed)}" if changed else "")
    had = read_progress(find_states(run)[-1]).processes
    if had != processes:
        line += (
            f"; {processes} processes instead of {had}: a step now takes {batch_size * processes} items, not "
            f"{batch_size * had}, and draws other ones, so from here on it is another run"
        )
    return shown(line)


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in table.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def read_progress(state: Path) -> Reached:
    """``progress.json`` of a state. CheckpointError if it cannot be used."""
    path = state / "progress.json"
    try:
        return checked(Reached, read_json(path, CheckpointError, _REMEDY), str(path), CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(str(error) if _REMEDY in str(error) else f"{error}; {_REMEDY}") from None


def load_state(
    state: Path, module: nn.Module, ema: ExponentialMovingAverage, optimizer: torch.optim.Optimizer
) -> Reached:
    """Load what `save_state` wrote; of the optimiser its moments alone, rates and decay are those it has.

    CheckpointError if the state is damaged, or of networks or weights other than these.
    """
    reached = read_progress(state)
    weights, averaged = (_tensors(state / f"{name}.safetensors") for name in ("model", "ema"))
    moments = _moments(state / "optimizer.pt")
    shadow = {str(i): value for i, value in enumerate(ema.shadow)}
    own = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    fits = (
        _shapes(weights) == _shapes(module.state_dict())
        and _shapes(averaged) == _shapes(shadow)
        and all(i < len(parameters) for i in moments)
        and all(m.shape in ((), parameters[i].shape) for i, kinds in moments.items() for m in kinds.values())
    )
    if not fits:
        raise CheckpointError(
            f"{state}: of another training, with other networks or trained weights than these settings have; "
            "undo what changed, or name another --run"
        )
    module.load_state_dict(weights)
    for name, value in shadow.items():
        value.copy_(averaged[name])
    optimizer.load_state_dict({"state": moments, "param_groups": own["param_groups"]})
    return reached


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        require_regular(path, LARGEST)
        found = load_file(path)
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise _damaged(path, error) from None
    for name, value in found.items():
        if not torch.isfinite(value).all():
            raise _damaged(path, ValueError(f"the weight {name} is not finite"))
    return found


def _moments(path: Path) -> dict[int, dict[str, Tensor]]:
    """The tensors by parameter that AdamW keeps. Pickled code is never run."""
    try:
        found = read_pickled(path, LARGEST)["state"]
        for number, kinds in found.items():
            if not isinstance(number, int) or number < 0 or set(kinds) != {"step", "exp_avg", "exp_avg_sq"}:
                raise ValueError(f"{number} is no parameter of AdamW")
            if not all(torch.isfinite(value).all() for value in kinds.values()):
                raise ValueError(f"the moments of parameter {number} are not finite")
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _damaged(path, error) from None
    return found


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: damaged ({reason(error)}); {_REMEDY}")
