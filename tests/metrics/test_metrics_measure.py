"""`measure`, its records, broken input, and what importing costs."""

import subprocess
import sys
import tomllib

import numpy as np
import pytest
import soundfile as sf
from conftest import ROOT
from metric_signals import phrases, white_noise

import ldm_sep.metrics as metrics
from ldm_sep.errors import DependencyError
from ldm_sep.metrics import DEFAULT_METRICS, METRICS, Reference, Score, as_pcm16, check_installed, measure

RATE = 16000


@pytest.fixture(scope="module")
def song() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reference, estimate and mixture, stereo, 3 s."""
    rng = np.random.default_rng(5)
    ref = np.stack([phrases(3, RATE), 0.5 * phrases(3, RATE)])
    band = rng.normal(0, 0.05, ref.shape)
    return ref, (ref + 0.1 * band).astype(np.float32), (ref + band).astype(np.float32)


def test_measure_is_the_single_metrics_on_16_bit_files(song: tuple[np.ndarray, ...]) -> None:
    scores = measure(*song[:2], RATE, song[2])
    ref, est, mixture = map(as_pcm16, song)
    single = {
        "sdr": metrics.sdr(ref, est),
        "csdr": metrics.csdr(ref, est, RATE),
        "si_sdr": metrics.si_sdr(ref, est),
        "lsd": metrics.lsd(ref, est, RATE),
        "mel_mae": metrics.mel_mae(ref, est, RATE),
        "mel_mae_1": metrics.mel_mae_1(ref, est, RATE),
        "log_f0_rmse": metrics.log_f0_rmse(ref, est, RATE),
        "voicing_recall": metrics.voicing_recall(ref, est, RATE),
        "pesq": metrics.pesq(ref, est, RATE),
        "mr_stft": metrics.mr_stft(ref, est, RATE),
        "bleed": metrics.bleed(ref, est, mixture, RATE),
    }
    assert scores == single
    assert measure(*song[:2], RATE, song[2], ("air",)) == {"air": metrics.air(ref, est, mixture, RATE)}
    assert list(scores) == list(DEFAULT_METRICS)
    assert all(type(score.value) is float for score in scores.values())


def test_a_kept_reference_changes_nothing(song: tuple[np.ndarray, ...]) -> None:
    ref, est, mixture = song
    kept = Reference.pcm16(ref, RATE)
    for estimate in (est, mixture):
        assert measure(kept, estimate, RATE, mixture) == measure(ref, estimate, RATE, mixture)
    with pytest.raises(ValueError, match="16000 Hz"):
        measure(kept, est, 44100)


def test_more_noise_is_worse_by_every_metric_that_says_so(song: tuple[np.ndarray, ...]) -> None:
    ref, est, mixture = song
    good, bad = measure(ref, est, RATE, mixture), measure(ref, mixture, RATE, mixture)
    for metric in METRICS:
        if metric.key in good and metric.key not in ("log_f0_rmse", "voicing_recall"):
            better, worse = (s[metric.key].value * (1 if metric.better == "higher" else -1) for s in (good, bad))
            assert better > worse, metric.key


def test_measure_does_only_what_is_asked(song: tuple[np.ndarray, ...]) -> None:
    assert list(measure(*song[:2], RATE, metrics=("lsd", "sdr"))) == ["lsd", "sdr"]
    with pytest.raises(ValueError, match="no such metric: snr"):
        measure(*song[:2], RATE, metrics=("sdr", "snr"))


def broken(name: str, song: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ref, est, mixture = (wave.copy() for wave in song)
    length = {"no samples": 0, "one sample": 1, "0.2 s": int(0.2 * RATE)}.get(name)
    if length is not None:
        return ref[:, :length], est[:, :length], mixture[:, :length]
    if name == "silent reference":
        ref[:] = 0
    if name == "reference under 16 bits":
        ref *= 1e-6
    if name == "silent estimate":
        est[:] = 0
    if name == "NaN in the reference":
        ref[1, 7] = np.nan
    if name == "infinity in the estimate":
        est[0, -1] = -np.inf
    if name == "overflow in the estimate":
        return ref, est.astype(np.float64) * 1e300, mixture
    if name == "a reference that sounds for 3 ms":
        ref[:] = 0
        ref[:, -50:] = 0.1
    if name == "channels that cancel":
        ref[1] = -ref[0]
    return ref, est, mixture


WITHOUT_FRAMES = {"sdr", "csdr", "si_sdr", "bleed"}
BROKEN = {
    "no samples": set(),
    "one sample": {"sdr", "csdr", "si_sdr"},
    "0.2 s": {"sdr", "csdr", "si_sdr"},
    "silent reference": set(),
    "reference under 16 bits": set(),
    "silent estimate": {"sdr", "csdr", "bleed", "voicing_recall"},
    "NaN in the reference": set(),
    "infinity in the estimate": set(),
    "overflow in the estimate": set(),
    "a reference that sounds for 3 ms": WITHOUT_FRAMES | {"lsd", "mr_stft", "mel_mae", "mel_mae_1"},
    "channels that cancel": WITHOUT_FRAMES,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_input_is_undefined_with_a_reason(name: str, song: tuple[np.ndarray, ...]) -> None:
    ref, est, mixture = broken(name, song)
    scores = measure(ref, est, RATE, mixture)
    assert {key for key, score in scores.items() if score.value is not None} == BROKEN[name]
    for score in scores.values():
        assert score.value is None or np.isfinite(score.value)
        assert score.reason is None or (score.reason and "\n" not in score.reason)


def test_an_estimate_that_falls_silent_half_way_has_finite_scores(song: tuple[np.ndarray, ...]) -> None:
    ref, est, mixture = (wave.copy() for wave in song)
    est[:, RATE:] = 0
    scores = measure(ref, est, RATE, mixture)
    assert all(score.value is not None and np.isfinite(score.value) for score in scores.values())


def test_a_wrong_shape_or_rate_is_refused(song: tuple[np.ndarray, ...]) -> None:
    ref, est, mixture = song
    for other in (est[0], est[:1], est[:, 1:]):
        for key in DEFAULT_METRICS:
            with pytest.raises(ValueError, match="differ in shape"):
                measure(ref, other, RATE, mixture, (key,))
    with pytest.raises(ValueError, match="8000 Hz or more"):
        measure(ref, est, 44)


def test_mono_waves_score_as_one_channel(song: tuple[np.ndarray, ...]) -> None:
    ref, est, mixture = (wave[0] for wave in song)
    assert measure(ref, est, RATE, mixture) == measure(ref[None], est[None], RATE, mixture[None])


def test_a_score_is_a_number_or_a_reason() -> None:
    for value, reason in ((None, None), (1.0, "why")):
        with pytest.raises(ValueError, match="either"):
            Score(value, reason)


def test_pcm16_is_what_a_16_bit_file_holds(tmp_path) -> None:
    noise = white_noise()
    sf.write(tmp_path / "x.wav", noise.T, RATE, subtype="PCM_16")
    back, _ = sf.read(tmp_path / "x.wav", dtype="float32")
    assert np.abs(as_pcm16(noise) - back.T).max() <= 1 / 32768
    assert np.array_equal(as_pcm16(back), back)


@pytest.mark.parametrize(
    ("key", "package", "distribution"),
    [
        ("log_f0_rmse", "librosa", "librosa"),
        ("voicing_recall", "librosa", "librosa"),
        ("voicing_recall", "mir_eval", "mir_eval"),
        ("pesq", "pesq", "pesq"),
        ("visqol", "visqol", "visqol-python"),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, song: tuple[np.ndarray, ...], key: str, package: str, distribution: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    check_installed(set(DEFAULT_METRICS) - {key, "log_f0_rmse", "voicing_recall"})
    for call in (lambda: measure(*song[:2], RATE, metrics=(key,)), lambda: check_installed([key])):
        with pytest.raises(DependencyError) as error:
            call()
        assert str(error.value).endswith(f"run: pip install {distribution}") and "\n" not in str(error.value)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert distribution in {requirement.split(">=")[0] for wanted in extras.values() for requirement in wanted}


def test_importing_and_the_metrics_of_training_need_numpy_alone() -> None:
    code = (
        "import sys, numpy as np, ldm_sep.metrics as m\n"
        "x = np.random.default_rng(0).normal(0, 0.1, (2, 8000))\n"
        "m.lsd(x, 0.5 * x, 16000), m.si_sdr(x, x[::-1])\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'scipy', 'librosa', 'pesq', 'visqol', 'torch', 'soxr'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
