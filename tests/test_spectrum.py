"""The mixture's spectrum against scipy's, and what it promises: alignment, level and stereo."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.signal import ShortTimeFFT

from ldm_sep.spectrum import LogSpectrum, spectrum_bands

RATE, HOP, WINDOW = 16000, 160, 512


@pytest.fixture
def wave() -> torch.Tensor:
    return 0.1 * torch.randn(1, 2, HOP * 40, generator=torch.Generator().manual_seed(0))


def test_bands_hold_mean_magnitudes_of_mid_and_side(wave: torch.Tensor) -> None:
    network = LogSpectrum(RATE, HOP, WINDOW, linear_hz=2000.0)
    out = network(wave)[0].numpy()
    left, right = wave[0].double().numpy()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    stft = ShortTimeFFT(hann, HOP, RATE, fft_mode="onesided")
    edges = spectrum_bands(WINDOW // 2 + 1, 64, 12)
    assert edges[:65] == list(range(65)) and edges[-1] == WINDOW // 2 + 1
    # Frame n is centred on sample (n + 1/2) hop.
    begin = 20 * HOP + HOP // 2 - WINDOW // 2
    for row, signal in enumerate((left + right, left - right)):
        segment = signal[begin : begin + WINDOW] * math.sqrt(0.5)
        spectrum = np.abs(np.fft.rfft(segment * stft.win)) / math.sqrt(WINDOW)
        bands = [spectrum[a:b].mean() for a, b in itertools.pairwise(edges)]
        expected = np.log10(np.array(bands) + 1e-4) + 2
        half = network.channels // 2
        np.testing.assert_allclose(out[row * half : (row + 1) * half, 20], expected, atol=1e-4)


def test_ten_times_the_amplitude_adds_one(wave: torch.Tensor) -> None:
    network = LogSpectrum(RATE, HOP, WINDOW)
    loud = wave * 1000
    torch.testing.assert_close(network(loud * 10), network(loud) + 1, atol=1e-3, rtol=0)


def test_a_centred_source_leaves_the_side_at_the_floor(wave: torch.Tensor) -> None:
    mid, side = LogSpectrum(RATE, HOP, WINDOW)(wave.mean(1, keepdim=True).expand(1, 2, -1)).chunk(2, 1)
    assert torch.allclose(side, torch.tensor(-2.0))
    assert mid.mean() > side.mean() + 1


def test_a_click_is_seen_in_its_own_frame() -> None:
    wave = torch.zeros(1, 2, HOP * 40)
    wave[..., 20 * HOP + HOP // 2] = 1.0
    energy = LogSpectrum(RATE, HOP, WINDOW)(wave)[0].mean(0)
    assert energy.argmax() == 20


@pytest.mark.parametrize(("hop", "window"), [(160, 80), (160, 511), (161, 512)])
def test_sizes_that_cannot_be_aligned_are_refused(hop: int, window: int) -> None:
    with pytest.raises(ValueError, match="must be even"):
        LogSpectrum(RATE, hop, window)
