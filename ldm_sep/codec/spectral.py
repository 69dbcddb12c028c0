"""`spectral`: a codec that starts from an exact transform and learns only what that leaves out.

The wave is turned to mid/side, an orthonormal MDCT (Princen & Bradley 1986; sine window) and a signed power,
y = sign(X) |X|^p, which brings loud and quiet coefficients to comparable size. Each latent frame holds, before any
training,

    [ mid bins 0..m | side bins 0..s | mean |y| of the mid bands above m | mean |y| of the side bands above s ]

and the decoder puts the low bins back as they are and fills the bands above with a flattened copy of the
low bins scaled to the stored band levels (spectral band replication, Dietz et al. 2002). ConvNeXt blocks (Liu et al.
2022) at the frame rate add a learned residual to the carried bins in both directions; their last layer starts at zero,
so training starts from the exact transform. The bands above are left alone: no waveform can be right there, and a loss
on it would rather have silence than noise of the right level. The residual is relative to the level around each bin:
quiet bins stay as they are however loud others are, silence is a latent of zero and decodes to silence, mono to mono,
whatever was learned. No normalisation looks across time: latents keep the level and are local.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.codec.base import Codec
from ldm_sep.signal.mdct import MDCT, band_edges
from ldm_sep.signal.stereo import mid_side

# Floor of the local normalisation, as a fraction of the neighbourhood's mean magnitude. Smaller flattens more but
# amplifies errors in weak bins.
_FLATTENING = 0.3
# Widths of neighbourhoods in bins, for the flattening and for the learned residual. Odd, so that they have a centre.
_NEAR, _AROUND = 5, 17
_TINY = 1e-6
# Frames that a depthwise convolution spans.
_KERNEL = 7


@dataclass(frozen=True)
class SpectralSizes:
    """Sizes of encoder and decoder.

    hop: samples a latent frame, even; 640 at 48 kHz gives 75 frames/s. mid_bins, side_bins: low MDCT bins, each of
    ``sample_rate / 2 hop`` Hz, carried as they are. mid_bands, side_bands: mean magnitudes kept of the bins above. The
    four sum to the latent channels. width, blocks: of the learned residual networks. exponent: p of the latents, in
    (0, 1]. Noise on latents becomes noise that is louder where the sound is, the more so the smaller p is. Raises
    ``ValueError`` for an odd hop; the codec itself raises it for more bands than there are bins above.
    """

    hop: int = 320
    mid_bins: int = 88
    side_bins: int = 20
    mid_bands: int = 14
    side_bands: int = 6
    width: int = 192
    blocks: int = 3
    exponent: float = 0.5

    def __post_init__(self) -> None:
        if self.hop % 2:
            raise ValueError(f"hop must be even, not {self.hop}")

    @property
    def split(self) -> tuple[int, int, int, int]:
        """Channels of the four parts of a latent frame."""
        return self.mid_bins, self.side_bins, self.mid_bands, self.side_bands


def signed_power(x: Tensor, exponent: float) -> Tensor:
    """y = sign(x) |x|^exponent; the inverse has the exponent 1 / exponent."""
    return torch.sign(x) * torch.abs(x) ** exponent


def level_around(y: Tensor, bins: int) -> Tensor:
    """Mean magnitude of ``y (B, K, N)`` over ``bins`` around each, fewer at the ends; one more than a power of two."""
    padding = (0, 0, bins // 2, bins // 2)
    counted = torch.ones(1, y.shape[1], 1, device=y.device, dtype=y.dtype)
    return _running_sum(F.pad(y.abs(), padding), bins) / _running_sum(F.pad(counted, padding), bins)


def _running_sum(x: Tensor, length: int) -> Tensor:
    """Sums over ``length``, 2^k + 1, neighbours along the second axis: k + 1 additions, where pooling takes as many as
    there are neighbours.
    """
    total, covered = x, 1
    while covered < length - 1:
        total = total[:, :-covered] + total[:, covered:]
        covered *= 2
    return total[:, :-1] + x[:, covered:]


class BandReplication(nn.Module):
    """The bins above ``low`` as ``bands`` mean magnitudes, and back by scaling flattened copies of the bins below.

    All are magnitudes to the power ``exponent``.
    """

    mean: Tensor
    spread: Tensor
    source: Tensor

    def __init__(self, bins: int, low: int, bands: int, exponent: float) -> None:
        super().__init__()
        # |y|^order is the power.
        self.order = 2 / exponent
        # Mean of |y| for noise whose power has mean 1: E |X|^exponent for X normally distributed.
        self.noise_mean = 2 ** (exponent / 2) * math.gamma((exponent + 1) / 2) / math.sqrt(math.pi)
        edges = band_edges(low, bins, bands)
        mean = torch.zeros(bands, bins - low)
        for b, (lo, hi) in enumerate(itertools.pairwise(edges)):
            mean[b, lo - low : hi - low] = 1 / (hi - lo)
        # The copied range starts at a quarter of the low bins: below that, single partials stand too far apart.
        source = low // 4 + torch.arange(bins - low) % (low - low // 4)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("spread", (mean > 0).float().T.contiguous(), persistent=False)
        self.register_buffer("source", source, persistent=False)

    def analyse(self, high: Tensor) -> Tensor:
        """``high (B, bins - low, N)`` to mean magnitudes ``(B, bands, N)``, always in float32."""
        with torch.autocast(high.device.type, enabled=False):
            return self.mean @ high.float().abs()

    def synthesise(self, low: Tensor, levels: Tensor) -> Tensor:
        """``low (B, low, N)`` and ``levels (B, bands, N)`` to ``(B, bins - low, N)``, always in float32."""
        with torch.autocast(low.device.type, enabled=False):
            # Flattened to little more than signs: partials copied from below would stand out and leave holes between.
            low = low.float()
            patch = (low / (low.abs() + _FLATTENING * level_around(low, _NEAR)).clamp_min(_TINY))[:, self.source]
            size = (self.mean @ patch.abs() ** self.order).clamp_min(_TINY) ** (1 / self.order)
            return patch * (self.spread @ (levels.float().clamp_min(0) / (self.noise_mean * size)))


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over frames, layer norm over channels, a wide pointwise pair, residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x).transpose(1, 2))
        return x + self.contract(F.gelu(self.expand(h))).transpose(1, 2)


def _residual_net(inputs: int, width: int, blocks: int, outputs: int) -> nn.Sequential:
    last = nn.Conv1d(width, outputs, 1)
    for weight in last.parameters():
        nn.init.zeros_(weight)
    return nn.Sequential(nn.Conv1d(inputs, width, 1), *(ConvNeXtBlock(width) for _ in range(blocks)), last)


def _surroundings(mid: Tensor, side: Tensor) -> Tensor:
    """The level around each of the carried bins ``mid (B, m, N)`` and ``side (B, s, N)`` as (B, m + s, N)."""
    return torch.cat([level_around(mid, _AROUND), level_around(side, _AROUND)], 1)


class _SpectralHalf(nn.Module):
    """What encoder and decoder share; the residual networks hear ``inputs`` channels."""

    def __init__(self, inputs: int, sizes: SpectralSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.mdct = MDCT(sizes.hop)
        self.mid_replication = BandReplication(sizes.hop, sizes.mid_bins, sizes.mid_bands, sizes.exponent)
        self.side_replication = BandReplication(sizes.hop, sizes.side_bins, sizes.side_bands, sizes.exponent)
        self.residual = _residual_net(inputs, sizes.width, sizes.blocks, sizes.mid_bins + sizes.side_bins)


class SpectralEncoder(_SpectralHalf):
    """``wave (B, 2, N hop)`` to ``z (B, D, N)``; see the module docstring for the order of the channels."""

    def forward(self, wave: Tensor) -> Tensor:
        y = signed_power(self.mdct(mid_side(wave)), self.sizes.exponent)
        mid, side = y.unbind(1)
        mid_bins, side_bins = self.sizes.mid_bins, self.sizes.side_bins
        low = mid[:, :mid_bins], side[:, :side_bins]
        carried = torch.cat(low, 1) + _surroundings(*low) * self.residual(y.flatten(1, 2))
        mid_levels = self.mid_replication.analyse(mid[:, mid_bins:])
        side_levels = self.side_replication.analyse(side[:, side_bins:])
        return torch.cat([carried, mid_levels, side_levels], 1)


class SpectralDecoder(_SpectralHalf):
    """``z (B, D, N)`` to ``wave (B, 2, N hop)``."""

    def forward(self, z: Tensor) -> Tensor:
        mid, side, mid_levels, side_levels = z.split(self.sizes.split, 1)
        learned = (_surroundings(mid, side) * self.residual(z)).split(self.sizes.split[:2], 1)
        mid, side = mid + learned[0], side + learned[1]
        above = self.mid_replication.synthesise(mid, mid_levels), self.side_replication.synthesise(side, side_levels)
        y = torch.stack([torch.cat([mid, above[0]], 1), torch.cat([side, above[1]], 1)], 1).float()
        return mid_side(self.mdct.inverse(signed_power(y, 1 / self.sizes.exponent)))


class SpectralCodec(nn.Module, Codec):
    """The codec of the module docstring: stereo, level-keeping, local in time.

    ``sample_rate`` in Hz. Latents are amplitudes to the power ``latent_exponent``.
    """

    keeps_level = True
    channels = 2

    def __init__(self, sample_rate: int = 48000, sizes: SpectralSizes = SpectralSizes()) -> None:
        super().__init__()
        self.sample_rate, self.hop = sample_rate, sizes.hop
        self.latent_channels = sum(sizes.split)
        self.latent_exponent = sizes.exponent
        self.encoder = SpectralEncoder(2 * sizes.hop, sizes)
        self.decoder = SpectralDecoder(self.latent_channels, sizes)
