"""What the codec's losses measure."""

import pytest
import torch

from ldm_sep.training.losses import MultiScaleSpectralLoss, loss_filters


@pytest.fixture
def noise() -> torch.Tensor:
    return 0.1 * torch.randn(2, 2, 8000, generator=torch.Generator().manual_seed(0))


def test_equal_waves_cost_nothing_and_worse_ones_more(noise: torch.Tensor) -> None:
    loss = MultiScaleSpectralLoss(16000, sizes=(256, 512))
    assert float(loss(noise, noise)) == 0
    costs = [float(loss(gain * noise, noise)) for gain in (0.9, 0.5, 0.1)]
    assert costs == sorted(costs) and costs[0] > 0
    silence = torch.zeros_like(noise)
    assert float(loss(silence, silence)) == 0


def test_the_side_signal_counts(noise: torch.Tensor) -> None:
    loss = MultiScaleSpectralLoss(16000, sizes=(256,))
    mono = noise.mean(1, keepdim=True).expand_as(noise)
    assert float(loss(mono, noise)) > 0.1


def test_gradients_are_finite_even_at_silence(noise: torch.Tensor) -> None:
    loss = MultiScaleSpectralLoss(16000, sizes=(256, 512))
    for reference in (noise, torch.zeros_like(noise)):
        estimate = torch.zeros_like(noise, requires_grad=True)
        loss(estimate, reference).backward()
        assert torch.isfinite(estimate.grad).all()


def test_mixed_precision_does_not_reach_the_logarithms(noise: torch.Tensor) -> None:
    loss = MultiScaleSpectralLoss(16000, sizes=(256,))
    exact = float(loss(0.99 * noise, noise))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(loss(0.99 * noise, noise)) == pytest.approx(exact, rel=1e-5)


def test_mel_filters_average_and_cover_every_band() -> None:
    filters = loss_filters(257, 40, 16000)
    assert torch.allclose(filters.sum(1), torch.ones(40))
    centres = (filters * torch.arange(257)).sum(1)
    assert bool((centres.diff() > 0).all())


@pytest.mark.parametrize(("n_fft", "bands"), [(512, 64), (1024, 96), (2048, 96)])
def test_no_band_hears_the_whole_spectrum(n_fft: int, bands: int) -> None:
    filters = loss_filters(n_fft // 2 + 1, bands, 48000)
    heard = filters > 0
    assert bool(heard.any(1).all())
    # The lowest bands are narrower than a bin and hold at most four.
    assert int(heard[:8].sum(1).max()) <= 4
