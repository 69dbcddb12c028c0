"""The training loop and its state on disk, on a network of one weight."""

import csv
import itertools
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ldm_sep.config import OptimiserConfig
from ldm_sep.errors import CheckpointError
from ldm_sep.training.log import Progress
from ldm_sep.training.loop import Session, fit, learning_rate_scale
from ldm_sep.training.state import ExponentialMovingAverage, Reached, find_states, load_state, save_state


def test_what_a_killed_run_left_unfinished_is_gone_when_it_goes_on(tmp_path: Path) -> None:
    module = _Flaky()
    (tmp_path / ".ldm-sep-0011223344556677").mkdir()
    (tmp_path / ".ldm-sep-0011223344556677/model.safetensors").write_bytes(b"half a state")
    (tmp_path / ".ldm-sep-8899aabbccddeeff.csv").write_text("half a log")
    go_on(tmp_path, module, torch.optim.AdamW(module.parameters(), 0.1), 1)
    names = {path.name for path in tmp_path.iterdir()} - {"tensorboard"}
    assert names == {"config.json", "train.csv", "validation.csv", "state-00000001"}


def test_minutes_add_up_over_the_processes_of_a_run(tmp_path: Path) -> None:
    module = _Flaky()
    optimizer = torch.optim.AdamW(module.parameters(), 0.1)
    ema = ExponentialMovingAverage(list(module.parameters()), 0.5)
    state = save_state(tmp_path, Reached(step=3, skipped=1, minutes=7.5), module, ema, optimizer)
    assert load_state(state, module, ema, optimizer) == Reached(step=3, skipped=1, minutes=7.5)
    reached = go_on(tmp_path, module, optimizer, 5)
    assert reached.step == 5 and 7.5 < reached.minutes < 8


def session(run: Path, resume: bool, report: Callable[[Progress], None] = lambda _: None) -> Session:
    from accelerate import Accelerator

    return Session(Accelerator(cpu=True), run, resume, None, report)


def go_on(run: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> Reached:
    def validate(*_: object) -> dict[str, float]:
        return {"weight": 0.0}

    def draw(step: int) -> tuple[torch.Tensor]:
        return (torch.tensor(step),)

    settings = loop(steps, 0.5)
    return fit(session(run, True), module, optimizer, draw, settings, record="{}", validate=validate)[0]


def loop(steps: int, ema_decay: float) -> OptimiserConfig:
    """A log at every step; state and validation at the end only."""
    return OptimiserConfig(
        steps=steps,
        batch_size=1,
        seconds=1,
        learning_rate=0.1,
        warmup=0,
        ema_decay=ema_decay,
        log_every=1,
        validate_every=steps,
        save_every=steps,
    )


class _Flaky(torch.nn.Module):
    """A quadratic whose third loss is not a number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([2.0]))
        self.set_to_train: list[bool] = []
        # As networks are when they come from a checkpoint.
        self.eval()

    def forward(self, step: torch.Tensor) -> dict[str, torch.Tensor]:
        self.set_to_train.append(self.training)
        loss = self.weight.square().sum()
        return {"loss": loss * torch.nan if int(step) == 2 else loss}


def test_steps_that_are_not_finite_are_skipped_and_counted(tmp_path: Path) -> None:
    module = _Flaky()
    reports = []
    reached, _ = fit(
        session(tmp_path, resume=False, report=reports.append),
        module,
        torch.optim.AdamW(module.parameters(), 0.1),
        lambda step: (torch.tensor(step),),
        loop(6, 0.5),
        record="{}",
        validate=lambda *_: {"weight": float(module.weight)},
    )
    assert (reached.step, reached.skipped) == (6, 1) and reports[-1].skipped == 1
    weights = [float(r["weight"]) for r in csv.DictReader((tmp_path / "validation.csv").read_text().splitlines())]
    assert 0 < weights[-1] < 2
    losses = {r["step"]: float(r["loss"]) for r in csv.DictReader((tmp_path / "train.csv").read_text().splitlines())}
    # A skipped step has no loss. All other losses are unharmed.
    assert [step for step, loss in losses.items() if not 0 < loss < 5] == ["3"]
    assert module.set_to_train == [True] * 6
    # Averaged weights are kept apart from the live ones.
    saved = load_file(tmp_path / "state-00000006/model.safetensors")["weight"]
    averaged = load_file(tmp_path / "state-00000006/ema.safetensors")["0"]
    assert 0 < float(saved) < float(averaged) < 2


def test_states_are_in_the_order_of_their_steps_however_many_digits_they_have(tmp_path: Path) -> None:
    module = torch.nn.Linear(1, 1)
    average = ExponentialMovingAverage(list(module.parameters()), 0.9)
    for step in (99_999_998, 99_999_999, 100_000_000):
        save_state(tmp_path, Reached(step=step), module, average, torch.optim.AdamW(module.parameters()))
    # The last two are kept.
    assert [p.name for p in find_states(tmp_path)] == ["state-99999999", "state-100000000"]


def test_a_training_that_ends_in_an_error_leaves_no_thread_behind(tmp_path: Path) -> None:
    def draw(step: int) -> tuple[torch.Tensor]:
        if step == 2:
            raise OSError("the data's disk is gone")
        return (torch.tensor(step),)

    module = _Flaky()
    optimizer = torch.optim.AdamW(module.parameters(), 0.1)
    before = threading.active_count()
    with pytest.raises(OSError, match="disk is gone"):
        fit(session(tmp_path, False), module, optimizer, draw, loop(6, 0.5), record="{}", validate=lambda *_: {})
    # Those that write for TensorBoard hold its files open.
    assert threading.active_count() == before


def test_every_validation_is_made_once_with_the_averaged_weights(tmp_path: Path) -> None:
    module = _Flaky()
    seen: list[tuple[int, float]] = []

    def validate(step: int, board: object) -> dict[str, float]:
        seen.append((step, module.weight.item()))
        return {"weight": module.weight.item()}

    def run(steps: int) -> tuple[int, dict[str, float]]:
        reached, scores = fit(
            session(tmp_path, resume=True),
            module,
            torch.optim.AdamW(module.parameters(), 0.1),
            lambda step: (torch.tensor(step),),
            loop(steps, 0.5).model_copy(update={"validate_every": 2}),
            record="{}",
            validate=validate,
        )
        return reached.step, dict(scores)

    # What the checkpoint says of itself is the last validation, of the weights that are in place then.
    assert run(4) == (4, {"weight": module.weight.item()})
    assert [step for step, _ in seen] == [2, 4]
    # A run that was complete already is validated, since nothing else says how good it is.
    assert run(4) == (4, {"weight": seen[1][1]})
    assert [step for step, _ in seen] == [2, 4, 4]


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_resumed_run_decays_weights_as_it_is_told_now(decay: float, tmp_path: Path) -> None:
    class Still(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([2.0]))

        def forward(self) -> dict[str, torch.Tensor]:
            return {"loss": 0 * self.weight.sum()}

    module = Still()
    before = torch.optim.AdamW(module.parameters(), 0.1, weight_decay=0.1)
    save_state(tmp_path, Reached(step=0), module, ExponentialMovingAverage([module.weight], 0.5), before)
    fit(
        session(tmp_path, resume=True),
        module,
        torch.optim.AdamW(module.parameters(), 0.1, weight_decay=decay),
        lambda step: (),
        loop(1, 0.0),
        record="{}",
        validate=lambda *_: {},
    )
    saved = float(load_file(tmp_path / "state-00000001/model.safetensors")["weight"])
    # One step of AdamW without a gradient: w (1 - rate x decay), the rate at its warm-up's end.
    assert saved == pytest.approx(2 * (1 - 0.1 * decay), rel=1e-5)


def test_a_disk_without_room_is_one_line_and_leaves_the_older_state(tmp_path: Path) -> None:
    module = _Flaky()
    optimizer, ema = torch.optim.AdamW(module.parameters()), ExponentialMovingAverage([module.weight], 0.9)
    save_state(tmp_path, Reached(step=1), module, ema, optimizer)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files of more than 40 bytes are refused, as a full disk refuses them.
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step 2 could not be saved .*; see that there is room"):
            save_state(tmp_path, Reached(step=2), module, ema, optimizer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["state-00000001"]


def test_a_state_with_weights_that_are_not_finite_is_never_written(tmp_path: Path) -> None:
    module = _Flaky()
    optimizer = torch.optim.AdamW(module.parameters())
    ema = ExponentialMovingAverage(list(module.parameters()), 0.9)
    save_state(tmp_path, Reached(step=1), module, ema, optimizer)
    module.weight.data.fill_(torch.inf)
    with pytest.raises(CheckpointError, match="not finite at step 2; nothing was saved"):
        save_state(tmp_path, Reached(step=2), module, ema, optimizer)
    assert [p.name for p in find_states(tmp_path)] == ["state-00000001"]


def test_learning_rate_warms_up_and_decays() -> None:
    scales = [learning_rate_scale(step, 1000, 100) for step in range(1000)]
    assert scales[0] == 0.01 and scales[99] == 1.0
    assert max(scales) == 1.0 and abs(scales[-1] - 0.05) < 1e-3
    assert all(b <= a for a, b in itertools.pairwise(scales[99:]))
