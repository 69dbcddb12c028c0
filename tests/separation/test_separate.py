"""Separation of arrays and streams as a user sees it: shapes, sums, seeds, silence, bad input."""

import gc
import itertools
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RATE, mixture
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ldm_sep.errors import AudioError, ConfigError, DeviceError
from ldm_sep.separation import Options, Separator


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(samples=1, rate=8000, channels=2)
@given(
    samples=st.integers(1, 30000),
    rate=st.sampled_from([8000, 16000, 22050, 44099, 44100, 96000]),
    channels=st.sampled_from([1, 2]),
)
def test_length_rate_and_channels_are_the_inputs_and_the_stems_sum_to_it(
    tiny_separator: Separator, samples: int, rate: int, channels: int
) -> None:
    rng = np.random.default_rng(samples)
    wave = (rng.integers(-(2**15), 2**15, (channels, samples)) / 2**16).astype(np.float32)
    stems = tiny_separator.separate(wave, rate, Options(steps=1))
    assert stems.vocals.shape == stems.instrumental.shape == wave.shape
    assert np.array_equal(stems.vocals + stems.instrumental, wave)


def test_float_sources_sum_to_within_float_rounding(tiny_separator: Separator) -> None:
    wave = np.random.default_rng(0).normal(0, 0.2, (2, 9000)).astype(np.float32)
    stems = tiny_separator.separate(wave, RATE)
    assert np.abs(stems.vocals + stems.instrumental - wave).max() <= 2**-24


def test_same_seed_same_samples_other_seed_others(tiny_separator: Separator) -> None:
    wave = mixture(3)
    first = tiny_separator.separate(wave, RATE, Options(seed=1))
    again = tiny_separator.separate(wave, RATE, Options(seed=1))
    other = tiny_separator.separate(wave, RATE, Options(seed=2))
    assert np.array_equal(first.vocals, again.vocals)
    assert not np.array_equal(first.vocals, other.vocals)


def test_a_checkpoint_without_a_post_filter_says_so(tiny_separator: Separator) -> None:
    with pytest.raises(ConfigError, match="has no post-filter"):
        tiny_separator.plan(Options(post_filter=True))


def test_presets_stand_for_their_settings_and_options_override_them(tiny_separator: Separator) -> None:
    assert set(tiny_separator.presets) == {"balanced", "fast", "best"}
    wave = mixture(2)

    def vocals(**options: object) -> np.ndarray:
        return tiny_separator.separate(wave, RATE, Options(**options)).vocals

    assert np.array_equal(vocals(preset="balanced"), vocals())
    assert np.array_equal(vocals(preset="fast"), vocals(steps=1))
    assert np.array_equal(vocals(preset="best"), vocals(averages=3, speeds=(1.0, 1.25)))
    assert np.array_equal(vocals(preset="best", averages=1, speeds=(1.0,)), vocals())
    assert not np.array_equal(vocals(speeds=(1.25,)), vocals())
    assert not np.array_equal(vocals(preset="best"), vocals())
    with pytest.raises(ConfigError, match=r"no preset 'finest'; this checkpoint has: balanced, fast, best"):
        vocals(preset="finest")


def test_without_steps_it_is_the_predictors_estimate(tiny_separator: Separator) -> None:
    wave = mixture(2)
    model = tiny_separator.model
    gain = 0.1 / np.sqrt(np.mean(wave.astype(np.float64) ** 2))
    with torch.no_grad():
        estimate = model.predictor(torch.from_numpy(wave * np.float32(gain))[None])[0].numpy() / gain
    found = tiny_separator.separate(wave, RATE, Options(steps=0, speeds=(1.0,), segment=3.0)).vocals
    assert np.allclose(found, estimate, atol=1e-5) and np.abs(found).max() > 0.01
    predictor, model.predictor = model.predictor, None
    try:
        with pytest.raises(ConfigError, match="this checkpoint has none; use 1 or more"):
            tiny_separator.separate(wave, RATE, Options(steps=0))
    finally:
        model.predictor = predictor


def test_the_power_of_the_mask_takes_away_more_the_higher_it_is(tiny_separator: Separator) -> None:
    wave = mixture(2)
    levels = [
        np.square(tiny_separator.separate(wave, RATE, Options(steps=0, power=power)).vocals).mean()
        for power in (0.45, 1.0, 2.0)
    ]
    assert levels == sorted(levels, reverse=True) and levels[0] > 1.2 * levels[2]
    with pytest.raises(ConfigError, match="power"):
        tiny_separator.separate(wave, RATE, Options(power=0.0))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_cores_changes_nothing(tiny_separator: Separator, threads: int) -> None:
    wave = mixture(5)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        reference = tiny_separator.separate(wave, RATE, Options(threads=3))
        other = tiny_separator.separate(wave, RATE, Options(threads=threads))
        # The caller's own setting is as it was.
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(other.vocals, reference.vocals)


@given(segment=st.floats(1, 4), overlap=st.sampled_from([0.1, 1 / 3, 0.5]))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_segment_and_overlap_within_their_bounds_will_do(
    tiny_separator: Separator, segment: float, overlap: float
) -> None:
    wave = mixture(1)
    stems = tiny_separator.separate(wave, RATE, Options(steps=1, segment=segment, overlap=overlap))
    assert np.array_equal(stems.vocals + stems.instrumental, wave)


def test_half_a_segment_of_an_odd_number_of_samples_overlaps(tiny_separator: Separator) -> None:
    wave = mixture(1)
    stems = tiny_separator.separate(wave, RATE, Options(steps=1, segment=32001 / RATE, overlap=0.5))
    assert np.array_equal(stems.vocals + stems.instrumental, wave)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_batch_size_changes_nothing(tiny_separator: Separator, batch_size: int) -> None:
    wave = mixture(5)
    reference = tiny_separator.separate(wave, RATE, Options(batch_size=3))
    assert np.array_equal(tiny_separator.separate(wave, RATE, Options(batch_size=batch_size)).vocals, reference.vocals)


def test_the_cut_of_the_stream_changes_nothing(tiny_separator: Separator) -> None:
    wave = mixture(4)
    whole = tiny_separator.separate(wave, 22050).vocals
    for size in (1000, 7777):
        blocks = [wave[:, i : i + size] for i in range(0, wave.shape[1], size)]
        parts = [p.vocals for p in tiny_separator.stream(blocks, 22050, 2)]
        assert np.array_equal(np.concatenate(parts, 1), whole)


def test_stochastic_sampling_is_reproducible_too(tiny_separator: Separator) -> None:
    wave = mixture(2)
    options = Options(steps=4, eta=0.5)
    first, again = (tiny_separator.separate(wave, RATE, options).vocals for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, tiny_separator.separate(wave, RATE, Options(steps=4)).vocals)


def test_silence_in_silence_out(tiny_separator: Separator) -> None:
    stems = tiny_separator.separate(np.zeros((2, 40000), np.float32), RATE)
    assert not stems.vocals.any() and not stems.instrumental.any()


def test_gain_of_the_input_is_gain_of_the_output(tiny_separator: Separator) -> None:
    wave = mixture(1)
    loud = tiny_separator.separate(wave, RATE).vocals
    quiet = tiny_separator.separate(wave / 8, RATE).vocals
    assert np.allclose(8 * quiet, loud, atol=1e-4)


def test_no_seam_is_louder_than_the_sound_around_it(tiny_separator: Separator) -> None:
    wave = mixture(6)
    vocals = tiny_separator.separate(wave, RATE, Options(segment=1.0)).vocals.mean(0)
    bends = np.abs(np.diff(vocals, 2))
    # Segments of 1 s overlapping by a quarter: a cross-fade begins 1/16 s after every 3/4 s.
    seam = np.zeros(len(bends), bool)
    for start in range(12000, len(bends), 12000):
        seam[start : start + 4000] = True
    assert np.isfinite(vocals).all() and bends.max() > 0
    assert bends[seam].max() <= 1.5 * bends[~seam].max()


@pytest.mark.parametrize("samples", [1, 160])
def test_one_sample_and_ten_milliseconds_work(tiny_separator: Separator, samples: int) -> None:
    stems = tiny_separator.separate(np.full(samples, 0.5, np.float32), RATE)
    assert stems.vocals.shape == (samples,)
    assert np.array_equal(stems.vocals + stems.instrumental, np.full(samples, 0.5, np.float32))


def test_refusals(tiny_separator: Separator) -> None:
    for wave in (np.zeros((3, 100)), np.zeros((2, 0)), np.full((2, 100), np.nan)):
        with pytest.raises(AudioError):
            tiny_separator.separate(wave, RATE)
    wrong = Options(steps=-1), Options(overlap=0.9), Options(segment=0.1), Options(seed=-1), Options(eta=2)
    speeds = Options(speeds=()), Options(speeds=(1.0, 2.5))
    for options in (*wrong, *speeds, Options(averages=0), Options(averages=101), Options(threads=0)):
        with pytest.raises(ConfigError):
            tiny_separator.separate(np.zeros((2, 100)), RATE, options)
    with pytest.raises(DeviceError, match="use auto"):
        Separator.load(device="gpu")
    formats = ({"suffix": "ogg"}, {"suffix": "flac", "subtype": "float"}, {"suffix": "wav", "bit_rate": 128})
    for one in formats:
        with pytest.raises(ConfigError, match=one["suffix"]):
            tiny_separator.settings(Options(), **one)
    wave = mixture(1)
    with pytest.raises(ValueError, match="stretches to renew"):
        list(tiny_separator.stream_by(tiny_separator.plan(Options()), [wave], RATE, 2, known=iter([wave])))


def test_copies_of_the_model_are_independent(tiny_separator: Separator) -> None:
    import copy

    model = tiny_separator.model
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, model.codec.latent_channels, 64, generator=generator)
    cond, _ = model.condition(0.1 * torch.randn(1, 2, 64 * model.codec.hop, generator=generator))
    before = model.predict_v(z, torch.ones(1), cond)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert torch.equal(model.predict_v(z, torch.ones(1), cond), before)
    assert not torch.equal(twin.predict_v(z, torch.ones(1), cond), before)


def test_a_forgotten_stream_may_be_collected_by_a_thread_of_its_own(
    tiny_separator: Separator, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten, collected, working = threading.Event(), threading.Event(), itertools.count()
    compute = tiny_separator.model.separate

    def collecting(*given: Any, **named: Any) -> torch.Tensor:
        if next(working) == 1 and forgotten.wait(60):
            gc.collect()
            collected.set()
        return compute(*given, **named)

    monkeypatch.setattr(tiny_separator.model, "separate", collecting)
    wrong: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", wrong.append)
    cycle: list[object] = [tiny_separator.stream([mixture(8)], RATE, 2, Options(segment=1.0, threads=1))]
    cycle.append(cycle)
    next(cycle[0])
    gc.disable()
    try:
        del cycle
        forgotten.set()
        assert collected.wait(60) and not wrong
    finally:
        gc.enable()
