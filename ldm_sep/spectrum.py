"""What the denoiser may hear of the mixture besides its latents: where the energy lies, whatever the phase.

Latents of a transform codec carry signed coefficients, whose signs follow the phase. A linear layer that sums over
bins averages them away, so a network has to spend its first layers on undoing the sign before it can see a
harmonic. A log-magnitude spectrogram shows it at once, and with a longer window than the latents' also more finely.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# 80 dB under the level of a full-scale tone's neighbourhood; quieter bins tell nothing that can be heard.
_FLOOR = 1e-4
# Music at the networks' level has log magnitudes of about -2; the network wants values around zero.
_CENTRE = 2.0


def spectrum_bands(bins: int, linear_bins: int, bands_per_octave: int) -> list[int]:
    """Edges of bands that are single bins up to ``linear_bins`` and a fraction of an octave above."""
    edges = list(range(linear_bins))
    upper = float(linear_bins)
    while upper < bins - 1:
        edges.append(int(upper))
        upper = max(upper + 1, upper * 2 ** (1 / bands_per_octave))
    return sorted({*edges, bins})


class LogSpectrum(nn.Module):
    """Log magnitudes of mid and side in bands, one frame for each latent frame.

    ``forward(wave (B, 2, N hop)) -> (B, channels, N)``: log10 of the mean STFT magnitude (Hann window, over
    sqrt(window)) of each band, plus 2. Frame n is centred on the middle of hop n, as latent frames are. Bands are
    single bins up to ``linear_hz`` and ``1 / bands_per_octave`` of an octave above; the same for mid and side, so
    that their ratio, which tells what is panned to the centre, is a difference of two channels.
    """

    def __init__(
        self, sample_rate: int, hop: int, window: int, linear_hz: float = 4000.0, bands_per_octave: int = 12
    ) -> None:
        super().__init__()
        if window < hop or window % 2 or hop % 2:
            raise ValueError(f"the window {window} and the hop {hop} must be even, and the window no shorter")
        self.hop, self.window = hop, window
        bins = window // 2 + 1
        edges = spectrum_bands(bins, round(linear_hz / sample_rate * window), bands_per_octave)
        mean = torch.zeros(len(edges) - 1, bins)
        for band, (first, last) in enumerate(itertools.pairwise(edges)):
            mean[band, first:last] = 1 / (last - first)
        self.channels = 2 * len(mean)
        # Constants, not weights: they are rebuilt, never stored.
        self.register_buffer("mean", mean / math.sqrt(window), persistent=False)
        self.register_buffer("hann", torch.hann_window(window), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):
            left, right = wave.float().unbind(1)
            mid_side = torch.cat([left + right, left - right]) * math.sqrt(0.5)
            before = (self.window - self.hop) // 2
            padded = F.pad(mid_side, (before, self.window - self.hop - before))
            spectrum = torch.stft(padded, self.window, self.hop, window=self.hann, center=False, return_complex=True)
            level = torch.log10(self.mean @ spectrum.abs() + _FLOOR) + _CENTRE
            return torch.cat(level.chunk(2), 1)
