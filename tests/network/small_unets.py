"""What the tests of both U-Nets share: sizes, inputs, and the package's network."""

import numpy as np
import torch
from torch import Tensor, nn

from ldm_sep.network.levels import LevelSizes, UNetSizes
from ldm_sep.thirdparty import import_audio_diffusion_pytorch

LEVELS = (LevelSizes(16, 1, 1), LevelSizes(16, 2, 2, inject=True), LevelSizes(24, 3, 1, inject=True, attention=True))


def small_sizes(out_channels: int | None = None) -> UNetSizes:
    return UNetSizes(6, LEVELS, time_features=32, out_channels=out_channels)


def paper_sizes() -> UNetSizes:
    """The network of the paper's separator."""
    channels, factors = (128, 128, 256, 256, 512, 512, 1024), (1, 1, 2, 2, 2, 2, 2)
    return UNetSizes(
        128,
        [
            LevelSizes(width, factor, 1 if depth == 0 else 3, inject=depth >= 3)
            for depth, (width, factor) in enumerate(zip(channels, factors, strict=True))
        ],
    )


def inputs(frames: int = 12, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    z_t, cond = torch.randn(2, 2, 6, frames, generator=random)
    return z_t, torch.rand(2, generator=random), cond


def half_pixel_linear(cond: Tensor, frames: int) -> Tensor:
    """Linear interpolation between frame centres, by numpy."""
    before = np.arange(cond.shape[-1]) + 0.5
    after = (np.arange(frames) + 0.5) * cond.shape[-1] / frames
    rows = [np.interp(after, before, row) for row in cond.flatten(0, 1).numpy()]
    return torch.tensor(np.stack(rows), dtype=cond.dtype).unflatten(0, cond.shape[:2])


def package_unet(out_channels: int | None) -> nn.Module:
    """UNetV0 of `small_sizes`."""
    return import_audio_diffusion_pytorch().UNetV0(
        dim=1,
        in_channels=6,
        out_channels=out_channels,
        channels=[16, 16, 24],
        factors=[1, 2, 3],
        items=[1, 2, 1],
        attentions=[0, 0, 1],
        context_channels=[0, 6, 6],
        attention_heads=8,
        attention_features=64,
        resnet_groups=8,
        modulation_features=32,
    )
