"""The denoiser: a conditional 1-D U-Net over latent frames.

Our reading of Sections III-E and IV-A of "Efficient and Fast Generative-Based Singing Voice Separation using a
Latent Diffusion Model"; the text leaves the exact network open.

From the text: residual blocks of two 1-D convolutions, each after group norm and SiLU; FiLM from the diffusion
time after the residual sum; random Fourier features of the time, 1024 features wide, through a three-layer GELU
perceptron; the condition interpolated to each level, concatenated and merged by a convolution at all but the
first three levels; strided convolutions down, transposed ones up; optional self-attention over time.

Ours, where the text is silent: every merge is itself residual and follows every block; FiLM acts on
channel-normalised frames; a level's input is added to what the deeper levels return, scaled by a gate from the
time; as many blocks go up as go down. These follow ``UNetV0`` of ``audio_diffusion_pytorch`` (arXiv 2301.13267),
against which the tests hold this module. One thing differs: the outermost level does not add ``z_t`` to the
output. For unit-variance latents the best linear guess of v from z_t is 0, and a network that starts at z_t has
to unlearn it first.

With seven levels of 128, 128, 256, 256, 512, 512, 1024 channels, factors 1, 1, 2, 2, 2, 2, 2, blocks
1, 3, 3, 3, 3, 3, 3 and the condition merged from the fourth level on, this network has 115,892,352 parameters
(the paper: 115.9 M). ``UNetV0`` at that setting has 115,924,096, for two reasons: it upsamples by repetition
and a convolution of width 3 where a transposed convolution as wide as the factor does (+1,081,344), and the
last two layers of its time perceptron are one layer applied twice (-1,049,600).
"""

from math import pi
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm_sep.network.levels import (
    ATTENTION_FEATURES,
    ATTENTION_HEADS,
    GROUPS,
    LevelSizes,
    UNetSizes,
    resize,
)

_FREQUENCIES = 128


class TimeEmbedding(nn.Module):
    """Diffusion time to features: learned random Fourier features, then three linear layers, each with GELU.

    ``forward(t (B,)) -> (B, features)``, t in [0, 1]. What enters is t itself and the sine and cosine of t at
    128 frequencies, drawn from a normal distribution at the start (cycles per unit of t).
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(_FREQUENCIES))
        self.mlp = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES + 1, features),
            nn.GELU(),
            nn.Linear(features, features),
            nn.GELU(),
            nn.Linear(features, features),
            nn.GELU(),
        )

    def forward(self, t: Tensor) -> Tensor:
        column = t[:, None]
        phase = column * self.frequencies * 2 * pi
        return self.mlp(torch.cat([column, phase.sin(), phase.cos()], dim=1))


class TimeAttention(nn.Module):
    """Residual multi-head self-attention over frames, (B, C, N) -> (B, C, N), blind to their order."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        features = ATTENTION_HEADS * ATTENTION_FEATURES
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * features, bias=False)
        self.to_out = nn.Linear(features, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(self.norm(x.transpose(1, 2))).unflatten(-1, (3, ATTENTION_HEADS, -1)).unbind(2)
        heard = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return x + self.to_out(heard.transpose(1, 2).flatten(2)).transpose(1, 2)


class FiLM(nn.Module):
    """Feature-wise linear modulation (arXiv 1709.07871) of frames normalised over their channels.

    ``forward(x (B, C, N), time (B, features)) -> (B, C, N)``.
    """

    def __init__(self, channels: int, time_features: int) -> None:
        super().__init__()
        self.to_scale_shift = nn.Linear(time_features, 2 * channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.to_scale_shift(time)[:, None].chunk(2, dim=-1)
        frames = F.layer_norm(x.transpose(1, 2), x.shape[1:2], eps=1e-6)
        return torch.addcmul(shift, frames, 1 + scale).transpose(1, 2).contiguous()


class ResidualBlock(nn.Module):
    """Residual convolutions, FiLM and, where the level asks for them, the merge with the condition and attention.

    ``forward(x (B, C, N), time (B, features), cond (B, E, N) or None) -> (B, C, N)``.
    """

    def __init__(self, channels: int, cond_channels: int, time_features: int, attention: bool) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.GroupNorm(GROUPS, channels),
            nn.SiLU(),
            nn.Conv1d(channels, channels, 3, padding=1),
            nn.GroupNorm(GROUPS, channels),
            nn.SiLU(),
            nn.Conv1d(channels, channels, 3, padding=1),
        )
        self.film = FiLM(channels, time_features)
        self.merge = nn.Conv1d(channels + cond_channels, channels, 1) if cond_channels else None
        self.attention = TimeAttention(channels) if attention else None

    def forward(self, x: Tensor, time: Tensor, cond: Tensor | None) -> Tensor:
        x = self.film(x + self.convs(x), time)
        if self.merge is not None and cond is not None:
            x = x + self.merge(torch.cat([x, cond], dim=1))
        return x if self.attention is None else self.attention(x)


class Level(nn.Module):
    """One level: ``down``, the blocks ``enter`` before and ``leave`` after the deeper levels, ``up``.

    The level returns ``input + gate(time) * up(...)``; the outermost one ``gate(time) * up(...)``.
    """

    def __init__(
        self,
        sizes: LevelSizes,
        in_channels: int,
        out_channels: int,
        cond_channels: int,
        time_features: int,
    ) -> None:
        super().__init__()
        width = sizes.channels
        heard = cond_channels if sizes.inject else 0

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                ResidualBlock(width, heard, time_features, sizes.attention) for _ in range(sizes.blocks)
            )

        self.inject = sizes.inject
        self.down = nn.Conv1d(in_channels, width, sizes.factor, stride=sizes.factor)
        self.enter = blocks()
        self.leave = blocks()
        self.up = nn.ConvTranspose1d(width, out_channels, sizes.factor, stride=sizes.factor)
        self.gate = nn.Linear(time_features, out_channels)

    def descend(self, x: Tensor, time: Tensor, cond: Tensor) -> tuple[Tensor, Tensor | None]:
        """What goes on to the deeper levels, and the condition at this level's rate, if it hears it."""
        x = self.down(x)
        here = resize(cond, x.shape[-1]) if self.inject else None
        for block in self.enter:
            x = block(x, time, here)
        return x, here

    def ascend(self, x: Tensor, time: Tensor, here: Tensor | None) -> tuple[Tensor, Tensor]:
        """The gate (B, C, 1), and what it scales of what the deeper levels return."""
        for block in self.leave:
            x = block(x, time, here)
        return self.gate(time)[..., None], self.up(x)


class UNet1d(nn.Module):
    """Estimate the velocity of v-objective diffusion (the paper's equation 8) from noisy latents and a condition.

    A new network returns exactly zero: the outermost gate starts at zero, the inner ones near one, so that
    all depths learn from the second step on.
    """

    def __init__(self, sizes: UNetSizes) -> None:
        super().__init__()
        self.sizes, levels = sizes, sizes.levels
        self.time = TimeEmbedding(sizes.time_features)
        outer = [sizes.latent_channels, *(level.channels for level in levels[:-1])]
        returned = [sizes.returned, *outer[1:]]
        outermost, *inner = built = [
            Level(level, before, after, sizes.heard, sizes.time_features)
            for level, before, after in zip(levels, outer, returned, strict=True)
        ]
        self.levels = nn.ModuleList(built)
        for level in inner:
            nn.init.ones_(level.gate.bias)
        nn.init.zeros_(outermost.gate.weight)
        nn.init.zeros_(outermost.gate.bias)

    def forward(self, z_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """``z_t (B, D, N)``, ``t (B,)`` in [0, 1] and ``cond (B, E, N)`` to the estimate (B, out_channels, N).

        Any N of 1 or more works: inputs are extended by their mirror image to a multiple of the product of all
        factors, and the result is cropped. Raises ``ValueError`` for other shapes.
        """
        frames = z_t.shape[-1]
        x, cond = self.sizes.fitted(z_t, cond)
        # Every use of the time features is "SiLU, then a linear layer", so the SiLU is taken once.
        time = F.silu(self.time(t))
        inputs: list[Tensor] = []
        conds: list[Tensor | None] = []
        levels = cast("list[Level]", list(self.levels))
        for level in levels:
            inputs.append(x)
            x, level_cond = level.descend(x, time, cond)
            conds.append(level_cond)
        for level in reversed(levels):
            gate, x = level.ascend(x, time, conds.pop())
            entered = inputs.pop()
            x = torch.addcmul(entered, gate, x) if inputs else gate * x
        return x[..., :frames]
