"""`LatentSeparator`: frozen codec, conditioner, predictor and denoiser as one module."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.codec.base import Codec
from ldm_sep.config import Stage
from ldm_sep.errors import CheckpointError
from ldm_sep.method.diffusion import add_noise, alpha_sigma, sample, schedule
from ldm_sep.method.level import LevelHead, normalising_gain, set_level
from ldm_sep.method.whitening import Whitening
from ldm_sep.signal.band_limit import band_limited


class LatentSeparator(nn.Module):
    """The vocals' latents given the mixture's, by v-objective diffusion.

    ``codec`` is frozen at all times. The conditioner starts as a copy of its encoder. ``unet(z_t, t, cond)`` predicts
    v. A ``predictor`` (`network.predictor`) makes a first estimate of the vocals' wave from the mixture's; its latents
    join the condition. `set_stage` says what is trained.

    With ``gated_anchor`` the U-Net emits two tensors r, g (2 D channels) and v_hat = r - sigma gate(g) c, where c is
    the latent of the predictor's estimate, or of the mixture where there is no predictor. At t = 1, where
    z0_hat = -v_hat, the estimate is a soft mask of c plus a correction. This pays where latents are nearly additive.
    It stays a v-prediction, without a singularity at t = 0.

    The gate is the sigmoid to the power p of the codec's latents (`Codec.latent_exponent`), so that sigmoid(g) is a
    mask of amplitudes. The ear and every distortion measure get amplitudes, so it is their posterior mean that counts:
    an uncertain mask on square-root latents underestimates the level once squared. With a predictor the gate is twice
    the sigmoid, to that power: an estimate that is too quiet can be raised, and a new U-Net leaves the estimate as it
    is.

    With ``refines`` sampling begins at the estimate: z_start = alpha c + sigma noise at a small t. The U-Net then gives
    the clean latents, z0_hat = gate(g) c + r, and v_hat = (alpha z_t - z0_hat) / sigma follows. In training the noised
    latents may be those of the estimate while the target is the truth; v itself would then be error / sigma, which
    explodes as t goes to 0 (DiCoSe, arXiv 2412.06965, and its loss on z0_hat).

    With ``codec_residual`` what a round trip through the codec loses of the predictor's estimate is added to what is
    decoded: where diffusion leaves the estimate's latents alone, the result is the estimate, not a coded copy of it.

    A codec that loses the level needs ``level_head``. ``refiner(vocals, mixture)``, where there is one, changes the
    decoded wave after that. ``post_filter(vocals, mixture)`` comes last, only where it is asked for: it is made for
    the ear. ValueError for parts that do not go together.
    """

    def __init__(
        self,
        codec: Codec,
        unet: nn.Module,
        *,
        gated_anchor: bool = False,
        refines: bool = False,
        predictor: nn.Module | None = None,
        level_head: LevelHead | None = None,
        refiner: nn.Module | None = None,
        post_filter: nn.Module | None = None,
        codec_residual: bool = False,
    ) -> None:
        super().__init__()
        if not codec.keeps_level and level_head is None:
            raise ValueError("this codec's latents lose the level: a level head is needed")
        if codec_residual and (predictor is None or not codec.keeps_level):
            raise ValueError("a codec residual needs a predictor and a codec that keeps the level")
        if refines and not (gated_anchor and predictor is not None):
            raise ValueError("refinement needs a predictor's estimate and its gate")
        self.codec = codec
        self.conditioner = copy.deepcopy(codec.encoder)
        self.unet = unet
        self.whitening = Whitening(codec.latent_channels)
        self.gated_anchor, self.refines = gated_anchor, refines
        self.predictor = predictor
        self.level_head = level_head
        self.refiner, self.post_filter = refiner, post_filter
        self.codec_residual = codec_residual
        self.set_stage(Stage.UNET)

    def set_stage(self, stage: Stage) -> None:
        """Let the weights that ``stage`` trains follow gradients, and no others; the codec's never do.

        ValueError where the predictor or post-filter is to be trained and there is none.
        """
        if stage is Stage.PREDICTOR and self.predictor is None:
            raise ValueError("stage 0 trains the predictor, and there is none")
        if stage is Stage.POST_FILTER and self.post_filter is None:
            raise ValueError("stage 3 trains the post-filter, and there is none")
        diffusion = stage in (Stage.UNET, Stage.CONDITIONER)
        self.requires_grad_(False)
        self.conditioner.requires_grad_(stage is Stage.CONDITIONER)
        if self.predictor is not None:
            self.predictor.requires_grad_(stage is Stage.PREDICTOR)
        if self.post_filter is not None:
            self.post_filter.requires_grad_(stage is Stage.POST_FILTER)
        self.unet.requires_grad_(diffusion)
        if self.level_head is not None:
            self.level_head.requires_grad_(diffusion)

    def parameter_groups(self, learning_rate: float, conditioner_rate: float) -> list[dict]:
        """AdamW groups of the trainable weights; the conditioner's rate is ``conditioner_rate`` times the others'."""
        own = (self.unet, self.level_head, self.predictor, self.post_filter)
        parts = [*((part, 1.0) for part in own), (self.conditioner, conditioner_rate)]
        groups: dict[float, list[nn.Parameter]] = {}
        for part, scale in parts:
            if part is not None:
                groups.setdefault(scale, []).extend(p for p in part.parameters() if p.requires_grad)
        return [{"params": weights, "lr": learning_rate * scale} for scale, weights in groups.items() if weights]

    @torch.no_grad()
    def encode(self, vocals: Tensor) -> Tensor:
        """``vocals (B, C, T)`` at the network's level to whitened latents z0 (B, D, N)."""
        return self._latents(self.codec.encoder, vocals)

    def condition(
        self, mixture: Tensor, speeds: Sequence[float] = (1.0,), power: float | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The condition (B, E, N) for ``mixture (B, C, T)`` at the network's level: its whitened latents, then, where
        there is a predictor, those of its estimate; and that estimate (B, C, T). ``speeds`` and ``power`` are the
        predictor's.
        """
        estimate = None if self.predictor is None else self.estimate(mixture, speeds, power)
        return self.conditioning(mixture, estimate), estimate

    def estimate(self, mixture: Tensor, speeds: Sequence[float] = (1.0,), power: float | None = None) -> Tensor:
        """The predictor's estimate (B, C, T) for ``mixture (B, C, T)`` at the network's level, heard at ``speeds``, its
        mask taken to ``power``, where that is given.

        ValueError without a predictor.
        """
        if self.predictor is None:
            raise ValueError("this separator has no predictor")
        return self.predictor(mixture, speeds, power)

    def _begin(
        self,
        mixture: Tensor,
        given: Tensor | None,
        weight: float,
        limits: Sequence[float],
        speeds: Sequence[float],
        power: float | None,
    ) -> Tensor | None:
        """The estimate that conditions diffusion, and that a refinement starts from: the predictor's, None without one;
        or its mean with the vocals ``given (B, C, T)``, which have this ``weight`` below their ``limits`` and none
        above. Errors of two separators partly cancel.
        """
        limited = [item for item, limit in enumerate(limits) if limit < math.inf]
        if given is not None and weight == 1 and not limited:
            return given
        own = None if self.predictor is None else self.estimate(mixture, speeds, power)
        if given is None or own is None:
            return own
        change = given - own
        for item in limited:
            change[item] = band_limited(change[item], limits[item], self.codec.sample_rate)
        return own + weight * change

    def conditioning(self, mixture: Tensor, estimate: Tensor | None) -> Tensor:
        """The condition (B, E, N) as `condition` gives it, for an ``estimate (B, C, T)`` that is there already."""
        waves = [mixture] if estimate is None else [mixture, estimate]
        return torch.cat([self._latents(self.conditioner, wave) for wave in waves], 1)

    def _latents(self, encoder: nn.Module, wave: Tensor) -> Tensor:
        """Whitened latents (B, D, N) of ``wave (B, C, T)``, which is brought to the level the codec was made for."""
        return self.whitening(encoder(wave * self.codec.input_gain(wave)))

    def decode(self, z0: Tensor, estimate: Tensor | None) -> Tensor:
        """Whitened latents ``z0 (B, D, N)`` to the vocals' wave (B, C, T), before level and refinement; ``estimate`` as
        `condition` gives it.
        """
        wave = self.codec.decoder(self.whitening.inverse(z0)).float()
        if estimate is None or not self.codec_residual:
            return wave
        return wave + estimate - self.codec.decoder(self.codec.encoder(estimate)).float()

    def predict_v(self, z_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """v_hat (B, D, N) for ``z_t (B, D, N)`` at ``t (B,)`` and ``cond (B, E, N)`` from `condition`."""
        # In full precision from here on, whatever the network ran in.
        out = self.unet(z_t, t, cond).float()
        if not self.gated_anchor:
            return out
        r, g = out.chunk(2, 1)
        # Through the logarithm: its gradient stays finite where the gate closes.
        largest = 1.0 if self.predictor is None else 2.0
        mask = torch.exp(self.codec.latent_exponent * (F.logsigmoid(g) + math.log(largest)))
        # Silence is a raw latent of zero, so the mask acts on raw latents and is whitened again.
        offset = self.whitening.mean / self.whitening.std
        anchor = mask * (self._anchor(cond) + offset) - offset
        alpha, sigma = alpha_sigma(t)
        return (alpha * z_t - anchor - r) / sigma if self.refines else r - sigma * anchor

    def _anchor(self, cond: Tensor) -> Tensor:
        """The latents (B, D, N) in ``cond`` of the predictor's estimate, or else of the mixture."""
        return cond[:, -self.codec.latent_channels :]

    def render(self, z0: Tensor, cond: Tensor, estimate: Tensor | None, mixture: Tensor) -> Tensor:
        """`decode`, then level and refinement where there are any; ``mixture (B, C, T)`` at the network's level."""
        vocals = self.decode(z0, estimate)
        if self.level_head is not None:
            level, presence = self.level_head(z0, cond[:, : self.codec.latent_channels])
            vocals = set_level(vocals, mixture, level, presence)
        return vocals if self.refiner is None else self.refiner(vocals, mixture)

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

        ``steps`` network calls from ``t = start`` down. Below 1 it begins at the predictor's estimate noised to
        ``start`` where the separator refines, else at the posterior mean noised to ``start`` (one more call at t = 1).
        ``fresh(i)`` gives the noise of step i for ``eta > 0``.
        """

        def predict(z_t: Tensor, t: Tensor) -> Tensor:
            return self.predict_v(z_t, t, cond)

        z = noise
        if start < 1:
            one = torch.ones(len(noise), device=noise.device)
            begin = self._anchor(cond) if self.refines else -predict(noise, one)
            z = add_noise(begin, noise, start * one)
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
        speeds: Sequence[float] = (1.0,),
        power: float | None = None,
        given: Tensor | None = None,
        weight: float = 1.0,
        limits: Sequence[float] = (),
        fresh: Callable[[int, int], Tensor] | None = None,
        post_filter: bool = False,
    ) -> Tensor:
        """One window: ``mixture (B, C, T)`` to vocals (B, C, T), at the mixture's level.

        A sample is drawn from each of ``noises`` (B, D, N), as `sample` describes, and their mean is decoded. 0
        ``steps`` give the predictor's estimate, which needs no noise; ValueError without a predictor. ``fresh(k, i)``
        is the noise of step i of sample k. ``speeds`` and ``power`` are the predictor's. ``given`` (B, C, T) are
        vocals by another separator: they enter the estimate with ``weight``, up to ``limits`` in Hz, one an item.
        With ``post_filter`` they are given twice, (B, 2 C, T): as the post-filter leaves them, and below that without
        it. CheckpointError if the result is not finite.
        """
        gain = normalising_gain(mixture)
        estimate = self._begin(mixture * gain, None if given is None else given * gain, weight, limits, speeds, power)
        if steps == 0 and estimate is not None:
            vocals = estimate
        else:
            cond = self.conditioning(mixture * gain, estimate)
            samples = [
                self.sample(cond, noise, steps, start, eta, None if fresh is None else partial(fresh, k))
                for k, noise in enumerate(noises)
            ]
            vocals = self.render(torch.stack(samples).mean(0), cond, estimate, mixture * gain)
        if post_filter:
            vocals = torch.cat([self.get_submodule("post_filter")(vocals, mixture * gain), vocals], 1)
        if not torch.isfinite(vocals).all():
            raise CheckpointError("the networks give values that are not finite here; the checkpoint may be damaged")
        return vocals / gain
