"""Timing of what a device does."""

import time
from collections.abc import Callable

import torch


def warm_seconds(
    act: Callable[[], object], device: torch.device, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds by ``clock`` of each of ``repeats`` runs of ``act`` on ``device``, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = clock()
        act()
        # A GPU only takes its work in; the CPU has done it.
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(clock() - started)
    return times[1:]
