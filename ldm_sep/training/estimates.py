"""Estimates with errors that the predictor does not make on its training voices.

A predictor errs less on its training voices than on others, and other separators err in other ways. A refiner that is
to mend the errors of both has to see them in training.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ldm_sep.signal.band_limit import band_limited

# The exponent of the predictor's mask is multiplied or divided by up to this factor.
_POWER = 1.6
# Level of the accompaniment that is left in, relative to the whole accompaniment.
_BLEED_DB = (-30.0, -12.0)
# Most holes of an estimate.
_HOLES = 3
_HOLE_SECONDS = (0.05, 0.4)
_FADE_SECONDS = 0.01
# Share of holes that are a patch of the spectrum, and the range of its edges.
_PATCHES = 0.5
_PATCH_HZ = (100.0, 16000.0)
_BAND_LIMIT_HZ = (8000.0, 16000.0)


def varied_estimates(
    predictor: nn.Module,
    mixture: Tensor,
    speeds: Sequence[float],
    sample_rate: int,
    share: float,
    rng: np.random.Generator,
) -> Tensor:
    """The predictor's estimates (B, 2, T) for ``mixture (B, 2, T)``, a ``share`` of them varied.

    Those have another power of the mask and some of the ``speeds`` only. One further change is drawn, or none, each
    with a chance of a quarter: some of the remainder is left in, there are holes in time or in patches of the
    spectrum, or there is nothing above a band limit.
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
                for _ in range(int(rng.integers(1, _HOLES + 1))):
                    estimate = estimate - _hole(estimate, sample_rate, rng)
            case 2:
                estimate = band_limited(estimate, rng.uniform(*_BAND_LIMIT_HZ), sample_rate)
        estimates.append(estimate)
    return torch.cat(estimates)


def _hole(estimate: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
    """What a hole takes from ``estimate (B, C, T)``: a stretch with faded edges, or a band of it."""
    time = np.arange(estimate.shape[2]) / sample_rate
    middle, length = rng.uniform(0, time[-1]), rng.uniform(*_HOLE_SECONDS)
    inside = 1 - (np.abs(time - middle) - length / 2) / _FADE_SECONDS
    taken = estimate * torch.from_numpy(inside.clip(0, 1)).to(estimate)
    if rng.random() < _PATCHES:
        lowest, highest = _PATCH_HZ
        low, high = sorted(lowest * (highest / lowest) ** rng.random(2))
        taken = band_limited(taken, high, sample_rate) - band_limited(taken, low, sample_rate)
    return taken
