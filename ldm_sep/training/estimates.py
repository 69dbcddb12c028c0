"""Estimates with other errors than the predictor's own on the voices it was trained on.

A predictor errs less on its training voices than on others, and other separators err in other ways. A refiner that is
to mend the errors of both has to see them in training.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

# The exponent of the predictor's mask is multiplied or divided by up to this factor.
_POWER = 1.6
# Level of the accompaniment that is left in, relative to the whole accompaniment.
_BLEED_DB = (-30.0, -12.0)
_HOLES = 3
_HOLE_SECONDS = (0.05, 0.4)
_FADE_SECONDS = 0.01
_BAND_LIMIT_HZ = (4000.0, 14000.0)


def varied_estimates(
    predictor: nn.Module,
    mixture: Tensor,
    speeds: Sequence[float],
    sample_rate: int,
    share: float,
    rng: np.random.Generator,
) -> Tensor:
    """The predictor's estimates (B, 2, T) for ``mixture (B, 2, T)``, a ``share`` of them varied.

    Those have another power of the mask and some of the ``speeds`` only; and of every four, one each also has some of
    the remainder left in, holes, or nothing above a band limit.
    """
    estimates = []
    for one in mixture.split(1):
        if rng.random() >= share:
            estimates.append(predictor(one, speeds))
            continue
        # A shallow copy, which shares the predictor's weights.
        varied = copy.copy(predictor)
        varied.exponent = predictor.exponent * _POWER ** rng.uniform(-1, 1)
        count = int(rng.integers(1, len(speeds) + 1))
        estimate = varied(one, sorted(rng.permutation(speeds)[:count].tolist()))
        match rng.integers(4):
            case 0:
                estimate = estimate + 10 ** (rng.uniform(*_BLEED_DB) / 20) * (one - estimate)
            case 1:
                estimate = estimate * _holes(one.shape[2], sample_rate, rng).to(one)
            case 2:
                estimate = band_limited(estimate, rng.uniform(*_BAND_LIMIT_HZ), sample_rate)
        estimates.append(estimate)
    return torch.cat(estimates)


def _holes(frames: int, sample_rate: int, rng: np.random.Generator) -> Tensor:
    """A gain (T,) that is zero in up to three places and one elsewhere, with faded edges."""
    gain = np.ones(frames, np.float32)
    time = np.arange(frames) / sample_rate
    for _ in range(int(rng.integers(1, _HOLES + 1))):
        middle, length = rng.uniform(0, time[-1]), rng.uniform(*_HOLE_SECONDS)
        outside = (np.abs(time - middle) - length / 2) / _FADE_SECONDS
        gain = np.minimum(gain, outside.clip(0, 1))
    return torch.from_numpy(gain.astype(np.float32))


def band_limited(wave: Tensor, cutoff: float, sample_rate: int) -> Tensor:
    """``wave (B, C, T)`` without what lies above ``cutoff`` Hz, by an edge of a sixth of an octave."""
    spectrum = torch.fft.rfft(wave)
    frequency = torch.linspace(0, sample_rate / 2, spectrum.shape[-1], device=wave.device)
    octaves = torch.log2(frequency.clamp_min(1.0) / cutoff)
    gain = (0.5 - 6 * octaves).clamp(0, 1)
    return torch.fft.irfft(spectrum * gain, wave.shape[-1])
