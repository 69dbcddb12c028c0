"""PESQ and ViSQOL: invariances, agreement with the packages on the segments, and what they must not be asked."""

import importlib.util

import numpy as np
import pytest
from metric_signals import phrases

from ldm_sep.metrics import pesq, visqol

IDENTICAL = 4.6439


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return phrases(3, 16000)


def with_noise(wave: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    return (wave + np.random.default_rng(seed).normal(0, level, wave.shape)).astype(np.float32)


def test_pesq_of_identical_signals_is_the_top_of_its_scale_at_any_gain_and_polarity(voice: np.ndarray) -> None:
    for estimate in (voice, -voice, 0.1 * voice):
        assert pesq(voice, estimate, 16000).value == pytest.approx(IDENTICAL, abs=1e-3)


def test_pesq_is_the_packages_with_the_reference_first(voice: np.ndarray) -> None:
    from pesq import pesq as package

    estimate = with_noise(voice, 0.01)
    score = pesq(voice, estimate, 16000).value
    assert score == pytest.approx(package(16000, voice, estimate, "wb"), abs=1e-3)
    assert abs(score - package(16000, estimate, voice, "wb")) > 0.01


def test_pesq_is_of_the_mono_sum_resampled(voice: np.ndarray) -> None:
    import soxr

    estimate = with_noise(voice, 0.01)
    stereo = [soxr.resample(np.stack([1.5 * w, 0.5 * w]).T, 16000, 44100).T for w in (voice, estimate)]
    assert pesq(*stereo, 44100).value == pytest.approx(pesq(voice, estimate, 16000).value, abs=0.1)


def test_pesq_is_the_mean_over_segments_of_10_s_that_are_sung() -> None:
    from pesq import pesq as package

    ref = phrases(25, 16000)
    ref[160000:319000] = 0
    est = with_noise(ref, 0.0003)
    est[240000:] = with_noise(ref, 0.003, 1)[240000:]
    first, last = (package(16000, ref[a : a + 160000], est[a : a + 160000], "wb") for a in (0, 240000))
    assert last < first - 0.3
    assert pesq(ref, est, 16000).value == pytest.approx((first + last) / 2, abs=0.01)


def test_pesq_is_undefined_where_a_sung_segment_is_silent_in_the_estimate() -> None:
    ref = phrases(20, 16000)
    est = ref.copy()
    est[160000:] = 0
    score = pesq(ref, est, 16000)
    assert score.value is None and score.reason == "the estimate is silent from 10 to 20 s"


def test_pesq_survives_more_utterances_than_its_code_has_room_for() -> None:
    t = np.arange(60 * 16000) / 16000
    ref = (phrases(60, 16000) * 0 + np.sin(2 * np.pi * 300 * t) * (t % 0.45 < 0.22)).astype(np.float32)
    assert pesq(ref, with_noise(ref, 0.001), 16000).value > 1


@pytest.mark.skipif(importlib.util.find_spec("visqol") is None, reason="visqol-python is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_visqol_falls_with_noise_and_is_undefined_under_a_second(voice: np.ndarray) -> None:
    scores = [visqol(voice, with_noise(voice, level), 16000).value for level in (0, 1e-3, 1e-2)]
    assert scores[0] == pytest.approx(4.73, abs=0.01)
    assert scores[0] > scores[1] > scores[2] > 1
    short = visqol(voice[:15000], voice[:15000], 16000)
    assert short.value is None and "shorter than 1 s" in short.reason
    silent = visqol(voice, 0 * voice, 16000)
    assert silent.value is None and "silent" in silent.reason
