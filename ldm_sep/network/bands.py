"""Spectrograms in bands, and the 2-D U-Net over bands and frames that hears them.

In a spectrogram a voice keeps its shape when it moves along time or frequency, so convolutions over both learn it from
far less singing than a network that has one weight for each bin; what no shift can tell, which band is which, comes
from residual layers across all bands (time-distributed fully connected layers, Choi et al., arXiv 1912.02591).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.errors import ConfigError

_GROUPS = 4
# Single bins up to here; fractions of an octave above.
_LINEAR_HZ = 3000.0
_BANDS_PER_OCTAVE = 15
# The bottleneck across all bands is this many times narrower than they are.
_SQUEEZE = 4
# Wide bands of one matrix. A matrix of all of them and all their bins would be nearly all zeros.
_TOGETHER = 4


def spectrogram_bands(bins: int, linear_bins: int, bands_per_octave: int) -> list[int]:
    """Edges of bands that are single bins up to ``linear_bins`` and a fraction of an octave above."""
    edges = list(range(linear_bins))
    upper = float(linear_bins)
    while upper < bins - 1:
        edges.append(int(upper))
        upper = max(upper + 1, upper * 2 ** (1 / bands_per_octave))
    return sorted({*edges, bins})


def bands_of(window: int, sample_rate: int) -> list[int]:
    """Edges of the bands of an STFT's ``window`` samples at ``sample_rate`` Hz: single bins up to 3 kHz, fifteenths of
    an octave above.
    """
    bins = window // 2 + 1
    return spectrogram_bands(bins, min(bins - 1, round(_LINEAR_HZ / sample_rate * window)), _BANDS_PER_OCTAVE)


def require_sizes(table: str, window: int, hop: int, channels: Sequence[int]) -> None:
    """ConfigError that names the ``table`` for sizes with which no network can be built."""
    if window % 2 or hop > window // 2:
        raise ConfigError(f"{table}: the window {window} must be even and at least twice the hop {hop}")
    if any(count % _GROUPS for count in channels):
        raise ConfigError(f"{table}: channels {list(channels)} must be multiples of {_GROUPS}")


class BandBlock(nn.Module):
    """Residual convolutions over bands and frames, then a residual bottleneck across all bands of each frame.

    ``forward(x (B, C, bands, frames))`` keeps the shape. A new bottleneck adds nothing.
    """

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.GroupNorm(_GROUPS, channels),
            nn.SiLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(_GROUPS, channels),
            nn.SiLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.norm = nn.GroupNorm(_GROUPS, channels)
        widen = nn.Linear(bands // _SQUEEZE, bands, bias=False)
        narrow = nn.Linear(bands, bands // _SQUEEZE)
        self.across = nn.Sequential(narrow, nn.SiLU(), widen)
        nn.init.zeros_(widen.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs(x).add_(x)
        narrow, widen = cast("list[nn.Linear]", [self.across[0], self.across[2]])
        # Channels lie side by side in memory, so the layers across bands multiply from the left and copy nothing.
        h = narrow.weight @ self.norm(x).permute(0, 2, 3, 1).flatten(2)
        h = widen.weight @ F.silu(h.add_(narrow.bias[:, None]), inplace=True)
        return h.unflatten(2, (x.shape[3], -1)).permute(0, 3, 1, 2).add_(x)


@dataclass(frozen=True)
class Analysis:
    """An STFT's ``window`` (W,), a Hann window, and the map between its bins and bands.

    The first ``single`` bands are one bin each. The wide bands above are taken a few together: each matrix of
    ``members`` (bands, bins) is one where a bin belongs to a band, and ``shares`` has one over the band's width there.
    """

    window: Tensor
    single: int
    members: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]

    def bands(self, bins: Tensor) -> Tensor:
        """Means (..., bands) of ``bins (..., bins)``."""
        wide = bins[..., self.single :].split([member.shape[1] for member in self.members], -1)
        means = [part @ share.T for part, share in zip(wide, self.shares, strict=True)]
        return torch.cat([bins[..., : self.single], *means], -1)

    def bins(self, bands: Tensor) -> Tensor:
        """``bands (..., bands)``, each at all of its bins (..., bins)."""
        wide = bands[..., self.single :].split([member.shape[0] for member in self.members], -1)
        spread = [part @ member for part, member in zip(wide, self.members, strict=True)]
        return torch.cat([bands[..., : self.single], *spread], -1)


# The cache also serves training, and autograd cannot use tensors that were made in inference mode.
@lru_cache(maxsize=16)
@torch.inference_mode(False)
def analysis_of(window: int, edges: tuple[int, ...], device: torch.device) -> Analysis:
    """The `Analysis` of an STFT whose bins are taken together between ``edges``."""
    widths = [last - first for first, last in itertools.pairwise(edges)]
    single = next((i for i, width in enumerate(widths) if width > 1), len(widths))
    together = [widths[i : i + _TOGETHER] for i in range(single, len(widths), _TOGETHER)]
    members = tuple(torch.block_diag(*(torch.ones(1, width) for width in part)).to(device) for part in together)
    shares = tuple(member / member.sum(1, keepdim=True) for member in members)
    return Analysis(torch.hann_window(window, device=device), single, members, shares)


class BandUNet(nn.Module):
    """The 2-D U-Net: ``forward(x (B, inputs, bands, frames)) -> (B, outputs, bands, frames)``.

    The position of each band, -1 to 1, is an additional input channel. Every level but the first has half the bands
    and frames of the one before, so both must be multiples of a power of two: see `padding`.
    ``channels``: of each level, from the full resolution on.
    """

    place: Tensor

    def __init__(self, inputs: int, outputs: int, channels: Sequence[int], bands: int) -> None:
        super().__init__()
        self.multiple = 2 ** (len(channels) - 1)
        padded = -(-bands // self.multiple) * self.multiple
        # A constant, not a weight: it is rebuilt, never stored.
        self.register_buffer("place", torch.linspace(-1, 1, padded), persistent=False)
        *outer, inner = ((width, padded // 2**depth) for depth, width in enumerate(channels))
        self.first = nn.Conv2d(inputs + 1, channels[0], 3, padding=1)
        self.enter = nn.ModuleList(BandBlock(*sizes) for sizes in outer)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(channels))
        self.bottom = nn.Sequential(BandBlock(*inner), BandBlock(*inner))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(channels))
        self.leave = nn.ModuleList(BandBlock(*sizes) for sizes in outer)
        self.last = nn.Sequential(nn.GroupNorm(_GROUPS, channels[0]), nn.SiLU(), nn.Conv2d(channels[0], outputs, 1))

    def padding(self, bands: int, frames: int) -> tuple[int, int, int, int]:
        """Padding for `F.pad` of ``bands`` (at most as many as the network was made for) and ``frames``."""
        return (0, -frames % self.multiple, 0, len(self.place) - bands)

    def forward(self, x: Tensor) -> Tensor:
        place = self.place[:, None].expand(len(x), 1, -1, x.shape[3])
        # Convolutions over two axes are faster where the channels lie side by side.
        x = self.first(torch.cat([x, place], 1).contiguous(memory_format=torch.channels_last))
        skips = []
        for block, down in zip(self.enter, self.down, strict=True):
            x = block(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for block, up in reversed(list(zip(self.leave, self.up, strict=True))):
            # What has been used is let go: at the outermost level it is a large part of all memory.
            x = block(up(x).add_(skips.pop()))
        return self.last(x)


def magnitude(x: Tensor) -> Tensor:
    """|x| of a complex ``x``: several times faster than abs(), which guards against squares that overflow.

    Not for gradients: that of a zero is NaN.
    """
    squares = torch.view_as_real(x).square()
    return (squares[..., 0] + squares[..., 1]).sqrt_()
