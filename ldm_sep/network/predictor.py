"""The predictive half: the vocals as a soft mask of the mixture's spectrogram, by a small 2-D U-Net.

Diffusion from a good guess is easier than from the mixture alone: a predictive model finds where the voice is, the
generative one makes of it what a voice sounds like (StoRM, Lemercier et al., arXiv 2212.11851).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.network.bands import Analysis, BandUNet, analysis_of, bands_of, magnitude, require_sizes
from ldm_sep.signal.stereo import mid_side
from ldm_sep.signal.stft import RUN, istft_runs, stft_runs

# Added to scaled magnitudes before the logarithm, 80 dB below a magnitude of 1. A full-scale tone has the magnitude
# sqrt(window) / 4, which is 16 at a window of 4096, and lies 104 dB above it: quieter bins are inaudible.
_FLOOR = 1e-4
# Added to log magnitudes. Music at the networks' level has values of about -2; the network wants them around zero.
_CENTRE = 2.0


class MaskPredictor(nn.Module):
    """Vocals as a mask in (0, 1) of the mixture's STFT (Hann window), one for mid and one for side.

    ``forward(mixture (B, 2, T), speeds) -> (B, 2, T)``, any T. The network hears log10 magnitudes of left, right, mid
    and side in bands (single bins up to 3 kHz, fifteenths of an octave above) and each band's place; from the four it
    can tell what is panned where. It works best on mixtures of the networks' level (`ldm_sep.method.level`).

    At a speed of 1.5 it hears what the mixture would be if played one and a half times as fast, and so higher: window
    and hop of the STFT are 1.5 times as long, and bin k is heard as bin k. A voice that is lower than those it was
    trained on may be familiar there. The mean of the estimates at all ``speeds`` is returned.

    ``sample_rate`` in Hz. ``window``, ``hop``: samples of the STFT. ``channels``: of the U-Net's levels, from the full
    resolution on, each at half the resolution of the one before; multiples of 4. ``exponent``: power of the mask where
    ``forward`` is given none. Below 1 the mask opens: unfamiliar voices are otherwise cut too much. The predictor is
    trained at 1. ConfigError for sizes with which no network can be built.
    """

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
        require_sizes("predictor", window, hop, channels)
        self.window, self.hop, self.exponent = window, hop, exponent
        self.edges = bands_of(window, sample_rate)
        self.net = BandUNet(4, 2, channels, len(self.edges) - 1)

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
        analysis = analysis_of(window, edges, both.device)
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
        padded = F.pad(heard, self.net.padding(bands, frames), value=math.log10(_FLOOR) + _CENTRE)
        return self.net(padded)[:, :, :bands, :frames]


def _heard(spectrum: Tensor, analysis: Analysis, scale: float) -> Tensor:
    """Log magnitudes (B, 4, frames, bands) of left, right, mid and side from the ``spectrum (B, 2, frames, bins)`` of
    mid and side, which is multiplied by ``scale``.
    """
    mid, side = spectrum.unbind(1)
    bands = analysis.bands(torch.stack([magnitude(x) for x in (mid + side, mid - side, mid, side)], 1))
    # Left and right are (mid +- side) / sqrt(2).
    bands[:, :2] *= math.sqrt(0.5)
    return torch.log10(scale * bands + _FLOOR) + _CENTRE
