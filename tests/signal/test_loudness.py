"""Levels and silence against their definitions."""

import numpy as np
import pytest
import torch

from ldm_sep.signal.loudness import frame_power, is_silent, level_db, loudest_window, rms


def test_the_level_of_a_sine_is_3_db_below_full_scale() -> None:
    sine = np.sin(2 * np.pi * np.arange(48000) / 48)[None]
    assert level_db(sine) == pytest.approx(-3.0103, abs=1e-3)
    assert level_db(0.1 * sine) == pytest.approx(-23.0103, abs=1e-3)
    assert level_db(np.zeros((2, 10))) == pytest.approx(-120)
    assert rms(torch.from_numpy(sine)[None]).item() == pytest.approx(np.sqrt(0.5))


def test_channels_that_cancel_are_not_silent() -> None:
    wave = torch.ones(1, 2, 100) * torch.tensor([[[0.5], [-0.5]]])
    assert rms(wave).item() == pytest.approx(0.5)


@pytest.mark.parametrize(("peak", "silent"), [(0.0, True), (0.9e-5, True), (1.1e-5, False), (-1.1e-5, False)])
def test_silence_is_what_stays_below_minus_100_db(peak: float, silent: bool) -> None:
    wave = np.zeros((2, 1000), np.float32)
    wave[1, 500] = peak
    assert is_silent(wave) is silent
    assert is_silent(wave[:, :0])


def test_frames_lie_side_by_side_and_the_rest_is_dropped() -> None:
    wave = np.repeat([[1.0, 2.0, 3.0, 9.0], [0.0, 0.0, 3.0, 9.0]], 100, axis=1)[:, :399]
    assert frame_power(wave, 100) == pytest.approx([0.5, 2.0, 9.0])
    assert frame_power(wave[0], 100) == pytest.approx([1.0, 4.0, 9.0])
    assert len(frame_power(wave, 400)) == 0


@pytest.mark.parametrize("step", [1, 10, 64])
def test_the_loudest_window_is_the_one_of_all_that_compete(step: int) -> None:
    wave = np.random.default_rng(step).normal(size=(2, 1003)) * np.linspace(0, 1, 1003) ** 2
    wave[:, 700:] *= 0.2
    starts = [*range(0, 903, step), 903]
    energies = [np.square(wave[:, s : s + 100]).sum() for s in starts]
    assert loudest_window(wave, 100, step) == starts[int(np.argmax(energies))]
    wave[:, -1] = 100
    assert loudest_window(wave, 100, step) == 903
    assert loudest_window(wave, 1003, step) == loudest_window(wave, 2000, step) == 0
