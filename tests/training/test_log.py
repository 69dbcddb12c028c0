"""What a training says of itself: its lines, its tables, TensorBoard's files."""

import csv
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ldm_sep.config import OptimiserConfig
from ldm_sep.training.log import Progress, TrainingLog


def settings(steps: int, log_every: int = 1) -> OptimiserConfig:
    return OptimiserConfig(steps=steps, batch_size=1, seconds=1, learning_rate=0.1, log_every=log_every)


def test_lines_come_as_time_goes_by_and_say_how_long_the_rest_will_take(tmp_path: Path) -> None:
    now, told = [0.0], []
    with TrainingLog(tmp_path, settings(20, 5), 0, told.append, None, clock=lambda: now[0]) as log:
        for step in range(1, 21):
            now[0] += 4
            losses = {"loss": torch.tensor(float(step))}
            log.step(step, losses, 0.1, unusable=step == 3, skipped=int(step >= 3), last=step == 20)
            if step == 10:
                now[0] += 40
                log.validated(step, {"weight": 0.5}, 1)
            log.resume()
    # At the first step; then every 10 s, validations included; at the last.
    assert [p.step for p in told] == [1, 4, 7, 10, 10, 13, 16, 19, 20]
    assert told[0].losses == {"loss": 1.0} and told[0].minutes_left == pytest.approx(19 * 4 / 60)
    # Means are over the steps since the last line that were taken.
    assert told[1].losses == {"loss": (2 + 4) / 2} and told[1].skipped == 1
    assert told[1].rate == told[5].rate == 0.25
    # Validations do not count into the time of a step. They do count into the time that is left.
    assert told[4].losses == {"weight": 0.5} and told[4].rate is None
    assert told[4].minutes_left == pytest.approx(80 / 60) and told[-1].minutes_left == 0
    rows = list(csv.DictReader((tmp_path / "train.csv").read_text().splitlines()))
    assert [(row["step"], row["loss"]) for row in rows] == [("5", "3"), ("10", "8"), ("15", "13"), ("20", "18")]


def test_a_validation_between_two_rows_does_not_slow_the_steps_down(tmp_path: Path) -> None:
    now = [0.0]
    with TrainingLog(tmp_path, settings(100, 50), 0, print, None, lambda: now[0]) as log:
        for step in range(1, 101):
            now[0] += 0.1
            log.step(step, {"loss": torch.tensor(1.0)}, 0.1, unusable=False, skipped=0, last=False)
            if step == 70:
                now[0] += 60
                log.validated(step, {"weight": 0.5}, 0)
                log.resume()
    rows = csv.DictReader((tmp_path / "train.csv").read_text().splitlines())
    assert [float(row["steps_per_second"]) for row in rows] == pytest.approx([10, 10], rel=1e-4)


def test_scores_of_an_earlier_run_and_scores_that_come_late_have_their_columns(tmp_path: Path) -> None:
    def log(first: int) -> TrainingLog:
        return TrainingLog(tmp_path, settings(100), first, lambda told: None, None)

    with log(0) as before:
        before.validated(10, {"lsd_8": 1.0}, 0)
        # Undefined at the first validation.
        before.validated(20, {"lsd_8": 0.9, "gain_8": 3.0}, 0)
        before.validated(30, {"lsd_8": 0.8, "gain_8": 4.0}, 0)
    # Resumed from step 20, with other sampling steps.
    with log(20) as after:
        after.validated(30, {"lsd_4": 0.7}, 0)
    rows = list(csv.DictReader((tmp_path / "validation.csv").read_text().splitlines()))
    assert [{key: value for key, value in row.items() if value} for row in rows] == [
        {"step": "10", "lsd_8": "1"},
        {"step": "20", "lsd_8": "0.9", "gain_8": "3"},
        {"step": "30", "lsd_4": "0.7"},
    ]


def test_a_bound_on_minutes_bounds_what_is_left(tmp_path: Path) -> None:
    now, told = [0.0], []
    with TrainingLog(tmp_path, settings(1000), 0, told.append, 2.0, clock=lambda: now[0]) as log:
        now[0] = 60.0
        log.step(1, {"loss": torch.tensor(1.0)}, 0.1, unusable=False, skipped=0, last=False)
    assert told == [Progress(1, 1000, {"loss": 1.0}, pytest.approx(1 / 60), 1.0, 0)]


def test_tensorboard_has_sounds_and_pictures_and_no_step_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    now = time.time
    for first in (0, 2):
        # TensorBoard reads files in the order of the seconds in which they were begun, as processes are.
        monkeypatch.setattr(time, "time", lambda later=10 * first: now() + later)
        with TrainingLog(tmp_path, settings(8), first, lambda _: None, None) as log:
            # The first process is killed after step 5, its last state is that of step 2.
            for step in range(first + 1, 6 if first == 0 else 9):
                losses = {"loss": torch.tensor(float(10 * first + step))}
                log.step(step, losses, 0.1, unusable=False, skipped=0, last=False)
            log.board.sound("songs/estimate", 0.1 * np.ones((2, 800), np.float32), 16000, step)
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    values = [(event.step, event.value) for event in shown.Scalars("train/loss")]
    assert values == [(1, 1), (2, 2), *((step, 20 + step) for step in range(3, 9))]
    (sound,), (picture,) = shown.Audio("songs/estimate"), shown.Images("songs/estimate")
    assert sound.step == picture.step == 8 and sound.sample_rate == 16000 and picture.height > picture.width > 0
    rows = list(csv.DictReader((tmp_path / "train.csv").read_text().splitlines()))
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == values
