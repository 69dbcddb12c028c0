"""A codec small enough for tests that loses the level, as the 48 kHz EnCodec does, and hears a level of its own."""

import torch
from torch import Tensor, nn

from ldm_sep.codec.base import Codec


class _UnitSpread(nn.Module):
    """Frames of ``hop`` samples through a layer with a bias, so that the level matters, to unit spread."""

    def __init__(self, hop: int, latent_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv1d(2, latent_channels, hop, hop)

    def forward(self, wave: Tensor) -> Tensor:
        z = torch.tanh(self.layer(wave))
        return z / z.std((1, 2), keepdim=True).clamp_min(1e-6)


class LevelLosingCodec(nn.Module, Codec):
    """Made for a mono mean of RMS 2."""

    sample_rate, channels, hop, latent_channels, keeps_level, latent_exponent = 16000, 2, 8, 8, False, 1.0

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _UnitSpread(self.hop, self.latent_channels)
        self.decoder = nn.ConvTranspose1d(self.latent_channels, 2, self.hop, self.hop)

    def input_gain(self, wave: Tensor) -> Tensor:
        return 2 / wave.mean(1, keepdim=True).square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-6)
