"""What is varied about the vocals and accompaniments of a batch: effects, places, balance, level.

Every draw comes from the generator that is passed in. How many there are depends on the items in one place only: three
of the reverberation's are left out where no item of the batch is chosen for it.
"""

import numpy as np
import torch
from torch import Tensor

from ldm_sep.config import MixConfig
from ldm_sep.data.synthesis.augment import (
    active_rms,
    automate,
    channel_swap,
    compress,
    equalise,
    pan,
    polarity,
    reflect,
    reverberate,
    widen,
)

# Points of the smooth equaliser's curve.
_EQ_POINTS = 9
_REVERB_SECONDS = 1.0
_REFLECTIONS = 6
_REFLECTION_SECONDS = (0.005, 0.05)
# Distance of the points of the vocals' slow level changes.
_AUTOMATION_SECONDS = 1.0
# How much weaker the side signal of a nearly mono accompaniment is.
_NARROWER_DB = (8.0, 24.0)


class Variation:
    """Varies batches as ``mix`` says.

    Compression, reflections, reverberation, panning and automation are for remixes alone. All else is for songs too:
    equaliser, width, a third of the balance, silence and solo, swapped channels, polarity, level.
    """

    def __init__(self, mix: MixConfig, sample_rate: int, device: torch.device) -> None:
        self.mix, self.sample_rate, self.device = mix, sample_rate, device

    def __call__(
        self, vocals: Tensor, accompaniment: Tensor, is_real: np.ndarray, silent: float, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """``vocals, accompaniment (B, 2, T)`` varied; ``is_real (B,)`` says which belong to one song, ``silent`` is the
        share whose vocals are taken away.
        """
        size, mix, rate, tensor = len(vocals), self.mix, self.sample_rate, self._tensor
        device, frames = vocals.device, vocals.shape[2]
        real = torch.as_tensor(is_real, device=device)
        remix = ~real
        if mix.compress:
            for wave in (vocals, accompaniment):
                self._compress_some(wave, ~is_real, rng)
        eq = tensor(rng.normal(0, mix.equaliser_db, (2, size, _EQ_POINTS)))
        vocals = equalise(vocals, eq[0], rate)
        accompaniment = equalise(accompaniment, eq[1], rate)
        if mix.reflections:
            self._reflect_some(vocals, ~is_real, rng)
        self._reverberate_some(vocals, ~is_real, rng)
        # Before panning, which would put centred sounds into the side signal too.
        if mix.width_db or mix.narrow:
            width = rng.normal(0, mix.width_db, size)
            width -= (rng.random(size) < mix.narrow) * rng.uniform(*_NARROWER_DB, size)
            accompaniment = widen(accompaniment, tensor(width))
        angles = rng.normal(0, mix.pan, (2, size)).clip(-0.8, 0.8) * (rng.random((2, size)) >= mix.centred)
        vocals, accompaniment = (
            torch.where((remix & (angle != 0))[:, None, None], pan(wave, angle), wave)
            for wave, angle in zip((vocals, accompaniment), tensor(angles), strict=True)
        )
        if mix.automation_db:
            points = 2 + int(frames / rate / _AUTOMATION_SECONDS)
            vocals = automate(vocals, tensor(rng.normal(0, mix.automation_db, (size, points))) * remix[:, None])

        # Real songs keep their own balance but for a small change.
        balance = tensor(rng.normal(0, mix.balance_db, size))
        v_rms, a_rms = active_rms(vocals, rate), active_rms(accompaniment, rate)
        equal = a_rms / v_rms.clamp_min(1e-5)
        gain = torch.where(real, 10 ** (balance / 60), equal * 10 ** (balance / 20))
        gain = torch.where((a_rms < 1e-5) | (v_rms < 1e-5), torch.ones_like(gain), gain)
        fate = tensor(rng.random(size))
        gain = torch.where(fate < silent, torch.zeros_like(gain), gain)
        vocals = vocals * gain[:, None, None]
        accompaniment = accompaniment * (fate < 1 - mix.solo)[:, None, None]

        flips = torch.as_tensor(rng.random((3, size)) < 0.5, device=device)
        vocals, accompaniment = (channel_swap(w, flips[0]) for w in (vocals, accompaniment))
        # Vocals and accompaniment of a real song share effects and are correlated, so their polarity changes together.
        vocals = polarity(vocals, flips[1])
        accompaniment = polarity(accompaniment, torch.where(real, flips[1], flips[2]))
        level = tensor(10 ** (rng.normal(-20, 4, size) / 20))
        scale = level / (vocals + accompaniment).square().mean((1, 2)).sqrt().clamp_min(1e-4)
        # Limited, so that a nearly silent crop does not become loud noise.
        scale = scale.clamp(max=30.0)[:, None, None]
        return vocals * scale, accompaniment * scale

    # The three below change the chosen items in place. Most items are not chosen, and each costs time on a CPU.
    def _compress_some(self, wave: Tensor, allowed: np.ndarray, rng: np.random.Generator) -> None:
        size = len(wave)
        chosen = allowed & (rng.random(size) < self.mix.compress)
        threshold, ratio = rng.uniform(-15, 0, size), rng.uniform(1.5, 8, size)
        if chosen.any():
            settings = self._tensor(threshold[chosen]), self._tensor(ratio[chosen])
            wave[chosen] = compress(wave[chosen], *settings, self.sample_rate)

    def _reflect_some(self, vocals: Tensor, allowed: np.ndarray, rng: np.random.Generator) -> None:
        size = len(vocals)
        chosen = allowed & (rng.random(size) < self.mix.reflections)
        delays = rng.uniform(*_REFLECTION_SECONDS, (size, _REFLECTIONS))
        # Later reflections are weaker. Each has its own side and sign.
        gains = 10 ** ((rng.uniform(-18, -6, delays.shape) - 200 * delays) / 20)
        gains *= rng.choice([-1, 1], delays.shape)
        side = rng.uniform(0, np.pi / 2, delays.shape)
        stereo = np.stack([gains * np.cos(side), gains * np.sin(side)], 1)
        if chosen.any():
            settings = self._tensor(delays[chosen]), self._tensor(stereo[chosen])
            vocals[chosen] = reflect(vocals[chosen], *settings, self.sample_rate)

    def _reverberate_some(self, vocals: Tensor, allowed: np.ndarray, rng: np.random.Generator) -> None:
        size, device, rate = len(vocals), vocals.device, self.sample_rate
        chosen = allowed & (rng.random(size) < self.mix.reverb)
        wet = rng.uniform(-24, -6, size)
        if chosen.any():
            generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
            noise = torch.randn(size, 2, int(_REVERB_SECONDS * rate), generator=generator, device=device)
            rt60, predelay = rng.uniform(0.2, 1.5, size), rng.uniform(0, 0.04, size)
            seconds, delay, level = (self._tensor(values[chosen]) for values in (rt60, predelay, wet))
            vocals[chosen] = reverberate(vocals[chosen], noise[chosen], seconds, delay, level, rate)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)
