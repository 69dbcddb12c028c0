"""Windows and cross-fades: a stream cut up and joined is the stream again."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_sep.signal.noise import noise_field
from ldm_sep.signal.windows import CrossFader, Windower


def rejoin(wave: np.ndarray, cuts: list[int], segment: int, overlap: int, hop: int, spoil: bool = False) -> np.ndarray:
    windower = Windower(segment, overlap, hop, wave.shape[0])
    fader = CrossFader(windower.fade_length)
    out, position = [], 0
    for cut in [*cuts, wave.shape[1]]:
        for window in windower.push(wave[:, position:cut]):
            out.append(fader.add(window, _output(window.wave, windower, window.start, spoil, last=False)))
        position = cut
    for window in windower.flush():
        out.append(fader.add(window, _output(window.wave, windower, window.start, spoil, last=True)))
    return np.concatenate(out, 1) if out else wave[:, :0]


def _output(wave: np.ndarray, windower: Windower, start: int, spoil: bool, last: bool) -> np.ndarray:
    wave = wave.copy()
    if spoil:
        edge = windower.overlap // 4
        if start:
            wave[:, :edge] = 1e6
        if not last:
            wave[:, wave.shape[1] - edge :] = 1e6
    return wave


@settings(deadline=None, max_examples=60)
@given(
    total=st.integers(1, 4000),
    fractions=st.lists(st.floats(0, 1), max_size=5),
    overlap=st.sampled_from([0, 64, 100, 256]),
)
def test_any_stream_cut_anyhow_comes_back_to_the_sample(total: int, fractions: list[float], overlap: int) -> None:
    wave = np.random.default_rng(total).normal(size=(2, total)).astype(np.float32)
    cuts = sorted(int(f * total) for f in fractions)
    joined = rejoin(wave, cuts, 512, overlap, 8)
    assert joined.shape == wave.shape
    assert np.allclose(joined, wave, atol=1e-6)


@pytest.mark.parametrize("total", [512, 513, 1000, 3333])
def test_overlap_add_of_ones_is_exactly_ones(total: int) -> None:
    assert np.array_equal(rejoin(np.ones((1, total), np.float32), [], 512, 128, 8), np.ones((1, total), np.float32))


@pytest.mark.parametrize("total", [512, 700, 2048, 5000])
def test_the_edges_where_a_window_lacks_context_never_come_through(total: int) -> None:
    wave = np.random.default_rng(0).normal(size=(2, total)).astype(np.float32)
    assert np.allclose(rejoin(wave, [], 512, 128, 8, spoil=True), wave, atol=1e-6)


def test_windows_start_and_end_on_frames() -> None:
    windower = Windower(1000, 250, 16, 1)
    windows = [*windower.push(np.zeros((1, 5001), np.float32)), *windower.flush()]
    assert all(w.start % 16 == 0 and w.wave.shape[1] % 16 == 0 for w in windows)
    assert windows[-1].end == 5001


def test_too_much_overlap_is_refused() -> None:
    with pytest.raises(ValueError, match="half the segment"):
        Windower(1000, 600, 8, 1)


def test_noise_depends_on_seed_and_absolute_frame_only() -> None:
    whole = noise_field(3, 4, 0, 1000)
    assert torch.equal(noise_field(3, 4, 300, 500), whole[:, 300:800])
    assert not torch.equal(noise_field(4, 4, 0, 1000), whole)
    assert abs(float(whole.mean())) < 0.06 and abs(float(whole.std()) - 1) < 0.05
    # Neighbouring blocks and seeds share nothing.
    assert abs(float((whole[:, :256] * whole[:, 256:512]).mean())) < 0.12
