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


@dataclass(frozen=True)
class UNetSizes:
    """Sizes of a whole U-Net.

    latent_channels: D of ``z_t``; levels: from the outermost to the bottleneck; time_features: width of the time
    embedding; out_channels: channels of the output, D when None; cond_channels: E of ``cond``, D when None.
    ConfigError unless there are levels, their sizes are positive, and `GROUPS` divides their channels.
    """

    latent_channels: int
    levels: Sequence[LevelSizes]
    time_features: int = 1024
    out_channels: int | None = None
    cond_channels: int | None = None

    def __post_init__(self) -> None:
        if not self.levels:
            raise ConfigError("levels: the U-Net has none; give at least one level")
        for number, level in enumerate(self.levels, start=1):
            if min(level.channels, level.factor, level.blocks) < 1:
                raise ConfigError(f"levels: channels, factor and blocks of level {number} must be 1 or more")
            if level.channels % GROUPS:
                raise ConfigError(f"levels: level {number} has {level.channels} channels; use a multiple of {GROUPS}")

    @property
    def returned(self) -> int:
        """Channels of the output."""
        return self.latent_channels if self.out_channels is None else self.out_channels

    @property
    def heard(self) -> int:
        """Channels of the condition."""
        return self.latent_channels if self.cond_channels is None else self.cond_channels

    def fitted(self, z_t: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """``z_t (B, D, N)`` and ``cond (B, E, N)``, to a multiple of all factors. ValueError for other shapes."""
        batch, _, frames = z_t.shape
        if z_t.shape[1] != self.latent_channels or cond.shape != (batch, self.heard, frames):
            raise ValueError(
                f"z_t {tuple(z_t.shape)} must be (B, {self.latent_channels}, N) and "
                f"cond {tuple(cond.shape)} (B, {self.heard}, N)"
            )
        multiple = prod(level.factor for level in self.levels)
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
