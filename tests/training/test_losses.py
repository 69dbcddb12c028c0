"""What the losses on waves measure."""

import pytest
import torch

from ldm_sep.metrics import lsd, mr_stft
from ldm_sep.training.losses import MagnitudeLoss, MultiScaleSpectralLoss, loss_filters, reaches


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


@pytest.mark.parametrize("gain", [0.5, 0.9, 2.0])
def test_the_magnitude_loss_is_the_sum_of_both_metrics(gain: float) -> None:
    noise = 0.1 * torch.randn(2, 2, 64000, generator=torch.Generator().manual_seed(0))
    reference, estimate = noise[:1], gain * noise[1:]
    metrics = [metric(reference[0].numpy(), estimate[0].numpy(), 16000).value for metric in (mr_stft, lsd)]
    assert float(MagnitudeLoss(16000)(estimate, reference)) == pytest.approx(sum(metrics), rel=0.02)


def test_the_magnitude_loss_says_nothing_of_what_lies_above_a_recordings_end(noise: torch.Tensor) -> None:
    spectrum = torch.fft.rfft(noise)
    bins = torch.arange(spectrum.shape[-1])
    # From 6 kHz on: the spectra of short windows leak beyond the end at 4 kHz.
    ends, above = (torch.fft.irfft(spectrum * part, noise.shape[-1]) for part in (bins < 2000, bins > 3000))
    loss = MagnitudeLoss(16000)
    assert float(loss(ends + 0.03 * above, ends)) < 0.05
    assert float(loss(noise, noise - 0.97 * above)) > 1
    assert float(loss(ends, ends)) == pytest.approx(0.01, abs=0.001)


def test_silence_does_not_outweigh_what_sounds(noise: torch.Tensor) -> None:
    loss = MagnitudeLoss(16000)
    # 20 dB below the mixture are left where nobody sings; and where somebody does, half is lost.
    silent, sung = float(loss(0.1 * noise, torch.zeros_like(noise))), float(loss(0.5 * noise, noise))
    assert 0.5 * sung < silent < 3 * sung


def test_the_magnitude_loss_has_finite_gradients_at_silence(noise: torch.Tensor) -> None:
    for reference in (noise, torch.zeros_like(noise)):
        estimate = torch.zeros_like(noise, requires_grad=True)
        MagnitudeLoss(16000)(estimate, reference).backward()
        assert torch.isfinite(estimate.grad).all()


def test_recordings_of_a_lower_rate_and_silence_do_not_reach_high(noise: torch.Tensor) -> None:
    spectrum = torch.fft.rfft(noise[:1])
    bins = torch.arange(spectrum.shape[-1])
    whole = torch.fft.irfft(spectrum, noise.shape[-1])
    half = torch.fft.irfft(spectrum * (bins < len(bins) // 2), noise.shape[-1])
    # 16 bits have noise of their own everywhere.
    stored = (half * 2**15).round() / 2**15
    assert reaches(torch.cat([whole, 0.1 * whole, half, stored, 0 * whole]), 2 / 3).tolist() == [True] * 2 + [False] * 3
    assert reaches(half, 0.45).tolist() == [True]
    # What counts is the level in the last tenth, -90 dB a bin, here beside a voice of -20 dB.
    noise_at = [half + 10 ** (level / 20) * whole / whole.std() for level in (-80, -90)]
    assert reaches(torch.cat(noise_at), 2 / 3).tolist() == [True, False]
