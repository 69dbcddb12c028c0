"""Losses on waves. All take ``estimate, reference (B, C, T)`` and return a scalar."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ldm_sep.metrics.spectral import RESOLUTIONS
from ldm_sep.signal.mel import htk_edges, triangles
from ldm_sep.signal.stereo import mid_side

# Floors of the logarithm and of relative errors: 120 dB below full scale for outlines, 60 dB for waveforms, where a
# relative error of anything quieter would only compare noise with noise.
_LOG_FLOOR = 1e-6
_COMPLEX_FLOOR = 1e-3
# Most mel bands. A window of n samples has n // 8 where that is fewer.
_MEL_BANDS = 96
# The least power of a bin, as of the metric MR-STFT.
_POWER_FLOOR = 1e-8
# Added to powers in LSD's logarithm. The metric's 1e-12 would give bins that hold nearly nothing far larger gradients.
_LSD_FLOOR = 1e-9
# Added to LSD's mean squares before the root, whose slope at zero is infinite.
_ROOT_FLOOR = 1e-4
# Mean level in dB of what errors are compared with at least. It lies 30 dB below mixtures at the networks' level: a
# reference that is silent for a whole window would otherwise outweigh all others in a batch.
_CONVERGENCE_DB = -50.0
# Mean level of a bin, in dB, from which on the recording holds it. The rounding of 16 bits is 15 dB below.
_RECORDED_DB = -90.0
# Samples of a frame by which is told how far up a recording reaches.
_REACH_WINDOW = 2048
# Frames further below the loudest are not compared by LSD.
_ACTIVE_DB = -40.0


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


class MagnitudeLoss(nn.Module):
    """MR-STFT plus LSD (`ldm_sep.metrics.spectral`) over the bins in which the reference was recorded at all.

    Some recordings end below the Nyquist frequency. Compared above their end, they would teach that other recordings
    are empty there too. Bins in which the reference has a mean level under -90 dB are left out of both logarithms.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        # Samples of the LSD's frame and hop, 2048 / 44100 s and 10 ms, as of the metric.
        self.frame, self.hop = round(2048 / 44100 * sample_rate), round(sample_rate / 100)

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        # Logarithms of quiet bins need float32.
        with torch.autocast(estimate.device.type, enabled=False):
            waves = estimate.float().flatten(0, 1), reference.float().flatten(0, 1)
            distances = [self._mr_stft(*waves, *sizes) for sizes in RESOLUTIONS]
            return torch.stack(distances).mean() + self._lsd(estimate.float().mean(1), reference.float().mean(1))

    def _mr_stft(self, estimate: Tensor, reference: Tensor, n_fft: int, hop: int, window: int) -> Tensor:
        e, r = (_powers(wave, n_fft, hop, window).clamp_min(_POWER_FLOOR) for wave in (estimate, reference))
        recorded = _recorded(r, window)
        error = (e.sqrt() - r.sqrt()).square().sum((1, 2))
        least = 10 ** (_CONVERGENCE_DB / 10) * window * r[0].numel()
        convergence = (error / (r.sum((1, 2)) + least)).sqrt().mean()
        return convergence + 0.5 * _mean((e / r).log().abs().mean(2), recorded)

    def _lsd(self, estimate: Tensor, reference: Tensor) -> Tensor:
        e, r = (_powers(wave, self.frame, self.hop, self.frame) + _LSD_FLOOR for wave in (estimate, reference))
        recorded = _recorded(r, self.frame)[..., None]
        frames = r.sum(1)
        active = frames > 10 ** (_ACTIVE_DB / 10) * frames.amax(1, keepdim=True)
        squares = (torch.log10(r / e).square() * recorded).sum(1) / recorded.sum(1).clamp_min(1)
        return _mean((squares + _ROOT_FLOOR).sqrt(), active)


def reaches(wave: Tensor, share: float) -> Tensor:
    """Which of ``wave (B, C, T)`` hold sound up to ``share`` of the Nyquist frequency, (B,): more than -90 dB a bin on
    average in the last tenth below it.
    """
    power = _powers(wave.float().mean(1), _REACH_WINDOW, _REACH_WINDOW, _REACH_WINDOW)
    end = round(share * power.shape[1])
    return _recorded(power[:, round(0.9 * end) : end].mean(1, keepdim=True), _REACH_WINDOW)[:, 0]


def _powers(wave: Tensor, n_fft: int, hop: int, window: int) -> Tensor:
    """Squared magnitudes (B, bins, frames) of ``wave (B, T)``, of whole frames: at a mirrored end even a recording that
    ends below the Nyquist frequency has something above.
    """
    hann = torch.hann_window(window, device=wave.device)
    spectrum = torch.stft(wave, n_fft, hop, window, hann, center=False, return_complex=True)
    return torch.view_as_real(spectrum).square().sum(-1)


def _recorded(power: Tensor, window: int) -> Tensor:
    """Which bins (B, bins) the recording holds: those whose mean ``power (B, bins, frames)`` is above -90 dB."""
    return power.mean(2) > 10 ** (_RECORDED_DB / 10) * window


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean of ``values`` that are ``where``; 0 for none."""
    return (values * where).sum() / where.sum().clamp_min(1)


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
