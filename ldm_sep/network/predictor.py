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
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.errors import ConfigError
from ldm_sep.signal.stereo import mid_side

_GROUPS = 4
# Single bins up to here; fractions of an octave above.
_LINEAR_HZ = 3000.0
_BANDS_PER_OCTAVE = 15
# The bottleneck across all bands is this many times narrower than they are.
_SQUEEZE = 4
# Added to magnitudes before the logarithm. It lies 80 dB below a full-scale tone: quieter bins are inaudible.
_FLOOR = 1e-4
# Frames.
_TOGETHER = 32
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
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(_GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.norm = nn.GroupNorm(_GROUPS, channels)
        widen = nn.Linear(bands // _SQUEEZE, bands, bias=False)
        narrow = nn.Linear(bands, bands // _SQUEEZE)
        self.across = nn.Sequential(narrow, nn.SiLU(), widen)
        nn.init.zeros_(widen.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.convs(x)
        narrow, widen = cast("list[nn.Linear]", [self.across[0], self.across[2]])
        # Channels lie side by side in memory, so the layers across bands multiply from the left and copy nothing.
        h = self.norm(x).permute(0, 2, 3, 1)
        h = widen.weight @ F.silu(narrow.weight @ h.flatten(2) + narrow.bias[:, None])
        return x + h.unflatten(2, (x.shape[3], -1)).permute(0, 3, 1, 2)


# Kept for training too, which cannot use what was made in inference mode.
@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _analysis(window: int, edges: tuple[int, ...], device: torch.device) -> tuple[Tensor, int, Tensor]:
    """The Hann window, how many bands are single bins, and which of the wide bands each further bin is in, as ones in
    a matrix (bands, bins).
    """
    single = next((i for i, (first, last) in enumerate(itertools.pairwise(edges)) if last - first > 1), edges[-1])
    wide = [edge - edges[single] for edge in edges[single:]] if single < edges[-1] else [0]
    member = torch.zeros(len(wide) - 1, wide[-1], device=device)
    for band, (first, last) in enumerate(itertools.pairwise(wide)):
        member[band, first:last] = 1
    return torch.hann_window(window, device=device), single, member


def _under_mask(spectrum: Tensor, logits: Tensor, single: int, member: Tensor, exponent: float) -> Tensor:
    """``spectrum (B, 2, frames, bins)`` times the mask that ``logits (B, 2, frames, bands)`` stand for."""
    mask = torch.sigmoid(logits) ** exponent
    mask = torch.cat([mask[..., :single], mask[..., single:] @ member], 3)
    # Real numbers: a complex product would take the mask as complex too.
    return torch.view_as_complex(torch.view_as_real(spectrum) * mask[..., None])


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
        hann, single, member = _analysis(window, edges, both.device)
        with torch.autocast(both.device.type, enabled=False):
            # Frames before bins, as stft leaves them in memory.
            spectrum = torch.stft(
                both.flatten(0, 1), window, hop, window=hann, pad_mode="constant", return_complex=True
            ).mT.unflatten(0, (-1, 2))
            # As loud as in a window of the network's own length.
            scale = math.sqrt(self.window) / window
            # A few frames at a time: what lies between stays in the processor's cache.
            parts = [self._heard(part, single, member, scale) for part in spectrum.split(_TOGETHER, 2)]
            heard = torch.cat(parts, 2)
        logits = self._logits(heard.mT).mT
        with torch.autocast(both.device.type, enabled=False):
            pairs = zip(spectrum.split(_TOGETHER, 2), logits.float().split(_TOGETHER, 2), strict=True)
            masked = torch.cat([_under_mask(*pair, single, member, exponent) for pair in pairs], 2)
            wave = torch.istft(masked.mT.flatten(0, 1), window, hop, window=hann, length=both.shape[2])
        return wave.unflatten(0, (-1, 2))

    def _heard(self, spectrum: Tensor, single: int, member: Tensor, scale: float) -> Tensor:
        """Log magnitudes (B, 4, frames, bands) of left, right, mid and side from the ``spectrum (B, 2, frames, bins)``
        of mid and side.
        """
        values = torch.view_as_real(spectrum)
        values = torch.cat([mid_side(values), values], 1)
        # Several times faster than abs(), which guards against numbers whose squares overflow.
        magnitudes = (values[..., 0].square() + values[..., 1].square()).sqrt()
        wide = magnitudes[..., single:] @ (member / member.sum(1, keepdim=True)).T
        return torch.log10(scale * torch.cat([magnitudes[..., :single], wide], 3) + _FLOOR) + _CENTRE

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
        for block, up, skip in reversed(list(zip(self.leave, self.up, skips, strict=True))):
            x = block(skip + up(x))
        return self.last(x)[:, :, :bands, :frames]
