"""What a timing counts."""

import clock
import torch


def test_the_warm_up_is_left_out() -> None:
    ticks = iter([0.0, 9.0, 10.0, 11.0, 20.0, 22.0])
    assert clock.warm_seconds(lambda: None, torch.device("cpu"), 2, lambda: next(ticks)) == [1.0, 2.0]
