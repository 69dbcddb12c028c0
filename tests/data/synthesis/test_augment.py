"""Augmentations against formulas, impulse responses and other ways to compute the same."""

import numpy as np
import pytest
import torch
from conftest import RATE
from scipy.signal import fftconvolve, hilbert

from ldm_sep.data.synthesis.augment import (
    automate,
    channel_swap,
    compress,
    equalise,
    fast_length,
    pan,
    polarity,
    reflect,
    resample_to,
    reverberate,
    warp,
    widen,
)


def tone(frequency: float, seconds: float) -> torch.Tensor:
    t = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return torch.sin(2 * np.pi * frequency * t).float()


def db(power: torch.Tensor) -> float:
    return 10 * float(torch.log10(power))


def test_the_simple_ones_do_what_they_say() -> None:
    t = np.arange(16000) / RATE
    tone = torch.from_numpy(np.stack([np.sin(2 * np.pi * 500 * t), 0.5 * np.sin(2 * np.pi * 500 * t)])).float()[None]
    yes = torch.tensor([True])
    assert torch.equal(polarity(tone, yes), -tone)
    assert torch.equal(channel_swap(tone, yes)[:, 0], tone[:, 1])
    # Varispeed: 16000 samples in 8000 are an octave higher.
    spectrum = torch.fft.rfft(resample_to(tone, 8000)[0, 0]).abs()
    assert int(spectrum.argmax()) * RATE / 8000 == 1000
    assert torch.allclose(resample_to(resample_to(tone, 20000), 16000), tone, atol=1e-4)
    louder = equalise(tone, torch.full((1, 9), 6.0206), RATE)
    assert torch.allclose(louder, 2 * tone, atol=1e-3)
    left = pan(tone, torch.tensor([-1.0]))
    assert left[:, 1].abs().max() < 1e-6
    assert torch.allclose(pan(tone, torch.tensor([0.0])), tone, atol=1e-6)
    click = torch.zeros(1, 2, 16000)
    click[..., 0] = 1
    noise = torch.randn(1, 2, 16000, generator=torch.Generator().manual_seed(0))
    wet = reverberate(click, noise, torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([0.0]), RATE) - click
    decay = 10 * np.log10(float(wet[..., 0:1600].square().mean() / wet[..., 6400:8000].square().mean()))
    assert decay == pytest.approx(60 / 0.5 * 0.4, abs=4)
    dry = reverberate(click, noise, torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([-torch.inf]), RATE)
    assert torch.allclose(dry, click, atol=1e-6)


def test_reverberation_is_the_convolution_with_decaying_noise() -> None:
    """The tail of an impulse is the response; of any other wave it is that wave convolved with it (by scipy)."""
    noise = torch.randn(1, 1, 3000, generator=torch.Generator().manual_seed(0))
    settings = noise, torch.tensor([0.3]), torch.tensor([0.01]), torch.tensor([-6.0]), RATE
    click = torch.zeros(1, 1, 3000)
    click[..., 0] = 1
    response = reverberate(click, *settings) - click
    wave = torch.randn(1, 1, 5000, generator=torch.Generator().manual_seed(1))
    expected = wave[0, 0].numpy() + fftconvolve(wave[0, 0].numpy(), response[0, 0].numpy())[:5000]
    np.testing.assert_allclose(reverberate(wave, *settings)[0, 0].numpy(), expected, atol=1e-4)


def test_a_compressor_follows_its_formula() -> None:
    """A loud and a soft half: above the threshold the step between them shrinks by the ratio, below it stays."""
    loud, soft = tone(1000, 1.0), 0.25 * tone(1000, 1.0)
    wave = torch.cat([loud, soft]).expand(2, 2, -1)
    squeezed = compress(wave, torch.tensor([-30.0, 0.0]), torch.tensor([4.0, 4.0]), RATE)
    levels = [db(w.square().mean()) for w in (squeezed[0, 0, 4000:12000], squeezed[0, 0, 20000:28000])]
    assert levels[0] - levels[1] == pytest.approx(12.04 / 4, abs=0.05)
    # Threshold at the item's level, 10 lg((1 + 1/16) / 2) below the loud half; the soft one lies under it.
    levels = [db(w.square().mean()) for w in (squeezed[1, 0, 4000:12000], squeezed[1, 0, 20000:28000])]
    over = -10 * np.log10((1 + 1 / 16) / 2)
    assert levels[0] - levels[1] == pytest.approx(12.04 - over * 3 / 4, abs=0.05)
    assert torch.allclose(squeezed.square().sum((1, 2)), wave.square().sum((1, 2)), rtol=1e-4)


def test_a_compressor_leaves_steady_tones_and_silence_and_tames_peaks() -> None:
    steady = tone(440, 1.0).expand(1, 2, -1)
    ratio = torch.tensor([8.0])
    assert torch.allclose(compress(steady, torch.tensor([-20.0]), ratio, RATE), steady, atol=0.02)
    assert not compress(torch.zeros(1, 2, 8000), torch.tensor([-20.0]), ratio, RATE).any()
    assert torch.equal(compress(steady, torch.tensor([-20.0]), torch.tensor([1.0]), RATE), steady)
    t = torch.arange(2 * RATE) / RATE
    swelling = (tone(300, 2.0) * (1.1 + torch.sin(2 * np.pi * 1.5 * t))).expand(1, 2, -1)
    crest = [
        float(w.abs().max() / w.square().mean().sqrt()) for w in (swelling, compress(swelling, -ratio, ratio, RATE))
    ]
    assert crest[1] < 0.85 * crest[0]


def test_reflections_are_copies_after_their_delays() -> None:
    click = torch.zeros(2, 2, 1000)
    click[:, :, 10] = 1
    delays = torch.tensor([[0.005, 0.02], [0.0125, 0.2]])
    gains = torch.tensor([[[0.5, -0.25], [0.1, 0.2]], [[-0.3, 1.0], [0.4, 1.0]]])
    out = reflect(click, delays, gains, RATE)
    expected = click.clone()
    expected[0, :, 10 + 80], expected[0, :, 10 + 320] = gains[0, :, 0], gains[0, :, 1]
    # The last one lies beyond the end.
    expected[1, :, 10 + 200] = gains[1, :, 0]
    assert torch.equal(out, expected)


def test_width_is_the_level_of_the_side_alone() -> None:
    wave = torch.randn(2, 2, 500, generator=torch.Generator().manual_seed(0))
    wide = widen(wave, torch.tensor([6.0206, 0.0]))
    assert torch.allclose(wide.mean(1), wave.mean(1), atol=1e-6)
    assert torch.allclose(wide[0, 0] - wide[0, 1], 2 * (wave[0, 0] - wave[0, 1]), atol=1e-3)
    assert torch.allclose(wide[1], wave[1], atol=1e-6)


def test_automation_is_linear_in_db_between_its_points() -> None:
    out = automate(torch.ones(1, 2, 101), torch.tensor([[0.0, -6.0, 3.0]]))
    np.testing.assert_allclose(20 * torch.log10(out[0, 1, [0, 25, 50, 100]]).numpy(), [0, -3, -6, 3], atol=1e-4)


def test_a_warped_tone_has_the_course_that_was_asked_for() -> None:
    t = np.arange(2 * RATE) / RATE
    course = 60 * np.sin(2 * np.pi * 5 * t) - 20
    points = 60 * np.sin(2 * np.pi * 5 * np.linspace(0, 2, 401)) - 20
    swayed = warp(tone(440, 2.0).expand(2, -1), torch.from_numpy(points).float())
    phase = np.unwrap(np.angle(hilbert(swayed[1].double().numpy())))
    heard = 1200 * np.log2(np.diff(phase) * RATE / (2 * np.pi) / 440)
    np.testing.assert_allclose(heard[2000:-2000], course[2000:-2001], atol=6)
    assert torch.equal(warp(swayed, torch.zeros(9)), swayed)


@pytest.mark.parametrize("frequency", [1000, 5000])
def test_warping_keeps_high_tones_clean(frequency: int) -> None:
    """Shifted by a constant, a tone stays one: everything else is 35 dB down (48 kHz equivalents: 3 and 15 kHz)."""
    wave = tone(frequency, 1.0)[None]
    shifted = warp(wave, torch.full((5,), 30.0))[0, 2000:-2000].double().numpy() * np.hanning(12000)
    power = np.abs(np.fft.rfft(shifted)) ** 2
    peak = int(np.argmax(power))
    assert peak * RATE / 12000 == pytest.approx(frequency * 2 ** (30 / 1200), abs=2)
    inside = power[peak - 6 : peak + 7].sum()
    assert 10 * np.log10(inside / (power.sum() - inside)) > 35
    assert 10 * np.log10(shifted.var() / (np.hanning(12000) ** 2).mean() / 0.5) == pytest.approx(0, abs=0.2)


def test_fast_lengths_are_near_and_have_small_factors() -> None:
    for length in (1, 7, 31, 33, 187840, 211840, 524309):
        fast = fast_length(length)
        odd = fast >> ((fast & -fast).bit_length() - 1)
        assert length <= fast < 1.07 * length + 1 and odd < 64
