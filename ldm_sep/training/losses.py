"""Losses on waves, for training codecs. All take ``estimate, reference (B, C, T)`` and return a scalar."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ldm_sep.signal.mel import htk_edges, triangles
from ldm_sep.signal.stereo import mid_side

# Floors of the logarithm and of relative errors: 120 dB below full scale for outlines, 60 dB for waveforms, where a
# relative error of anything quieter would only compare noise with noise.
_LOG_FLOOR = 1e-6
_COMPLEX_FLOOR = 1e-3
# At most; short windows have fewer bins.
_MEL_BANDS = 96


def loss_filters(bins: int, bands: int, sample_rate: int) -> Tensor:
    """Triangular filters ``(bands, bins)`` of unit sum, spaced evenly on the mel scale 2595 log10(1 + f / 700)."""
    nyquist = sample_rate / 2
    # Widened to the distance of the bins: the lowest bands would otherwise be empty.
    filters = triangles(htk_edges(nyquist, bands), np.linspace(0, nyquist, bins), nyquist / (bins - 1))
    return torch.from_numpy(filters / filters.sum(1, keepdims=True)).float()


def thresholded_snr_loss(estimate: Tensor, reference: Tensor, mixture: Tensor, floor: float = 1e-3) -> Tensor:
    """Mean over items of log10((|e - s|^2 + f |m|^2) / (|s|^2 + f |m|^2)), the negative SNR in bels.

    The floor f |m|^2 (30 dB under the mixture) bounds it where the reference is silent and where the estimate is
    good already, as in Wisdom et al., "Unsupervised sound separation using mixture invariant training" (2020).
    """
    threshold = floor * mixture.square().mean((1, 2)) + 1e-10
    error = (estimate - reference).square().mean((1, 2)) + threshold
    return torch.log10(error / (reference.square().mean((1, 2)) + threshold)).mean()


class MultiScaleSpectralLoss(nn.Module):
    """Complex and log-mel distances over several STFT sizes, of mid and side.

    For each size, L1 between log mel magnitudes (the outline, at any level) plus L1 between complex STFTs relative
    to the reference's mean magnitude (the waveform), both with floors, so that silence neither divides by zero nor
    outweighs sound.
    """

    def __init__(self, sample_rate: int, sizes: Sequence[int] = (512, 1024, 2048), complex_weight: float = 1.0) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.complex_weight = complex_weight
        for n in self.sizes:
            self.register_buffer(f"window_{n}", torch.hann_window(n), persistent=False)
            filters = loss_filters(n // 2 + 1, min(_MEL_BANDS, n // 8), sample_rate)
            self.register_buffer(f"mel_{n}", filters, persistent=False)

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        # Logarithms of quiet bands need float32.
        with torch.autocast(estimate.device.type, enabled=False):
            distances = [self._distance(estimate.float(), reference.float(), n) for n in self.sizes]
        return torch.stack(distances).mean()

    def _distance(self, estimate: Tensor, reference: Tensor, n: int) -> Tensor:
        est, ref = self._stft(estimate, n), self._stft(reference, n)
        scale = ref.abs().mean((1, 2, 3), keepdim=True) + _COMPLEX_FLOOR * n**0.5
        filters = getattr(self, f"mel_{n}")
        log_est = torch.log10(filters @ est.abs() + _LOG_FLOOR * n**0.5)
        log_ref = torch.log10(filters @ ref.abs() + _LOG_FLOOR * n**0.5)
        complex_distance = torch.view_as_real((est - ref) / scale).abs().mean()
        return (log_est - log_ref).abs().mean() + self.complex_weight * complex_distance

    def _stft(self, wave: Tensor, n: int) -> Tensor:
        if wave.shape[1] == 2:
            wave = mid_side(wave)
        window = getattr(self, f"window_{n}")
        flat = torch.stft(wave.flatten(0, 1), n, n // 4, window=window, return_complex=True)
        return flat.unflatten(0, wave.shape[:2])
