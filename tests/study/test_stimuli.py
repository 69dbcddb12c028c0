"""Stimuli: anchors within the recommendation, one loudness, no clipping, no shift in time."""

import numpy as np
import pytest
from conftest import RATE, sung
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from ldm_sep.study import stimuli


def test_loudness_of_the_calibration_tone() -> None:
    """ITU-R BS.1770-4: a 997 Hz sine of full scale in one channel reads -3.01 LUFS."""
    tone = np.sin(2 * np.pi * 997 * np.arange(48000 * 4) / 48000)[None]
    assert stimuli.loudness(tone, 48000) == pytest.approx(-3.01, abs=0.05)
    assert stimuli.loudness(np.concatenate([tone, tone]), 48000) == pytest.approx(0.0, abs=0.05)
    assert stimuli.loudness(0 * tone, 48000) == -np.inf


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_the_low_anchor_keeps_to_the_limits_of_bs_1534(rate: int) -> None:
    """Up to 3.5 kHz within 0.1 dB, 25 dB down at 4 kHz, 50 dB at 4.5 kHz; no delay."""
    impulse = np.zeros((1, rate), np.float32)
    impulse[0, rate // 2] = 1
    filtered = stimuli.low_passed(impulse, rate, 3500)
    assert int(np.abs(filtered).argmax()) == rate // 2
    level = 20 * np.log10(np.abs(np.fft.rfft(filtered[0])) + 1e-12)
    assert np.abs(level[:3501]).max() < 0.1
    assert level[4000:].max() < -25 and level[4500:].max() < -50


def test_the_middle_anchor_ends_above_7_khz() -> None:
    impulse = np.zeros((1, 48000), np.float32)
    impulse[0, 24000] = 1
    level = 20 * np.log10(np.abs(np.fft.rfft(stimuli.low_passed(impulse, 48000, 7000)[0])) + 1e-12)
    assert np.abs(level[:7001]).max() < 0.1 and level[8000:].max() < -50


def test_opus_is_audibly_worse_and_in_step() -> None:
    wave = np.tile(sung(4, 220, 0), (2, 1))
    coded = stimuli.through_opus(wave, RATE)
    assert coded.shape == wave.shape
    lag = int(correlate(coded[0], wave[0], "full").argmax()) - (wave.shape[1] - 1)
    assert abs(lag) <= 16
    assert np.square(wave).sum() < 100 * np.square(coded - wave).sum()


@settings(max_examples=20, deadline=None)
@given(gains=st.lists(st.floats(-50, 12), min_size=2, max_size=4), target=st.floats(-40, -6))
def test_all_versions_come_out_equally_loud_and_none_clips(gains: list[float], target: float) -> None:
    voice = sung(2, 220, 1)[None]
    crest = np.where(np.arange(voice.shape[1]) % 4000 == 0, 1, 0.02 * voice).astype(np.float32)
    waves = {"voice": voice} | {str(i): crest * np.float32(10 ** (g / 20)) for i, g in enumerate(gains)}
    levelled, common = stimuli.matched(waves, RATE, target)
    assert common <= target
    for name, one in levelled.items():
        assert stimuli.loudness(one.wave, RATE) == pytest.approx(common, abs=0.05)
        assert stimuli.true_peak_db(one.wave, RATE) <= stimuli.CEILING_DB + 0.01
        np.testing.assert_allclose(one.wave, waves[name] * 10 ** (one.gain_db / 20), rtol=1e-5)


def test_silence_stays_silent_and_does_not_hold_the_others_down() -> None:
    levelled, common = stimuli.matched({"voice": sung(2, 220, 1)[None], "nothing": np.zeros((1, 2 * RATE))}, RATE, -23)
    assert common == -23 and not levelled["nothing"].wave.any() and levelled["nothing"].gain_db == 0


def test_fades_begin_and_end_at_silence_and_leave_the_middle() -> None:
    faded = stimuli.faded(np.ones((2, RATE), np.float32), RATE)
    edge = round(stimuli.FADE_SECONDS * RATE)
    assert faded[:, [0, -1]].max() < 0.001
    assert (np.diff(faded[0, :edge]) > 0).all() and (faded[:, edge:-edge] == 1).all()
