"""Mixture-guided refinement keeps what it must and takes what it should."""

import numpy as np
import pytest
import torch

from ldm_sep.method.refinement import TextureFromMixture

RATE = 16000


def band_power(wave: torch.Tensor, low: float, high: float) -> float:
    spectrum = torch.fft.rfft(wave).abs().square().mean(dim=tuple(range(wave.ndim - 1)))
    frequency = torch.fft.rfftfreq(wave.shape[-1], 1 / RATE)
    return float(spectrum[(frequency > low) & (frequency < high)].sum())


@pytest.fixture
def noises() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(0.1 * torch.randn(1, 2, 160 * 200, generator=generator) for _ in range(2))


def test_below_the_crossover_nothing_changes(noises) -> None:
    estimate, mixture = noises
    refined = TextureFromMixture(4000, RATE, 160)(estimate, mixture)
    error = band_power(refined - estimate, 0, 3800)
    assert error < 1e-3 * band_power(estimate, 0, 3800)


def test_above_it_the_level_is_the_estimates_and_the_structure_the_mixtures(noises) -> None:
    estimate, mixture = noises
    refined = TextureFromMixture(4000, RATE, 160)(0.25 * estimate, mixture)
    ratio = band_power(refined, 4500, 7500) / band_power(0.25 * estimate, 4500, 7500)
    assert abs(10 * np.log10(ratio)) < 1
    part = refined - 0.25 * mixture
    assert band_power(part, 4500, 7500) < 0.2 * band_power(0.25 * mixture, 4500, 7500)


def test_it_never_adds_what_the_mixture_does_not_have(noises) -> None:
    estimate, mixture = noises
    refined = TextureFromMixture(4000, RATE, 160)(3 * estimate, mixture)
    assert band_power(refined, 5000, 7500) <= 1.02 * band_power(mixture, 5000, 7500)
    silent = TextureFromMixture(4000, RATE, 160)(estimate, 0 * mixture)
    assert band_power(silent, 4500, 7500) < 1e-3 * band_power(estimate, 4500, 7500)


def test_an_impossible_crossover_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        TextureFromMixture(9000, RATE, 160)
