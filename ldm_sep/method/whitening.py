"""Whitening of latents by measured constants."""

import torch
from torch import Tensor, nn


class Whitening(nn.Module):
    """Per-channel mean and standard deviation of a codec's latents, (D, 1) each, as measured constants."""

    mean: Tensor
    std: Tensor

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_channels, 1))
        self.register_buffer("std", torch.ones(latent_channels, 1))

    def forward(self, z: Tensor) -> Tensor:
        """Raw latents (B, D, N) to whitened ones."""
        return (z - self.mean) / self.std

    def inverse(self, z: Tensor) -> Tensor:
        """Whitened latents (B, D, N) to raw ones."""
        return z * self.std + self.mean

    @torch.no_grad()
    def measure(self, batches: list[Tensor]) -> None:
        """Set the constants from raw latents. The floor, a fiftieth of the median std, keeps dead channels finite."""
        total = torch.cat([z.transpose(0, 1).flatten(1) for z in batches], 1).double()
        std = total.std(1)
        self.mean.copy_(total.mean(1)[:, None])
        self.std.copy_(std.clamp_min(float(std.median()) / 50 + 1e-8)[:, None])
