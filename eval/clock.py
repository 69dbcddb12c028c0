"""Timing of what a device does."""

import time
from collections.abc import Callable

import torch


def warm_seconds(act: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Wall-clock seconds of each of ``repeats`` runs of ``act`` on ``device``, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        act()
        # A GPU only takes its work in; the CPU has done it.
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - started)
    return times[1:]
