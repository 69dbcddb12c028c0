"""The modified discrete cosine transform, and bands of its bins."""

import math

import torch
from torch import Tensor, nn

# Frames that are transformed together: what lies between the steps then stays in the processor's cache.
_RUN = 128


class MDCT(nn.Module):
    """Orthonormal MDCT of whole frames, exact up to and including both ends.

    X[k] = sqrt(2/M) sum_n w[n] x[n] cos(pi/M (n + 1/2 + M/2)(k + 1/2)), w[n] = sin(pi (n + 1/2) / 2M), M = hop, even.
    The frames are centred on the hops, so T = N hop samples give N frames. At the ends, where a neighbouring
    frame is missing, the wave is continued with the symmetry of the aliasing (odd at the start, even at the end),
    which the synthesis divides out again.

    A frame of quarters (a, b, c, d) is folded to (-c_r - d, a - b_r), r for reversed, whose DCT-IV is taken by a
    complex FFT of M/2 points (Malvar, "Signal Processing with Lapped Transforms", 1992).
    """

    window: Tensor
    twiddle: Tensor
    edge: Tensor

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop = hop
        n = torch.arange(2 * hop, dtype=torch.float64)
        window = torch.sin(math.pi * (n + 0.5) / (2 * hop))
        half = hop // 2
        # Before and after the FFT, the square root of the scale sqrt(2/M) at each.
        twiddle = torch.polar(
            torch.full((half,), (2 / hop) ** 0.25, dtype=torch.float64), -math.pi / hop * (n[:half] + 1 / 8)
        )
        # Constants of the transform, not weights: they are rebuilt, never stored.
        self.register_buffer("window", window[:hop].float(), persistent=False)
        # Real and imaginary part: a module that is moved to another type of numbers leaves complex ones behind.
        self.register_buffer("twiddle", torch.view_as_real(twiddle).float(), persistent=False)
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
            blocks = torch.cat([start, wave, end], -1).unflatten(-1, (-1, self.hop))
            # Each block is the first half of one frame and the second half of the frame before.
            halves = zip(blocks[..., :-1, :].split(_RUN, -2), blocks[..., 1:, :].split(_RUN, -2), strict=True)
            return torch.cat([self._dct4(self._folded(*run)) for run in halves], -2).transpose(-1, -2)

    def _folded(self, first: Tensor, second: Tensor) -> Tensor:
        a, b = (self.window * first).chunk(2, -1)
        c, d = (self.window.flip(0) * second).chunk(2, -1)
        return torch.cat([-c.flip(-1) - d, a - b.flip(-1)], -1)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Coefficients ``(..., hop, N)`` to the wave ``(..., N hop)``, by time-domain alias cancellation."""
        with torch.autocast(coefficients.device.type, enabled=False):
            frames = coefficients.float().transpose(-1, -2)
            blocks = frames.new_zeros(*frames.shape[:-2], frames.shape[-2] + 1, self.hop)
            for i in range(0, frames.shape[-2], _RUN):
                second, first = self._dct4(frames[..., i : i + _RUN, :]).chunk(2, -1)
                j = i + first.shape[-2]
                blocks[..., i:j, :] += self.window * torch.cat([first, -first.flip(-1)], -1)
                blocks[..., i + 1 : j + 1, :] += self.window.flip(0) * torch.cat([-second.flip(-1), -second], -1)
            half = self.hop // 2
            wave = blocks.flatten(-2)[..., half:-half]
            start = wave[..., :half] * self.edge
            end = wave[..., -half:] * self.edge.flip(-1)
            return torch.cat([start, wave[..., half:-half], end], -1)

    def _dct4(self, x: Tensor) -> Tensor:
        """sqrt(2/M) sum_n x[n] cos(pi/M (n + 1/2)(k + 1/2)) of ``x (..., M)``; its own inverse."""
        twiddle = torch.view_as_complex(self.twiddle)
        spectrum = torch.fft.fft(torch.complex(x[..., ::2], x[..., 1::2].flip(-1)) * twiddle) * twiddle
        return torch.stack([spectrum.real, -spectrum.imag.flip(-1)], -1).flatten(-2)


def band_edges(first: int, last: int, bands: int) -> list[int]:
    """``bands + 1`` bin numbers from ``first`` to ``last``, spaced geometrically, every band at least one bin.

    ValueError if there are fewer bins than bands.
    """
    if bands > last - first:
        raise ValueError(f"{bands} bands do not fit into bins {first} to {last}")
    ratio = (last / first) ** (1 / bands)
    edges = [first]
    for b in range(1, bands):
        edges.append(min(max(edges[-1] + 1, round(first * ratio**b)), last - (bands - b)))
    return [*edges, last]
