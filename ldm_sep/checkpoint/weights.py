"""Safetensors files of weights: what is read or written fits, is finite and works."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ldm_sep.errors import CheckpointError, reason
from ldm_sep.files import require_regular, shown

# Bytes: the paper's separator has 0.5 GB.
LARGEST = 16 << 30
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# The largest value of fp16, in which weights are stored; no working network comes near.
_LARGEST_WEIGHT = 65504.0
_OF_PREDICTOR = re.compile(r"^predictor\.(?=(first|enter|down|bottom|up|leave|last)\.)")


def require_usable(key: str, value: Tensor) -> None:
    """CheckpointError with the tensor's name for weights from which no network can compute anything."""
    name = shown(key)
    if value.dtype not in _TYPES:
        raise CheckpointError(f"{name} is of the type {str(value.dtype).removeprefix('torch.')}; weights are floats")
    if not torch.isfinite(value).all():
        raise CheckpointError(f"{name} holds values that are not finite")
    if value.numel() and float(value.abs().max()) > _LARGEST_WEIGHT:
        raise CheckpointError(f"{name} holds values beyond {_LARGEST_WEIGHT:g}, which are no weights")
    if key.rsplit(".", 1)[-1] == "std" and not bool((value > 0).all()):
        raise CheckpointError(f"{name} holds standard deviations that are not above zero")
    # Weight norm divides by the length of the direction.
    if key.endswith("parametrizations.weight.original1") and not bool(value.flatten(1).square().sum(1).all()):
        raise CheckpointError(f"{name} holds directions of length zero")


def _renamed(key: str) -> str:
    # Earlier versions called the levels of the U-Net stages, and the predictor held the layers of its own.
    return _OF_PREDICTOR.sub("predictor.net.", key.replace("unet.stages.", "unet.levels."))


def _refused(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{path}: {problem}; fetch the checkpoint again")


def stored_values(path: Path) -> int:
    """How many numbers ``path`` says it holds; nothing is loaded. CheckpointError if it cannot be read."""
    with _opened(path) as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - it is no mapping


def load_strictly(module: nn.Module, path: Path, *, ignore: tuple[str, ...] = (), prefix: str = "") -> None:
    """Load ``path`` into ``module``: same keys (but those beginning with ``ignore``), same shapes, all usable.

    ``prefix``: ``module`` is the part of a larger one whose keys begin so; the file's others are passed over.
    CheckpointError names the file and the tensor.
    """
    expected = {k: v for k, v in module.state_dict().items() if not k.startswith(ignore or ("\0",))}
    with _opened(path) as file:
        names = {_renamed(name): name for name in file.keys()}  # noqa: SIM118 - no mapping
        stored = {key.removeprefix(prefix): name for key, name in names.items() if key.startswith(prefix)}
        if wrong := sorted(expected.keys() ^ stored.keys()):
            which = "missing" if wrong[0] in expected else "not expected"
            raise CheckpointError(
                f"{path}: the weight {wrong[0]} is {which}; weights and config.json do not belong together"
            )
        for key, name in stored.items():
            shape, wanted = tuple(file.get_slice(name).get_shape()), tuple(expected[key].shape)
            if shape != wanted:
                raise CheckpointError(f"{path}: {key} has shape {shape}, the configuration wants {wanted}")
        for key, name in stored.items():
            value = file.get_tensor(name)
            try:
                require_usable(key, value)
            except CheckpointError as error:
                raise _refused(path, str(error)) from None
            # Each into its place at once: a second copy of all weights would be the most that memory ever has to hold.
            expected[key].copy_(value)


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        require_regular(path, LARGEST)
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise _refused(path, "missing") from None
    except OSError as error:
        raise _refused(path, f"cannot be read ({reason(error)})") from None
    except (SafetensorError, ValueError, TypeError, RuntimeError) as error:
        raise _refused(path, f"damaged ({shown(' '.join(str(error).split()))})") from None
