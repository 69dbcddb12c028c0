"""The predictor: what a mask may and may not do, and that a voice is found wherever it lies."""

import itertools

import numpy as np
import pytest
import torch
from scipy.signal import resample

from ldm_sep.errors import ConfigError
from ldm_sep.network.bands import spectrogram_bands
from ldm_sep.network.predictor import MaskPredictor

RATE = 16000


def small(**changes: object) -> MaskPredictor:
    torch.manual_seed(0)
    return MaskPredictor(**{"sample_rate": RATE, "window": 512, "hop": 160, "channels": (4, 8, 8), **changes}).eval()


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, 2, samples, generator=torch.Generator().manual_seed(seed))


def with_logits(network: MaskPredictor, mid: float, side: float) -> MaskPredictor:
    with torch.no_grad():
        network.net.last[2].weight.zero_()
        network.net.last[2].bias.copy_(torch.tensor([mid, side]))
    return network


@pytest.mark.parametrize("samples", [1, 159, 160, 1000, 16000, 16001])
def test_an_open_mask_returns_the_mixture_at_any_length(samples: int) -> None:
    mixture = noise(samples)
    torch.testing.assert_close(with_logits(small(), 30.0, 30.0)(mixture), mixture, atol=1e-5, rtol=0)


@pytest.mark.parametrize("speed", [0.5, 0.83, 1.37, 2.0])
def test_an_open_mask_returns_the_mixture_at_any_speed(speed: float) -> None:
    mixture = noise(7001)
    torch.testing.assert_close(with_logits(small(), 30.0, 30.0)(mixture, (speed,)), mixture, atol=1e-5, rtol=0)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_at_a_speed_it_hears_the_mixture_played_faster(speed: float) -> None:
    network = small()
    samples = 16000
    spectrum = torch.fft.rfft(noise(samples))
    # Below half the band, so that nothing is lost by playing it faster.
    spectrum[..., samples // 4 :] = 0
    mixture = torch.fft.irfft(spectrum, samples)
    faster = torch.from_numpy(resample(mixture.numpy(), round(samples / speed), axis=-1))
    with torch.no_grad():
        heard = network(mixture, (speed,))
        expected = torch.from_numpy(resample(network(faster).numpy(), samples, axis=-1))
        plain = network(mixture)
    inside = slice(1000, -1000)
    error = (heard - expected)[..., inside].square().mean() / expected[..., inside].square().mean()
    difference = (heard - plain)[..., inside].square().mean() / expected[..., inside].square().mean()
    assert error < 1e-4 < difference


def test_the_estimates_at_all_speeds_are_averaged() -> None:
    network, mixture = small(), noise(5000)
    with torch.no_grad():
        both, *each = (network(mixture, speeds) for speeds in ((1.0, 1.5), (1.0,), (1.5,)))
    torch.testing.assert_close(both, sum(each) / 2)
    assert not torch.allclose(*each)


def test_it_can_be_trained_after_a_separation_in_inference_mode() -> None:
    network, mixture = small(), noise(4000)
    with torch.inference_mode():
        network(mixture, (1.3,))
    network(mixture, (1.3,)).square().mean().backward()
    assert network.net.first.weight.grad.abs().sum() > 0


def test_masks_act_on_mid_and_side() -> None:
    mixture = noise(4000)
    out = with_logits(small(), 30.0, -30.0)(mixture)
    torch.testing.assert_close(out, mixture.mean(1, keepdim=True).expand_as(mixture), atol=1e-5, rtol=0)
    out = with_logits(small(), 0.0, 0.0)(mixture)
    torch.testing.assert_close(out, 0.5 * mixture, atol=1e-5, rtol=0)


def test_an_exponent_opens_the_mask() -> None:
    mixture = noise(4000)
    out = with_logits(small(exponent=0.5), 0.0, 0.0)(mixture)
    torch.testing.assert_close(out, 0.5**0.5 * mixture, atol=1e-5, rtol=0)


def test_a_mask_never_adds_energy_to_a_band() -> None:
    mixture = noise(16000)
    out = small()(mixture)
    before, after = (torch.fft.rfft(w).abs().square().sum((0, 1)) for w in (mixture, out))
    octaves = [100, 200, 400, 800, 1600, 3200, 6400]
    for low, high in itertools.pairwise(octaves):
        assert after[low:high].sum() < before[low:high].sum()


def test_silence_stays_silent() -> None:
    assert not small()(torch.zeros(1, 2, 3000)).any()


def test_bands_are_bins_below_and_fractions_of_an_octave_above() -> None:
    edges = spectrogram_bands(257, 128, 12)
    assert edges[:129] == list(range(129)) and edges[-1] == 257
    widths = np.diff(edges[129:-1])
    assert (widths >= 7).all() and abs(edges[-2] / edges[-3] - 2 ** (1 / 12)) < 0.01


def test_it_learns_to_tell_a_tone_from_noise_at_pitches_it_never_heard() -> None:
    network = small(channels=(8, 16))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)

    def batch(low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
        f0 = low + (high - low) * torch.rand(4, 1, 1, generator=generator)
        tone = torch.sin(2 * torch.pi * f0 * torch.arange(8000) / RATE).expand(-1, 2, -1)
        return 0.1 * tone, 0.05 * torch.randn(4, 2, 8000, generator=generator)

    for _ in range(40):
        tone, hiss = batch(500, 1500)
        loss = (network(tone + hiss) - tone).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tone, hiss = batch(1700, 2500)
    with torch.no_grad():
        error = network(tone + hiss) - tone
    assert error.square().mean() < 0.25 * hiss.square().mean()


@pytest.mark.parametrize(
    ("changes", "needle"),
    [({"hop": 300}, "at least twice the hop"), ({"window": 511}, "must be even"), ({"channels": (6, 8)}, "multiples")],
)
def test_sizes_that_cannot_be_built_are_refused(changes: dict, needle: str) -> None:
    with pytest.raises(ConfigError, match=needle):
        small(**changes)
