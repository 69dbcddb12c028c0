"""The modified discrete cosine transform, and bands of its bins."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MDCT(nn.Module):
    """Orthonormal MDCT of whole frames, exact up to and including both ends.

    X[k] = sqrt(2/M) sum_n w[n] x[n] cos(pi/M (n + 1/2 + M/2)(k + 1/2)), w[n] = sin(pi (n + 1/2) / 2M), M = hop.
    The frames are centred on the hops, so T = N hop samples give N frames. At the ends, where a neighbouring
    frame is missing, the wave is continued with the symmetry of the aliasing (odd at the start, even at the end),
    which the synthesis divides out again.
    """

    basis: Tensor
    edge: Tensor

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop = hop
        n = torch.arange(2 * hop, dtype=torch.float64)
        k = torch.arange(hop, dtype=torch.float64)
        window = torch.sin(math.pi * (n + 0.5) / (2 * hop))
        phase = math.pi / hop * torch.outer(n + 0.5 + hop / 2, k + 0.5)
        basis = math.sqrt(2 / hop) * window[:, None] * torch.cos(phase)
        # Constants of the transform, not weights: they are rebuilt, never stored.
        self.register_buffer("basis", basis.float(), persistent=False)
        half = hop // 2
        inner, mirrored = window[half:hop], window[:half].flip(0)
        edge = 1 / (inner * (inner + mirrored))
        self.register_buffer("edge", edge.float(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """``wave (..., N hop)`` to coefficients ``(..., hop, N)``, always in float32."""
        with torch.autocast(wave.device.type, enabled=False):
            wave = wave.float()
            half = self.hop // 2
            start = -wave[..., :half].flip(-1)
            end = wave[..., -half:].flip(-1)
            frames = torch.cat([start, wave, end], -1).unfold(-1, 2 * self.hop, self.hop)
            return (frames @ self.basis).transpose(-1, -2)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Coefficients ``(..., hop, N)`` to the wave ``(..., N hop)``, by time-domain alias cancellation."""
        with torch.autocast(coefficients.device.type, enabled=False):
            frames = coefficients.float().transpose(-1, -2) @ self.basis.T
            first, second = frames[..., : self.hop], frames[..., self.hop :]
            blocks = F.pad(first, (0, 0, 0, 1)) + F.pad(second, (0, 0, 1, 0))
            half = self.hop // 2
            wave = blocks.flatten(-2)[..., half:-half]
            start = wave[..., :half] * self.edge
            end = wave[..., -half:] * self.edge.flip(-1)
            return torch.cat([start, wave[..., half:-half], end], -1)


def band_edges(first: int, last: int, bands: int) -> list[int]:
    """``bands + 1`` bin numbers from ``first`` to ``last``, spaced geometrically, every band at least one bin."""
    if bands > last - first:
        raise ValueError(f"{bands} bands do not fit into bins {first} to {last}")
    ratio = (last / first) ** (1 / bands)
    edges = [first]
    for b in range(1, bands):
        edges.append(min(max(edges[-1] + 1, round(first * ratio**b)), last - (bands - b)))
    return [*edges, last]
