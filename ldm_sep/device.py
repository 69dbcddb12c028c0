"""Which device a word means, and how many cores there are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ldm_sep.errors import DeviceError

if TYPE_CHECKING:
    # Imported where a device is asked for: how many cores there are is known without it.
    import torch


def choose_device(word: str = "auto") -> torch.device:
    """auto (cuda, else cpu), cpu, cuda, cuda:N or mps. DeviceError if it is not there.

    ``auto`` leaves mps out: this package was never run on it.
    """
    import torch

    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(word)
    except RuntimeError:
        raise DeviceError(f"the device '{word}' is unknown; use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"the device '{word}' is not there: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs; "
            "use -d cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"the device '{word}' is not there; use -d cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"the device '{word}' is not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


def visible_gpus() -> list[str]:
    """The names by which CUDA_VISIBLE_DEVICES tells the GPUs that this process sees from each other."""
    import torch

    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    return names if len(names) == count and all(names) else [str(number) for number in range(count)]


def usable_cores() -> int:
    """How many CPU cores this process may use: those of its affinity where the system tells, else all."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
