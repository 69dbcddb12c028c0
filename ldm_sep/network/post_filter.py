"""The post-filter corrects the vocals' levels in bands, as ears compare them; the mask was made for waveforms."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.network.bands import BandUNet, analysis_of, bands_of, magnitude, require_sizes
from ldm_sep.signal.stereo import mid_side
from ldm_sep.signal.stft import RUN, istft_runs, stft_runs

# Added to scaled magnitudes before the logarithm: a tenth of the predictor's, since quiet bands matter here.
_FLOOR = 1e-5
# Added to log magnitudes, to bring them around zero.
_CENTRE = 3.0
# Mean square of a Hann window.
_HANN_POWER = 0.375
# Natural logarithms of gains: bounds of the vocals' g and of the mixture's h, and the h of a new post-filter, which
# adds the mixture 43 dB below itself.
_OWN, _MIXTURE, _BEGIN = (-6.0, 2.0), (-9.0, 0.0), -5.0


class PostFilter(nn.Module):
    """Vocals ``Y = exp(g) E + exp(h) M``, E and M the STFTs (Hann window) of estimate and mixture, mid and side.

    ``forward(vocals, mixture (B, 2, T)) -> (B, 2, T)``, any T, both at the networks' level. A small 2-D U-Net hears the
    log magnitudes of both in bands (`network.bands`) and gives every band and frame its g and h. A loss on waves, as
    the predictor's, is indifferent to what lies 30 dB under the rest; ears and log-spectral distances are not, and a
    post-filter is trained on these (`training.objectives.PostFilterObjective`). A new one changes next to nothing.

    ``window``, ``hop``: samples of the STFT. ``channels``: of the U-Net's levels, as of the predictor.
    """

    def __init__(self, sample_rate: int, window: int, hop: int, channels: Sequence[int]) -> None:
        super().__init__()
        require_sizes("post_filter", window, hop, channels)
        self.window, self.hop = window, hop
        self.edges = tuple(bands_of(window, sample_rate))
        self.net = BandUNet(6, 4, channels, len(self.edges) - 1)
        last = cast("nn.Conv2d", self.net.last[-1])
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            cast("Tensor", last.bias).copy_(torch.tensor([0.0, 0.0, _BEGIN, _BEGIN]))

    def forward(self, vocals: Tensor, mixture: Tensor) -> Tensor:
        waves = torch.cat([mid_side(wave.float()) for wave in (mixture, vocals)], 1)
        analysis = analysis_of(self.window, self.edges, waves.device)
        with torch.autocast(waves.device.type, enabled=False):
            spectra = stft_runs(waves, analysis.window, self.hop)
            levels = torch.cat([analysis.bands(magnitude(run)) for run in spectra], 2)
            levels = torch.log10(levels / (self.window * _HANN_POWER) ** 0.5 + _FLOOR)
        whole, own = levels.mT.chunk(2, 1)
        logs = self._log_gains(torch.cat([whole, own, whole - own], 1) + _CENTRE).mT
        with torch.autocast(waves.device.type, enabled=False):
            filtered = (
                analysis.bins(torch.exp(log[:, :2].clamp(*_OWN))) * run[:, 2:]
                + analysis.bins(torch.exp(log[:, 2:].clamp(*_MIXTURE))) * run[:, :2]
                for log, run in zip(logs.float().split(RUN, 2), spectra, strict=True)
            )
            return mid_side(istft_runs(filtered, analysis.window, self.hop, waves.shape[2]))

    def _log_gains(self, heard: Tensor) -> Tensor:
        """g and h (B, 4, bands, frames), mid and side of each, from what is ``heard (B, 6, bands, frames)``."""
        bands, frames = heard.shape[2:]
        # The edges go on as they are: silence would be an onset to the network.
        padded = F.pad(heard, self.net.padding(bands, frames), mode="replicate")
        return self.net(padded)[:, :, :bands, :frames]
