"""Metrics against closed forms and independent packages."""

import numpy as np
import pytest
import torch

from ldm_sep.metrics import as_pcm16, lsd, sdr, si_sdr


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (2, 16000)).astype(np.float32)


@pytest.mark.parametrize("gain", [0.25, 0.5, 2.0])
def test_lsd_of_a_gain_is_twice_its_logarithm(noise: np.ndarray, gain: float) -> None:
    assert lsd(gain * noise, noise, 16000) == pytest.approx(abs(2 * np.log10(gain)), abs=1e-4)


def test_lsd_counts_only_frames_in_which_the_reference_sounds(noise: np.ndarray) -> None:
    reference = noise.copy()
    reference[:, 8000:] = 0
    estimate = reference.copy()
    estimate[:, 9000:] = noise[:, 9000:]
    assert lsd(reference, estimate, 16000) < 0.05
    assert lsd(np.zeros_like(noise), noise, 16000) is None


def test_si_sdr_agrees_with_torchmetrics_and_ignores_gain(noise: np.ndarray) -> None:
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    estimate = noise[0] + 0.3 * noise[1]
    theirs = scale_invariant_signal_distortion_ratio(
        torch.from_numpy(estimate).double(), torch.from_numpy(noise[0]).double()
    )
    assert si_sdr(noise[0], estimate) == pytest.approx(float(theirs), abs=1e-4)
    assert si_sdr(noise[0], -3 * estimate) == pytest.approx(si_sdr(noise[0], estimate), abs=1e-5)
    assert si_sdr(np.zeros(10), np.ones(10)) is None
    assert si_sdr(noise[0], noise[0]) is None


def test_sdr_of_known_noise(noise: np.ndarray) -> None:
    assert sdr(noise, 0.9 * noise) == pytest.approx(20.0, abs=1e-3)
    assert sdr(noise, noise) > 90


def test_shapes_must_agree(noise: np.ndarray) -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        si_sdr(noise, noise[:, 1:])


def test_pcm16_is_what_a_16_bit_file_holds(noise: np.ndarray, tmp_path) -> None:
    import soundfile as sf

    sf.write(tmp_path / "x.wav", noise.T, 16000, subtype="PCM_16")
    back, _ = sf.read(tmp_path / "x.wav", dtype="float32")
    assert np.abs(as_pcm16(noise) - back.T).max() <= 1 / 32768
