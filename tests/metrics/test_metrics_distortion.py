"""SDR, cSDR, SI-SDR and bleed against closed forms and independent packages."""

import importlib.util
from types import ModuleType

import numpy as np
import pytest
import torch
from metric_signals import noisy_pair, white_noise

from ldm_sep.metrics import as_pcm16, bleed, csdr, sdr, si_sdr


@pytest.fixture
def noise() -> np.ndarray:
    return white_noise()


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    return noisy_pair()


def museval_metrics() -> ModuleType | None:
    """The module of museval that computes; the package's own import asks for ffmpeg."""
    package = importlib.util.find_spec("museval")
    if package is None:
        return None
    path = f"{package.submodule_search_locations[0]}/metrics.py"
    spec = importlib.util.spec_from_file_location("museval_metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sdr_of_known_noise(noise: np.ndarray) -> None:
    assert sdr(noise, 0.9 * noise).value == pytest.approx(20.0, abs=1e-3)
    assert sdr(noise, 0 * noise).value == pytest.approx(0.0, abs=1e-9)


def test_sdr_of_an_exact_estimate_is_bounded_by_the_floor(noise: np.ndarray) -> None:
    energy = np.square(noise.astype(np.float64)).sum()
    assert sdr(noise, noise).value == pytest.approx(10 * np.log10((energy + 1e-7) / 1e-7), abs=1e-9)


def test_sdr_agrees_with_torchmetrics(pair: tuple[np.ndarray, np.ndarray]) -> None:
    from torchmetrics.functional.audio import signal_noise_ratio

    ref, est = (torch.from_numpy(wave).double().flatten() for wave in pair)
    assert sdr(*pair).value == pytest.approx(float(signal_noise_ratio(est, ref)), abs=1e-6)


def test_si_sdr_agrees_with_torchmetrics_and_fast_bss_eval(pair: tuple[np.ndarray, np.ndarray]) -> None:
    import fast_bss_eval
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    ref, est = (wave.astype(np.float64).ravel() + 0.01 for wave in pair)
    ours = si_sdr(ref, est).value
    theirs = scale_invariant_signal_distortion_ratio(torch.from_numpy(est), torch.from_numpy(ref))
    assert ours == pytest.approx(float(theirs), abs=1e-6)
    assert ours == pytest.approx(float(fast_bss_eval.si_sdr(ref[None], est[None], zero_mean=False)[0]), abs=1e-4)


def test_si_sdr_ignores_gain_and_is_undefined_without_error_or_signal(pair: tuple[np.ndarray, np.ndarray]) -> None:
    ref, est = pair
    assert si_sdr(ref, -3 * est).value == pytest.approx(si_sdr(ref, est).value, abs=1e-5)
    for reason, estimate in (("exact multiple", ref), ("silent", 0 * ref)):
        score = si_sdr(ref, estimate)
        assert score.value is None and reason in score.reason
    orthogonal = si_sdr(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    assert orthogonal.value is None and "nothing of the reference" in orthogonal.reason


# museval 0.4.1 on the signals of `noisy_pair`: first result of metrics.bss_eval(ref, est, window=8000, hop=8000,
# compute_permutation=False, filters_len=512, framewise_filters=False, bsseval_sources_version=False); and of the same
# with window=np.inf, hop=np.inf.
MUSEVAL_WINDOWS = [-4.146903960856183, 1.0070428493015324, 4.043464195492632, 6.274667965138814, 7.7919235245138445]
MUSEVAL_TRACK = 5.471959104361326


def test_sdr_and_csdr_agree_with_museval(pair: tuple[np.ndarray, np.ndarray]) -> None:
    ref, est = pair
    windows = [sdr(ref[:, k : k + 8000], est[:, k : k + 8000]).value for k in range(0, 40000, 8000)]
    assert windows == pytest.approx(MUSEVAL_WINDOWS, abs=1e-4)
    assert csdr(ref, est, 8000).value == pytest.approx(np.median(MUSEVAL_WINDOWS), abs=1e-4)
    assert sdr(ref, est).value == pytest.approx(MUSEVAL_TRACK, abs=1e-4)


def test_csdr_skips_the_windows_that_museval_skips(pair: tuple[np.ndarray, np.ndarray]) -> None:
    museval = museval_metrics()
    if museval is None:
        pytest.skip("museval is not installed")
    ref, est = (wave.copy() for wave in pair)
    ref[:, 8000:24000] = 0
    frames = museval.bss_eval(
        ref.T[None], est.T[None], window=8000, hop=8000, compute_permutation=False, filters_len=4,
        framewise_filters=False, bsseval_sources_version=False,
    )[0]  # fmt: skip
    assert np.isnan(frames).sum() == 2
    assert csdr(ref, est, 8000).value == pytest.approx(np.nanmedian(frames), abs=1e-4)


def test_csdr_counts_windows_in_which_only_the_estimate_is_silent(pair: tuple[np.ndarray, np.ndarray]) -> None:
    ref, est = (wave.copy() for wave in pair)
    est[:, :32000] = 0
    assert csdr(ref, est, 8000).value == pytest.approx(0.0, abs=1e-6)


def test_csdr_of_less_than_a_second_is_the_sdr(pair: tuple[np.ndarray, np.ndarray]) -> None:
    ref, est = (wave[:, :5000] for wave in pair)
    assert csdr(ref, est, 8000).value == pytest.approx(sdr(ref, est).value)


@pytest.fixture
def song(pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Vocals that are silent from 1 s to 3 s but for a lossy codec's noise, 75 dB down, and a band of noise."""
    rng = np.random.default_rng(2)
    vocals, band = pair[0].copy(), rng.normal(0, 0.1, pair[0].shape)
    vocals[:, 8000:24000] = rng.normal(0, 0.1 * 10 ** (-75 / 20), (2, 16000))
    return vocals, band.astype(np.float32)


@pytest.mark.parametrize("gain", [0.5, 0.1, 0.01])
def test_bleed_is_the_level_of_what_is_left_where_the_reference_is_silent(
    song: tuple[np.ndarray, np.ndarray], gain: float
) -> None:
    vocals, band = song
    score = bleed(vocals, vocals + gain * band, vocals + band, 8000)
    assert score.value == pytest.approx(20 * np.log10(gain), abs=0.05)


def test_bleed_of_silence_is_the_rounding_noise_of_16_bits(song: tuple[np.ndarray, np.ndarray]) -> None:
    vocals, band = song
    step = 1 / 32768
    floor = 10 * np.log10(step**2 / 12 / np.square(as_pcm16(band)[:, 8000:24000]).mean())
    assert bleed(vocals, 0 * vocals, vocals + band, 8000).value == pytest.approx(floor, abs=0.05)


def test_bleed_is_undefined_without_silence_or_mixture(song: tuple[np.ndarray, np.ndarray], noise: np.ndarray) -> None:
    vocals, band = song
    silent_band = band.copy()
    silent_band[:, 8000:24000] = 0
    vocals[:, 8000:24000] = 0
    cases = {
        "reference is silent for less than": bleed(noise, noise, noise, 8000),
        "mixture is silent where": bleed(vocals, vocals, vocals + silent_band, 8000),
        "the mixture has samples that are NaN": bleed(vocals, vocals, vocals * np.nan, 8000),
    }
    for reason, score in cases.items():
        assert score.value is None and reason in score.reason
    with pytest.raises(ValueError, match="mixture"):
        bleed(vocals, vocals, band[:1], 8000)
