"""Resampling: the right signal, to the sample, however it is cut into blocks."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import firwin, resample_poly

from ldm_sep.audio import StreamResampler, resample, resampled_length

RATES = [
    (44100, 48000),
    (48000, 44100),
    (44099, 48000),
    (48000, 24000),
    (8000, 48000),
    (96000, 44100),
    (7, 5),
]


def tones(rate: int, seconds: float, highest: float, channels: int = 2) -> np.ndarray:
    """(C, T) sums of sines up to ``highest`` Hz, known exactly at any rate."""
    rng = np.random.default_rng(2)
    time = np.arange(round(rate * seconds)) / rate
    frequencies = rng.uniform(20, highest, (channels, 12, 1))
    phases = rng.uniform(0, 2 * np.pi, (channels, 12, 1))
    return (0.05 * np.sin(2 * np.pi * frequencies * time + phases).sum(axis=1)).astype(np.float32)


def snr(signal: np.ndarray, estimate: np.ndarray) -> float:
    """10 log10(sum s^2 / sum (s - e)^2), in dB."""
    error = estimate.astype(np.float64) - signal
    return float(10 * np.log10(np.sum(signal.astype(np.float64) ** 2) / np.sum(error**2)))


def stream(wave: np.ndarray, rate_in: int, rate_out: int, sizes: list[int]) -> np.ndarray:
    resampler = StreamResampler(rate_in, rate_out, wave.shape[0])
    out, start = [], 0
    for size in sizes:
        out.append(resampler.push(wave[:, start : start + size]))
        start += size
    out += [resampler.push(wave[:, start:]), resampler.flush()]
    return np.concatenate(out, axis=1)


@settings(max_examples=60, deadline=None)
@given(
    rates=st.sampled_from(RATES),
    frames=st.integers(0, 6000),
    sizes=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 2000)), max_size=40),
)
def test_blocks_change_neither_length_nor_bits(rates: tuple[int, int], frames: int, sizes: list[int]) -> None:
    wave = np.random.default_rng(frames).standard_normal((2, frames)).astype(np.float32)
    whole = resample(wave, *rates)
    assert whole.shape == (2, resampled_length(frames, *rates))
    assert whole.dtype == np.float32
    assert np.array_equal(stream(wave, *rates, sizes), whole)


@given(frames=st.integers(0, 10**12), rate_in=st.integers(1, 768_000), rate_out=st.integers(1, 768_000))
def test_the_length_is_the_nearest_integer(frames: int, rate_in: int, rate_out: int) -> None:
    length = resampled_length(frames, rate_in, rate_out)
    assert -rate_in < 2 * (frames * rate_out - length * rate_in) < rate_in or (
        2 * (frames * rate_out - length * rate_in) == -rate_in  # a tie goes up
    )
    assert resampled_length(frames, rate_in, rate_in) == frames


def test_ties_go_up_in_practice_too() -> None:
    for frames in (1, 3, 5, 2001):
        wave = np.ones((1, frames), np.float32)
        assert resample(wave, 48000, 24000).shape[1] == (frames + 1) // 2


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES[:6])
def test_every_short_length_works(rate_in: int, rate_out: int) -> None:
    for frames in (0, 1, 2, 3, 10, 63):
        got = resample(np.full((1, frames), 0.5, np.float32), rate_in, rate_out)
        assert got.shape[1] == resampled_length(frames, rate_in, rate_out)
        assert np.isfinite(got).all()


def test_one_sample_keeps_its_energy() -> None:
    got = resample(np.array([[1.0]], np.float32), 44100, 48000)
    assert got.shape == (1, 1) and 0.8 < got[0, 0] < 1.2


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES[:6])
@pytest.mark.parametrize(("share", "at_least"), [(0.22, 110), (0.44, 70)])  # of the lower rate; in dB
def test_tones_are_the_same_tones_at_the_new_rate(rate_in: int, rate_out: int, share: float, at_least: float) -> None:
    highest = share * min(rate_in, rate_out)
    got = resample(tones(rate_in, 0.5, highest), rate_in, rate_out)
    want = tones(rate_out, 0.6, highest)
    middle = slice(got.shape[1] // 8, 7 * got.shape[1] // 8)
    assert snr(want[:, middle], got[:, middle]) > at_least


def test_it_agrees_with_a_polyphase_filter_of_another_library() -> None:
    rng = np.random.default_rng(3)
    spectrum = np.fft.rfft(rng.standard_normal((2, 22050)))
    spectrum[:, spectrum.shape[1] // 2 :] = 0
    wave = np.fft.irfft(spectrum, 22050).astype(np.float32) * 0.1
    taps = firwin(2 * 64 * 160 + 1, 1 / 160, window=("kaiser", 12.0))
    want = resample_poly(wave.astype(np.float64), 160, 147, axis=1, window=taps)
    got = resample(wave, 44100, 48000)
    assert got.shape == want.shape
    assert snr(want[:, 2000:-2000], got[:, 2000:-2000]) > 100


def test_frequencies_that_do_not_fit_are_removed() -> None:
    time = np.arange(24000) / 48000
    high = np.sin(2 * np.pi * 10_000 * time)[None].astype(np.float32)
    got = resample(high, 48000, 16000)
    assert np.abs(got[:, 1000:-1000]).max() < 1e-5


def test_a_round_trip_has_no_lag_and_hardly_an_error() -> None:
    rng = np.random.default_rng(4)
    spectrum = np.fft.rfft(rng.standard_normal((2, 44100)))
    spectrum[:, 19_000:] = 0
    wave = np.fft.irfft(spectrum, 44100).astype(np.float32) * 0.1
    fade = np.sin(np.linspace(0, np.pi / 2, 400, dtype=np.float32)) ** 2
    wave[:, :400] *= fade  # a jump at the edge would not be band-limited
    wave[:, -400:] *= fade[::-1]
    back = resample(resample(wave, 44100, 48000), 48000, 44100)
    assert back.shape == wave.shape
    lags = [snr(wave, np.roll(back, lag, axis=1)) for lag in (-1, 0, 1)]
    assert np.argmax(lags) == 1
    assert snr(wave, back) > 75


def test_equal_rates_pass_through_at_once_and_do_not_alias_the_input() -> None:
    wave = np.random.default_rng(5).standard_normal((3, 100)).astype(np.float32)
    resampler = StreamResampler(44100, 44100, 3)
    got = resampler.push(wave)
    assert np.array_equal(got, wave)
    wave[:] = 0
    assert np.any(got)
    assert resampler.flush().shape == (3, 0)


def test_channels_do_not_leak_into_each_other() -> None:
    wave = np.random.default_rng(6).standard_normal((5, 3000)).astype(np.float32)
    together = resample(wave, 44100, 48000)
    for channel in range(5):
        assert np.array_equal(resample(wave[channel : channel + 1], 44100, 48000)[0], together[channel])


def test_coprime_rates_and_long_streams_need_little_memory() -> None:
    script = (
        "import resource, numpy as np\n"
        "from ldm_sep.audio import StreamResampler, resampled_length\n"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "block = np.zeros((2, 44099), np.float32)\n"
        "before = used()\n"
        "resampler = StreamResampler(44099, 48000, 2)\n"
        "total = sum(resampler.push(block).shape[1] for _ in range(120)) + resampler.flush().shape[1]\n"
        "assert total == resampled_length(120 * 44099, 44099, 48000) == 120 * 48000, total\n"
        "assert used() - before < 40, used() - before\n"
    )
    if sys.platform != "linux":
        pytest.skip("ru_maxrss is in KiB on Linux only")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_misuse_is_a_value_error() -> None:
    for rates in ((0, 44100), (44100, -1)):
        with pytest.raises(ValueError, match="positive"):
            StreamResampler(*rates, 2)
    with pytest.raises(ValueError, match="positive"):
        StreamResampler(44100, 48000, 0)
    with pytest.raises(ValueError, match="not \\(C, T\\)"):
        resample(np.zeros(5, np.float32), 44100, 48000)
    resampler = StreamResampler(44100, 48000, 2)
    with pytest.raises(ValueError, match="not \\(2, T\\)"):
        resampler.push(np.zeros((1, 5), np.float32))
    resampler.flush()
    with pytest.raises(ValueError, match="after flush"):
        resampler.push(np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="after flush"):
        resampler.flush()
