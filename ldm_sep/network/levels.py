"""The sizes of a U-Net's levels, which can be built, and what makes any number of frames fit them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from ldm_sep.errors import ConfigError

# Of both U-Nets: the groups of every group norm, and heads and features per head of the attention.
GROUPS = 8
ATTENTION_HEADS = 8
ATTENTION_FEATURES = 64


@dataclass(frozen=True)
class LevelSizes:
    """One level of the U-Net.

    channels: feature channels; factor: how many frames of the level above become one frame here;
    blocks: residual blocks on the way down, and again on the way up; inject: merge the condition after
    every block; attention: self-attention over time after every block.
    """

    channels: int
    factor: int
    blocks: int
    inject: bool = False
    attention: bool = False


def check_levels(levels: Sequence[LevelSizes]) -> None:
    """ConfigError unless there are levels, their sizes are positive, and `GROUPS` divides their channels."""
    if not levels:
        raise ConfigError("levels: the U-Net has none; give at least one level")
    for number, level in enumerate(levels, start=1):
        if min(level.channels, level.factor, level.blocks) < 1:
            raise ConfigError(f"levels: channels, factor and blocks of level {number} must be 1 or more")
        if level.channels % GROUPS:
            raise ConfigError(f"levels: level {number} has {level.channels} channels; use a multiple of {GROUPS}")


def fitted(
    z_t: Tensor, cond: Tensor, latent_channels: int, cond_channels: int, levels: Sequence[LevelSizes]
) -> tuple[Tensor, Tensor]:
    """``z_t (B, D, N)`` and ``cond (B, E, N)``, extended to a multiple of all factors. ValueError for other shapes."""
    batch, _, frames = z_t.shape
    if z_t.shape[1] != latent_channels or cond.shape != (batch, cond_channels, frames):
        raise ValueError(
            f"z_t {tuple(z_t.shape)} must be (B, {latent_channels}, N) and "
            f"cond {tuple(cond.shape)} (B, {cond_channels}, N)"
        )
    multiple = prod(level.factor for level in levels)
    return extend(z_t, multiple), extend(cond, multiple)


def extend(x: Tensor, multiple: int) -> Tensor:
    """Mirror (B, C, N) past its end, as often as needed, until N is a multiple."""
    frames = x.shape[-1]
    missing = -frames % multiple
    if missing == 0:
        return x
    index = torch.arange(frames + missing, device=x.device) % (2 * frames)
    return x[..., torch.minimum(index, 2 * frames - 1 - index)]


def resize(cond: Tensor, frames: int) -> Tensor:
    """A condition (B, E, N) at the ``frames`` of a level, linear between its own."""
    if cond.shape[-1] == frames:
        return cond
    return F.interpolate(cond, size=frames, mode="linear", align_corners=False)
