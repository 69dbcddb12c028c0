"""Mixture-guided refinement: what a codec can only outline, the mixture has in full."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.signal.mdct import MDCT, band_edges

_BANDS_PER_OCTAVE = 8
# Levels are compared over this many frames: single MDCT frames fluctuate with the phase.
_SMOOTHING = 5


class TextureFromMixture(nn.Module):
    """Above a crossover, keep the estimate's levels but take the fine structure from the mixture.

    In bands of an eighth of an octave, X_out = g X_mixture with g = min(1, sqrt(P_estimate / P_mixture)), P the
    band's power around each MDCT frame. Where the voice dominates (sibilants) this is its own sound. Where it does
    not, the level decides. The output is the mixture times g, so the remainder is the mixture times 1 - g: it loses
    exactly what the vocals gain.

    Parameters: ``crossover`` in Hz, below which the estimate is kept; ``sample_rate`` in Hz; ``hop`` of the MDCT in
    samples. ValueError unless ``crossover`` lies between 0 and half of ``sample_rate``.
    """

    spread: Tensor

    def __init__(self, crossover: float, sample_rate: int, hop: int) -> None:
        super().__init__()
        if not 0 < crossover < sample_rate / 2:
            raise ValueError(f"the crossover {crossover} Hz must lie between 0 and {sample_rate / 2} Hz")
        self.mdct = MDCT(hop)
        self.low = max(1, round(crossover / (sample_rate / 2) * hop))
        octaves = math.log2(hop / self.low)
        bands = max(1, min(hop - self.low, round(octaves * _BANDS_PER_OCTAVE)))
        edges = band_edges(self.low, hop, bands)
        spread = torch.zeros(hop - self.low, bands)
        for band, (first, last) in enumerate(itertools.pairwise(edges)):
            spread[first - self.low : last - self.low, band] = 1
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, vocals: Tensor, mixture: Tensor) -> Tensor:
        """``vocals, mixture (B, C, T)``, T a multiple of the hop, to the refined vocals (B, C, T)."""
        estimate, whole = self.mdct(vocals), self.mdct(mixture)
        low, high = estimate[..., : self.low, :], estimate[..., self.low :, :]
        source = whole[..., self.low :, :]
        ratio = self._power(high) / self._power(source).clamp_min(1e-20)
        gain = self.spread @ torch.sqrt(ratio).clamp(max=1.0)
        return self.mdct.inverse(torch.cat([low, gain * source], -2))

    def _power(self, x: Tensor) -> Tensor:
        power = self.spread.T @ x.square()
        flat = power.flatten(0, -2)[:, None]
        smooth = F.avg_pool1d(flat, _SMOOTHING, 1, _SMOOTHING // 2, count_include_pad=False)
        return smooth[:, 0].unflatten(0, power.shape[:-1])
