"""LSD, mel and multi-resolution distances, and pitch, against closed forms and independent packages."""

import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from metric_signals import noisy_pair, phrases, tone, white_noise

from ldm_sep.metrics import (
    active_frames,
    air,
    log_f0_rmse,
    lsd,
    mel_mae,
    mel_mae_1,
    mr_stft,
    spectrogram,
    voicing_recall,
)
from ldm_sep.metrics.tracker import track_pitch


@pytest.fixture
def noise() -> np.ndarray:
    return white_noise()


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    return noisy_pair()


def lsd_by_loops(ref: np.ndarray, est: np.ndarray, rate: int) -> float:
    """The formula, frame by frame, on frames in which the reference lies within 40 dB of its loudest."""
    from scipy.fft import fft
    from scipy.signal import get_window

    n, hop = int(2048 * rate / 44100), int(rate / 100)
    window = get_window("hann", n)
    half = n // 2
    waves = [np.concatenate([np.zeros(half), w.mean(0, dtype=np.float64), np.zeros(half)]) for w in (ref, est)]
    rows = []
    for start in range(0, len(waves[0]) - n + 1, hop):
        powers = [np.abs(fft(window * w[start : start + n])[: half + 1]) ** 2 for w in waves]
        loudness = np.square(window * waves[0][start : start + n]).sum()
        rows.append((loudness, np.sqrt(np.mean(np.log10(powers[0] / (powers[1] + 1e-12) + 1e-12) ** 2))))
    loudest = max(loudness for loudness, _ in rows)
    return float(np.mean([distance for loudness, distance in rows if loudness > 1e-4 * loudest]))


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_lsd_is_the_formula(pair: tuple[np.ndarray, np.ndarray], rate: int) -> None:
    ref, est = (wave.copy() for wave in pair)
    ref[:, 10000:20000] *= 1e-3
    assert lsd(ref, est, rate).value == pytest.approx(lsd_by_loops(ref, est, rate), rel=1e-6)


@pytest.mark.parametrize("gain", [0.25, 0.5, 2.0])
def test_lsd_of_a_gain_is_twice_its_logarithm(noise: np.ndarray, gain: float) -> None:
    assert lsd(gain * noise, noise, 16000).value == pytest.approx(abs(2 * np.log10(gain)), abs=1e-4)


def test_active_frames_are_those_within_40_db_of_the_loudest(noise: np.ndarray) -> None:
    gains_db = np.repeat([0.0, -30.0, -50.0, -200.0], 4000)
    active = active_frames(noise * 10 ** (gains_db / 20), 16000)
    assert active.hop == 160
    assert active.mask[:45].all() and not active.mask[55:].any()
    assert list(active.at(np.array([0, 100, 7000, 9000, 15999]))) == [True, True, True, False, False]
    for nothing in (np.zeros(16000), np.full(16000, np.nan), np.zeros(0)):
        assert not active_frames(nothing, 16000).mask.any()


def test_what_happens_where_the_reference_is_silent_does_not_count(noise: np.ndarray) -> None:
    reference = noise.copy()
    reference[:, 8000:] = 0
    estimate = reference.copy()
    estimate[:, 9500:] = noise[:, 9500:]
    for metric in (lsd, mel_mae, mel_mae_1):
        assert metric(reference, estimate, 16000).value < 1e-6


def test_mel_mae_of_a_gain(noise: np.ndarray) -> None:
    assert mel_mae(noise, 2 * noise, 16000).value == pytest.approx(0, abs=1e-4)
    assert mel_mae_1(noise, 2 * noise, 16000).value == pytest.approx(20 * np.log10(2), abs=1e-4)


def test_mel_mae_says_when_no_frame_of_it_is_active() -> None:
    ref, est = np.zeros(8000), np.random.default_rng(0).normal(0, 0.1, 8000)
    ref[-50:] = 0.1
    for metric in (mel_mae, mel_mae_1):
        score = metric(ref, est, 8000)
        assert score.value is None and "too little of the reference sounds" in score.reason


def test_mel_mae_agrees_with_librosa(librosa: ModuleType) -> None:
    rng = np.random.default_rng(3)
    ref = rng.normal(0, 0.1, 44100).astype(np.float32)
    # A tilt of 60 dB, and a tone 90 dB above the rest: 80 dB below it, all bands are cut.
    est = np.cumsum(ref) * 0.01 + 300 * np.sin(np.arange(44100) * 0.3)
    powers = [librosa.feature.melspectrogram(y=w, sr=44100, n_fft=2048, hop_length=512, n_mels=80) for w in (ref, est)]
    under_max, under_one = (
        np.abs(np.subtract(*(librosa.power_to_db(p, ref=level, top_db=80) for p in powers))).mean()
        for level in (np.max, 1.0)
    )
    assert mel_mae(ref, est, 44100).value == pytest.approx(under_max, rel=1e-4)
    assert mel_mae_1(ref, est, 44100).value == pytest.approx(under_one, rel=1e-4)


def test_spectrogram_is_librosas(librosa: ModuleType) -> None:
    wave = np.random.default_rng(4).normal(size=3000)
    for n_fft, hop in ((512, 128), (743, 160)):
        theirs = np.abs(librosa.stft(wave, n_fft=n_fft, hop_length=hop)).T
        assert spectrogram(wave, n_fft, hop) == pytest.approx(theirs, rel=1e-4, abs=1e-5)


def test_mr_stft_agrees_with_auraloss(pair: tuple[np.ndarray, np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from auraloss.freq import MultiResolutionSTFTLoss

    ref, est = pair[0][:, :12345].copy(), pair[1][:, :12345]
    ref[:, 4000:9000] = 0
    theirs = MultiResolutionSTFTLoss()(torch.from_numpy(est)[None], torch.from_numpy(ref)[None])
    assert mr_stft(ref, est, 8000).value == pytest.approx(float(theirs), rel=1e-5)
    assert mr_stft(ref, ref, 8000).value == 0


@pytest.mark.parametrize("semitones", [-7, 1, 4, 12])
def test_log_f0_rmse_of_a_shift_by_semitones(semitones: int) -> None:
    ref, est = tone(1.5, 16000, 200), tone(1.5, 16000, 200 * 2 ** (semitones / 12))
    assert log_f0_rmse(ref, est, 16000).value == pytest.approx(abs(semitones) * np.log(2) / 12, rel=0.01)


@pytest.mark.parametrize("f0", [70.0, 950.0])
def test_pitches_near_the_ends_of_the_range_are_tracked(f0: float) -> None:
    score = log_f0_rmse(tone(1.5, 16000, f0), tone(1.5, 16000, f0 * 2 ** (1 / 12)), 16000)
    assert score.value == pytest.approx(np.log(2) / 12, rel=0.05)


def test_the_tracker_agrees_with_librosa_at_full_rate_and_resolution(librosa: ModuleType) -> None:
    wave = tone(2, 22050, 220, vibrato_cents=50)
    (ours,) = track_pitch(wave, 22050, [(0, 22050)])
    theirs, _, _ = librosa.pyin(wave, fmin=65, fmax=1047, sr=22050)
    # Frames of both are 1/43 s apart; the ends, where frames are padded, are left out.
    a, b = ours.f0[6:80], theirs[6:80]
    assert np.isfinite(a).mean() > 0.95 and np.isfinite(b).mean() > 0.95
    assert np.nanmean(np.abs(np.log(a / b))) < 0.006


def test_log_f0_rmse_follows_a_vibrato() -> None:
    rms = 100 / 1200 * np.log(2) / np.sqrt(2)
    ref, est = tone(3, 44100, 330), tone(3, 44100, 330, vibrato_cents=100)
    assert log_f0_rmse(ref, est, 44100).value == pytest.approx(rms, rel=0.1)
    assert log_f0_rmse(est, 0.1 * est, 44100).value == pytest.approx(0, abs=1e-9)


def test_log_f0_rmse_counts_only_frames_voiced_in_both(noise: np.ndarray) -> None:
    ref = phrases(4, 16000)
    est = tone(4, 16000, 220)
    # Out of tune where the reference rests, absent from one phrase.
    t = np.arange(len(ref)) / 16000 % 1.0
    est = np.where((t > 0.78) & (t < 0.94), tone(4, 16000, 440), est)
    est[16000:32000] = 0
    assert log_f0_rmse(ref, est, 16000).value < 0.02
    for reason, score in (
        ("reference has no pitch", log_f0_rmse(noise, noise, 16000)),
        ("estimate has no pitch", log_f0_rmse(ref, np.resize(noise, ref.shape), 16000)),
    ):
        assert score.value is None and reason in score.reason


def test_voicing_recall_is_the_share_of_the_phrases_that_are_left(noise: np.ndarray) -> None:
    ref = phrases(5, 16000)
    one_gone, out_of_tune = ref.copy(), phrases(5, 16000, 300)
    one_gone[16000:32000] = 0
    assert voicing_recall(ref, ref, 16000).value == 1
    assert voicing_recall(ref, one_gone, 16000).value == pytest.approx(0.8, abs=0.02)
    # In tune or not is the other metric's; what sounds between the phrases is nobody's.
    assert voicing_recall(ref, out_of_tune, 16000).value == pytest.approx(1, abs=0.02)
    assert voicing_recall(ref, tone(5, 16000, 220), 16000).value == 1
    assert voicing_recall(ref, 0 * ref, 16000).value == 0
    assert voicing_recall(ref, np.resize(noise, ref.shape), 16000).value < 0.02
    score = voicing_recall(noise, noise, 16000)
    assert score.value is None and "reference has no pitch" in score.reason


def test_pitch_metrics_agree_with_mir_eval_on_the_trackers_frames() -> None:
    from mir_eval import melody

    rng = np.random.default_rng(0)
    ref = phrases(4, 16000)
    est = (ref * (np.arange(len(ref)) > 18000) + rng.normal(0, 0.02, len(ref))).astype(np.float32)
    f_ref, f_est = (track_pitch(wave, 16000, [(0, 4 * 11025)])[0].f0 for wave in (ref, est))
    r, e = np.isfinite(f_ref), np.isfinite(f_est)
    assert 0.5 < voicing_recall(ref, est, 16000).value < 0.95
    assert voicing_recall(ref, est, 16000).value == pytest.approx(melody.voicing_measures(r, e)[0], abs=0.03)
    cents = melody.hz2cents(np.where(r & e, f_est, 0))[r & e] - melody.hz2cents(np.where(r & e, f_ref, 0))[r & e]
    expected = np.sqrt(np.mean(np.square(cents))) * np.log(2) / 1200
    assert log_f0_rmse(ref, est, 16000).value == pytest.approx(expected, abs=1e-3)


def test_air_is_the_level_above_5_khz_while_the_rest_sounds() -> None:
    rate, seconds = 44100, 2
    t = np.arange(seconds * rate) / rate
    low, high = (0.1 * np.sin(2 * np.pi * f * t)[None].astype(np.float32) for f in (1000, 8000))
    # The rest sounds in the first second alone, far from the second by more than a frame.
    rest = np.where(t < 0.9, 0.1 * np.sin(2 * np.pi * 300 * t), 0)[None].astype(np.float32)
    first, second = (t < 0.95).astype(np.float32), (t >= 0.95).astype(np.float32)
    band = low + high
    for estimate, expected in (
        (band, 0.0),
        # What is lost or added below 5 kHz, or where nothing else sounds, does not count.
        (0.1 * low + high, 0.0),
        (low + high * first, 0.0),
        (low + high * (0.5 * first + second), 20 * np.log10(0.5)),
        (low + high * (2 * first + second), 20 * np.log10(2)),
    ):
        assert air(band, estimate, band + rest, rate).value == pytest.approx(expected, abs=0.05)
    assert "nothing else sounds" in str(air(band, band, band, rate).reason)
    assert "reference is silent" in str(air(0 * band, band, rest, rate).reason)
    with pytest.raises(ValueError, match="differ in shape"):
        air(band, band, band[:, 1:], rate)


def test_air_of_a_silent_estimate_or_of_a_broken_mixture_is_undefined(noise: np.ndarray) -> None:
    rest = 0.1 * noise[:, ::-1]
    assert "estimate is silent" in str(air(noise, 0 * noise, noise + rest, 16000).reason)
    broken = noise + rest
    broken[0, 0] = np.nan
    assert "the mixture has samples that are NaN" in str(air(noise, noise, broken, 16000).reason)
