"""The predictive half: the vocals as a soft mask of the mixture's spectrogram, by a small 2-D U-Net.

Diffusion from a good guess is easier than from the mixture alone: a predictive model finds where the voice is, the
generative one makes of it what a voice sounds like (StoRM, Lemercier et al., arXiv 2212.11851). In a spectrogram a
voice keeps its shape when it moves along time or frequency, so convolutions over both learn it from far less singing
than a network that has one weight for each bin; what no shift can tell, which band is which, comes from residual layers
across all bands (time-distributed fully connected layers, Choi et al., arXiv 1912.02591).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.errors import ConfigError
from ldm_sep.signal.stereo import mid_side
from ldm_sep.signal.stft import RUN, istft_runs, stft_runs

_GROUPS = 4
# Single bins up to here; fractions of an octave above.
_LINEAR_HZ = 3000.0
_BANDS_PER_OCTAVE = 15
# The bottleneck across all bands is this many times narrower than they are.
_SQUEEZE = 4
# Added to magnitudes before the logarithm. It lies 80 dB below a full-scale tone: quieter bins are inaudible.
_FLOOR = 1e-4
# Wide bands that are taken together: a matrix of all of them and all their bins is nearly all zeros.
_TOGETHER = 4
# Added to log magnitudes. Music at the networks' level has values of about -2; the network wants them around zero.
_CENTRE = 2.0


def spectrogram_bands(bins: int, linear_bins: int, bands_per_octave: int) -> list[int]:
    """Edges of bands that are single bins up to ``linear_bins`` and a fraction of an octave above."""
    edges = list(range(linear_bins))
    upper = float(linear_bins)
    while upper < bins - 1:
        edges.append(int(upper))
        upper = max(upper + 1, upper * 2 ** (1 / bands_per_octave))
    return sorted({*edges, bins})


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
class _Analysis:
    """What a spectrogram is made with: the Hann ``window``, how many bands are ``single`` bins, and which of the wide
    bands, a few together, each further bin is in, as ones in matrices (bands, bins), or one over the band's width.
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


# Kept for training too, which cannot use what was made in inference mode.
@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _analysis(window: int, edges: tuple[int, ...], device: torch.device) -> _Analysis:
    widths = [last - first for first, last in itertools.pairwise(edges)]
    single = next((i for i, width in enumerate(widths) if width > 1), len(widths))
    together = [widths[i : i + _TOGETHER] for i in range(single, len(widths), _TOGETHER)]
    members = tuple(torch.block_diag(*(torch.ones(1, width) for width in part)).to(device) for part in together)
    shares = tuple(member / member.sum(1, keepdim=True) for member in members)
    return _Analysis(torch.hann_window(window, device=device), single, members, shares)


class MaskPredictor(nn.Module):
    """Vocals as a mask in (0, 1) of the mixture's STFT (Hann window), one for mid and one for side.

    ``forward(mixture (B, 2, T), speeds) -> (B, 2, T)``, any T. The network hears log10 magnitudes of left, right, mid
    and side in bands (single bins up to 3 kHz, fifteenths of an octave above) and each band's place; from the four it
    can tell what is panned where. It works best on mixtures of the networks' level (`ldm_sep.method.level`).

    At a speed of 1.5 it hears what the mixture would be if played one and a half times as fast, and so higher: window
    and hop of the STFT are 1.5 times as long, and bin k is heard as bin k. A voice that is lower than those it was
    trained on may be familiar there. The mean of the estimates at all ``speeds`` is returned.

    Parameters ---------- sample_rate: Hz. ``window``, ``hop``: samples of the STFT. channels: of the U-Net's levels,
    from the full resolution on, each at half of that before; multiples of 4. exponent: power of the mask, 1 in
    training, where ``forward`` is given none. Below 1 the mask opens: unfamiliar voices
        are otherwise cut too much.
    """

    place: Tensor

    def __init__(
        self,
        sample_rate: int,
        window: int,
        hop: int,
        channels: Sequence[int],
        *,
        exponent: float = 1.0,
    ) -> None:
        super().__init__()
        if window % 2 or hop > window // 2:
            raise ConfigError(f"predictor: the window {window} must be even and at least twice the hop {hop}")
        if any(count % _GROUPS for count in channels):
            raise ConfigError(f"predictor: channels {list(channels)} must be multiples of {_GROUPS}")
        self.window, self.hop, self.exponent = window, hop, exponent
        bins = window // 2 + 1
        self.edges = spectrogram_bands(bins, min(bins - 1, round(_LINEAR_HZ / sample_rate * window)), _BANDS_PER_OCTAVE)
        bands = len(self.edges) - 1
        # All levels halve bands and frames, so both are padded to a multiple.
        self.multiple = 2 ** (len(channels) - 1)
        padded = -(-bands // self.multiple) * self.multiple
        # A constant, not a weight: it is rebuilt, never stored.
        self.register_buffer("place", torch.linspace(-1, 1, padded), persistent=False)
        *outer, inner = ((width, padded // 2**depth) for depth, width in enumerate(channels))
        self.first = nn.Conv2d(5, channels[0], 3, padding=1)
        self.enter = nn.ModuleList(BandBlock(*sizes) for sizes in outer)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(channels))
        self.bottom = nn.Sequential(BandBlock(*inner), BandBlock(*inner))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(channels))
        self.leave = nn.ModuleList(BandBlock(*sizes) for sizes in outer)
        self.last = nn.Sequential(nn.GroupNorm(_GROUPS, channels[0]), nn.SiLU(), nn.Conv2d(channels[0], 2, 1))

    def forward(self, mixture: Tensor, speeds: Sequence[float] = (1.0,), power: float | None = None) -> Tensor:
        both = mid_side(mixture.float())
        exponent = self.exponent if power is None else power
        return mid_side(torch.stack([self._masked(both, speed, exponent) for speed in speeds]).mean(0))

    def _masked(self, both: Tensor, speed: float, exponent: float) -> Tensor:
        """The estimate, mid and side as ``both (B, 2, T)`` of the mixture, heard at ``speed``."""
        window, hop = 2 * round(self.window * speed / 2), round(self.hop * speed)
        bins = window // 2 + 1
        # What lies above the network's own bins is heard as its topmost band.
        edges = (*(edge for edge in self.edges[:-1] if edge < bins), bins)
        analysis = _analysis(window, edges, both.device)
        with torch.autocast(both.device.type, enabled=False):
            spectra = stft_runs(both, analysis.window, hop)
            # As loud as in a window of the network's own length.
            scale = math.sqrt(self.window) / window
            heard = both.new_empty(len(both), 4, both.shape[2] // hop + 1, len(edges) - 1)
            for i, spectrum in enumerate(spectra):
                heard[:, :, i * RUN : (i + 1) * RUN] = _heard(spectrum, analysis, scale)
        logits = self._logits(heard.mT).mT
        with torch.autocast(both.device.type, enabled=False):
            masks = (analysis.bins(torch.sigmoid(run) ** exponent) for run in logits.float().split(RUN, 2))
            masked = (spectrum * mask for spectrum, mask in zip(spectra, masks, strict=True))
            return istft_runs(masked, analysis.window, hop, both.shape[2])

    def _logits(self, heard: Tensor) -> Tensor:
        """Logits of the masks of mid and side (B, 2, bands, frames) from what is ``heard (B, 4, bands, frames)``."""
        bands, frames = heard.shape[2:]
        padding = (0, -frames % self.multiple, 0, len(self.place) - bands)
        x = F.pad(heard, padding, value=math.log10(_FLOOR) + _CENTRE)
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
        return self.last(x)[:, :, :bands, :frames]


def _heard(spectrum: Tensor, analysis: _Analysis, scale: float) -> Tensor:
    """Log magnitudes (B, 4, frames, bands) of left, right, mid and side from the ``spectrum (B, 2, frames, bins)`` of
    mid and side, which is multiplied by ``scale``.
    """
    mid, side = spectrum.unbind(1)
    bands = analysis.bands(torch.stack([_magnitude(x) for x in (mid + side, mid - side, mid, side)], 1))
    # Left and right are (mid +- side) / sqrt(2).
    bands[:, :2] *= math.sqrt(0.5)
    return torch.log10(scale * bands + _FLOOR) + _CENTRE


def _magnitude(x: Tensor) -> Tensor:
    """|x| of a complex ``x``: several times faster than abs(), which guards against squares that overflow."""
    squares = torch.view_as_real(x).square()
    return (squares[..., 0] + squares[..., 1]).sqrt_()
