"""`LatentSeparator`: frozen codec, conditioner and denoiser as one module."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.codec.base import Codec
from ldm_sep.diffusion import alpha_sigma, sample, schedule
from ldm_sep.level import LevelHead, normalising_gain, set_level


class Whitening(nn.Module):
    """Per-channel mean and standard deviation of a codec's latents, (D, 1) each, as measured constants."""

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_channels, 1))
        self.register_buffer("std", torch.ones(latent_channels, 1))

    def forward(self, z: Tensor) -> Tensor:
        """Raw latents (B, D, N) to whitened ones."""
        return (z - self.mean) / self.std

    def inverse(self, z: Tensor) -> Tensor:
        """Whitened latents (B, D, N) to raw ones."""
        return z * self.std + self.mean

    @torch.no_grad()
    def measure(self, batches: list[Tensor]) -> None:
        """Set the constants from raw latents. The floor, a fiftieth of the median std, keeps dead channels finite."""
        total = torch.cat([z.transpose(0, 1).flatten(1) for z in batches], 1).double()
        std = total.std(1)
        self.mean.copy_(total.mean(1)[:, None])
        self.std.copy_(std.clamp_min(float(std.median()) / 50 + 1e-8)[:, None])


class LatentSeparator(nn.Module):
    """The vocals' latents given the mixture's, by v-objective diffusion.

    ``codec`` is frozen at all times. The conditioner starts as a copy of its encoder; `set_stage` freezes it (stage
    1) or trains it too (stage 2). ``unet(z_t, t, cond)`` predicts v.

    With ``gated_anchor`` the U-Net emits two tensors r, g (2 D channels) and v_hat = r - sigma gate(g) c, where c is
    the conditioner's latent: at t = 1, where z0_hat = -v_hat, the estimate is a soft mask of the mixture's latents
    plus a correction. This pays where latents are nearly additive; it stays a v-prediction without a singularity at
    t = 0.

    The gate is the sigmoid to the power ``mask_exponent``. Where latents are signed square roots (`spectral`), 0.5
    makes sigmoid(g) the mask of the coefficients themselves; their posterior mean, not that of their roots, is what the
    ear and every distortion measure get. A mask of the roots that is uncertain squares to too little.

    With ``spectrum`` the U-Net also hears the mixture's log-magnitude spectrum (`ldm_sep.spectrum.LogSpectrum`), as
    further channels of its condition.

    A codec that loses the level needs ``level_head``. ``refiner(vocals, mixture)``, where there is one, has the last
    word on the decoded wave.
    """

    def __init__(
        self,
        codec: Codec,
        unet: nn.Module,
        *,
        gated_anchor: bool = False,
        spectrum: nn.Module | None = None,
        level_head: LevelHead | None = None,
        refiner: nn.Module | None = None,
        mask_exponent: float = 1.0,
    ) -> None:
        super().__init__()
        if not codec.keeps_level and level_head is None:
            raise ValueError("this codec's latents lose the level: a level head is needed")
        self.codec = codec
        self.conditioner = copy.deepcopy(codec.encoder)
        self.unet = unet
        self.whitening = Whitening(codec.latent_channels)
        self.gated_anchor = gated_anchor
        self.spectrum = spectrum
        self.level_head = level_head
        self.refiner = refiner
        self.mask_exponent = mask_exponent
        self.set_stage(1)

    def set_stage(self, stage: int) -> None:
        """1: the conditioner is frozen; 2: it is trained. The codec never is. ValueError for other stages."""
        if stage not in (1, 2):
            raise ValueError(f"the stage is 1 or 2, not {stage}")
        self.codec.requires_grad_(False)
        self.conditioner.requires_grad_(stage == 2)

    def parameter_groups(self, learning_rate: float, conditioner_rate: float) -> list[dict]:
        """AdamW groups of the trainable weights; the conditioner's rate is ``conditioner_rate`` times the others'."""
        conditioner = [p for p in self.conditioner.parameters() if p.requires_grad]
        rest = list(self.unet.parameters())
        if self.level_head is not None:
            rest += list(self.level_head.parameters())
        groups = [{"params": rest, "lr": learning_rate}]
        if conditioner:
            groups.append({"params": conditioner, "lr": learning_rate * conditioner_rate})
        return groups

    @torch.no_grad()
    def encode(self, vocals: Tensor) -> Tensor:
        """``vocals (B, C, T)`` at the network's level to whitened latents z0 (B, D, N)."""
        return self.whitening(self.codec.encoder(vocals))

    def condition(self, mixture: Tensor) -> Tensor:
        """``mixture (B, C, T)`` at the network's level to the condition (B, E, N): its whitened latents first, then
        its spectrum, where there is one.
        """
        latents = self.whitening(self.conditioner(mixture))
        return latents if self.spectrum is None else torch.cat([latents, self.spectrum(mixture)], 1)

    def predict_v(self, z_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """v_hat (B, D, N) for ``z_t (B, D, N)`` at ``t (B,)`` and ``cond (B, E, N)`` from `condition`."""
        out = self.unet(z_t, t, cond)
        if not self.gated_anchor:
            return out
        r, g = out.chunk(2, 1)
        # Through the logarithm: its gradient stays finite where the gate closes.
        mask = torch.exp(self.mask_exponent * F.logsigmoid(g))
        # Silence is a raw latent of zero, so the mask acts on raw latents and is whitened again.
        offset = self.whitening.mean / self.whitening.std
        anchor = mask * (cond[:, : self.codec.latent_channels] + offset) - offset
        _, sigma = alpha_sigma(t)
        return r - sigma * anchor

    def sample(
        self,
        cond: Tensor,
        noise: Tensor,
        steps: int,
        start: float = 1.0,
        eta: float = 0.0,
        fresh: Callable[[int], Tensor] | None = None,
    ) -> Tensor:
        """Whitened latents z0 (B, D, N) of the vocals by DDIM from ``noise (B, D, N)`` and ``cond (B, E, N)``.

        ``steps`` network calls from ``t = start`` down; below 1 the start is the posterior mean (one more call at t
        = 1) noised to ``start``. ``fresh(i)`` gives the noise of step i for ``eta > 0``.
        """

        def predict(z_t: Tensor, t: Tensor) -> Tensor:
            return self.predict_v(z_t, t, cond)

        z = noise
        if start < 1:
            one = torch.ones(len(noise), device=noise.device)
            alpha, sigma = alpha_sigma(torch.tensor(start, device=noise.device))
            z = alpha * -predict(noise, one) + sigma * noise
        return sample(predict, z, schedule(steps, start), eta, fresh)

    @torch.no_grad()
    def separate(
        self,
        mixture: Tensor,
        noises: Sequence[Tensor],
        steps: int,
        *,
        start: float = 1.0,
        eta: float = 0.0,
        fresh: Callable[[int, int], Tensor] | None = None,
    ) -> Tensor:
        """One window: ``mixture (B, C, T)`` to vocals (B, C, T), at the mixture's level.

        A sample is drawn from each of ``noises`` (B, D, N), as `sample` describes, and their mean is decoded;
        ``fresh(k, i)`` is for sample k. RuntimeError if the result is not finite.
        """
        gain = normalising_gain(mixture)
        cond = self.condition(mixture * gain)
        samples = [
            self.sample(cond, noise, steps, start, eta, None if fresh is None else partial(fresh, k))
            for k, noise in enumerate(noises)
        ]
        z0 = torch.stack(samples).mean(0)
        vocals = self.codec.decoder(self.whitening.inverse(z0))
        if self.level_head is not None:
            level, presence = self.level_head(z0, cond[:, : self.codec.latent_channels])
            vocals = set_level(vocals, mixture * gain, level, presence)
        if self.refiner is not None:
            vocals = self.refiner(vocals, mixture * gain)
        if not torch.isfinite(vocals).all():
            raise RuntimeError("the network produced values that are not finite; the checkpoint may be damaged")
        return vocals / gain
