"""What the stages of a separator's training minimise. Only networks that are trained run in mixed precision."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ldm_sep.config import SeparatorTrainingConfig
from ldm_sep.method.diffusion import add_noise, truncated_snr_weight, v_target, z0_from_v
from ldm_sep.method.level import normalising_gain
from ldm_sep.method.model import LatentSeparator
from ldm_sep.training.loop import in_precision
from ldm_sep.training.losses import MagnitudeLoss, MultiScaleSpectralLoss, reaches, thresholded_snr_loss
from ldm_sep.training.pairs import Pairs, needed

# Weight of the distortion in the post-filter's loss: enough that no SI-SDR is lost.
_DISTORTION = 0.3
# Share of the Nyquist frequency that vocals reach from which the post-filter learns: 16 kHz at 48 kHz.
_REACH = 2 / 3


class PredictorObjective(nn.Module):
    """What the predictor is asked for: the vocals' wave, by its thresholded SNR in bels, and its log-mel outline.

    ``forward(vocals, mixture (B, C, T), speed)``: the predictor hears the mixture at the one ``speed``, a scalar.
    """

    def __init__(self, separator: LatentSeparator, settings: SeparatorTrainingConfig) -> None:
        super().__init__()
        self.separator, self.settings = separator, settings
        self.spectral = MultiScaleSpectralLoss(separator.codec.sample_rate, (1024, 2048), complex_weight=0.0)

    def forward(self, vocals: Tensor, mixture: Tensor, speed: Tensor) -> Mapping[str, Tensor]:
        gain = normalising_gain(mixture)
        reference, mixture = vocals * gain, mixture * gain
        with in_precision(self.settings.precision, mixture.device):
            # The exponent opens the finished mask. Trained through it, the mask would learn to make up for it.
            estimate = self.separator.estimate(mixture, (float(speed),), power=1.0)
        distortion = thresholded_snr_loss(estimate, reference, mixture)
        if self.settings.outline_weight == 0:
            return {"loss": distortion}
        outline = self.spectral(estimate, reference)
        loss = distortion + self.settings.outline_weight * outline
        return {"loss": loss, "snr_loss": distortion, "outline_loss": outline}


class PostFilterObjective(nn.Module):
    """What the post-filter is asked for: the magnitudes of the vocals' spectra (`MagnitudeLoss`), and no distortion of
    their wave in return (its thresholded SNR in bels).

    Only items count whose vocals reach two thirds of the Nyquist frequency (`reaches`). From others the filter learns
    that voices have little air, and takes it from those that have.

    ``forward(vocals, mixture, estimate (B, C, T))``, all at the networks' level.
    """

    def __init__(self, separator: LatentSeparator, settings: SeparatorTrainingConfig) -> None:
        super().__init__()
        self.separator, self.settings = separator, settings
        self.magnitudes = MagnitudeLoss(separator.codec.sample_rate)

    def forward(self, vocals: Tensor, mixture: Tensor, estimate: Tensor) -> Mapping[str, Tensor]:
        post_filter = self.separator.get_submodule("post_filter")
        counted = reaches(vocals, _REACH)
        # The mean of none would be NaN.
        if not counted.any():
            nothing = torch.stack([0 * weight.sum() for weight in post_filter.parameters()]).sum()
            return dict.fromkeys(("loss", "magnitude_loss", "snr_loss"), nothing)
        vocals, mixture, estimate = vocals[counted], mixture[counted], estimate[counted]
        with in_precision(self.settings.precision, mixture.device):
            filtered = post_filter(estimate, mixture)
        distance = self.magnitudes(filtered, vocals)
        distortion = thresholded_snr_loss(filtered, vocals, mixture)
        return {
            "loss": distance + _DISTORTION * distortion,
            "magnitude_loss": distance,
            "snr_loss": distortion,
        }


class SeparatorObjective(nn.Module):
    """Eq. (9): E |v_hat - v|^2 over (vocals, mixture) pairs, with the optional weights of `SeparatorTrainingConfig`.

    ``forward(pairs, noise (B, D, N), t (B,), from_estimate (B,))``; the pairs without ``cond`` get theirs from the
    conditioner. For a separator that refines the loss is E |z0_hat - z0|^2, the same times sigma^2, and the noised
    latents are those of the estimate where ``from_estimate`` is true.
    """

    channel_weight: Tensor

    def __init__(self, separator: LatentSeparator, settings: SeparatorTrainingConfig) -> None:
        super().__init__()
        self.separator, self.settings = separator, settings
        self.spectral = MultiScaleSpectralLoss(separator.codec.sample_rate, (1024, 2048), complex_weight=0.0)
        weight = separator.whitening.std**settings.channel_weight_power
        self.register_buffer("channel_weight", weight / weight.mean(), persistent=False)

    def forward(self, pairs: Pairs, noise: Tensor, t: Tensor, from_estimate: Tensor) -> Mapping[str, Tensor]:
        settings, separator, z0 = self.settings, self.separator, needed(pairs.z0)
        cond = pairs.cond
        if cond is None:
            cond = separator.conditioning(needed(pairs.mixture), pairs.estimate)
        estimate = cond[:, -z0.shape[1] :]
        z_t = add_noise(torch.where(from_estimate[:, None, None], estimate, z0), noise, t)
        with in_precision(settings.precision, z_t.device):
            v_hat = separator.predict_v(z_t, t, cond)
        error = z0_from_v(z_t, v_hat, t) - z0 if separator.refines else v_hat - v_target(z0, noise, t)
        error = error.square() * self.channel_weight
        weighted = error if settings.max_snr is None else error * truncated_snr_weight(t, settings.max_snr)
        loss = weighted.mean()
        losses = {"v_loss": loss}
        if separator.level_head is not None:
            z0_hat = z0_from_v(z_t, v_hat, t).detach()
            losses["level_loss"] = separator.level_head.loss(z0_hat, cond[:, : z0.shape[1]], pairs.level_db)
            loss = loss + settings.level_weight * losses["level_loss"]
        if settings.decoder_weight > 0:
            terminal = t == settings.latest
            losses["decoder_loss"] = self._decoder_loss(pairs, z0_from_v(z_t, v_hat, t)[terminal], terminal)
            loss = loss + settings.decoder_weight * losses["decoder_loss"]
        return {"loss": loss, **losses}

    def _decoder_loss(self, pairs: Pairs, z0_hat: Tensor, terminal: Tensor) -> Tensor:
        # A batch may have no item at the times where sampling begins. The mean of none would be NaN.
        if not terminal.any():
            return z0_hat.new_zeros(())
        estimate = None if pairs.estimate is None else pairs.estimate[terminal]
        decoded = self.separator.decode(z0_hat, estimate)
        reference = needed(pairs.vocals)[terminal]
        distortion = thresholded_snr_loss(decoded, reference, needed(pairs.mixture)[terminal])
        return distortion + self.settings.outline_weight * self.spectral(decoded, reference)
