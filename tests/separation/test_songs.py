"""Songs as they come: more channels, whole numbers, damage, absurd samples; told before any work."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, mixture

from ldm_sep.audio import read
from ldm_sep.errors import AudioError
from ldm_sep.separation.phase import in_phase
from ldm_sep.separation.separator import Options, Separator

ONE_STEP = Options(steps=1)


def test_surround_is_separated_as_its_stereo_mixdown(tiny_separator: Separator, tmp_path: Path) -> None:
    left, right = mixture(2)
    six = np.stack([left, right, left / 4, 0 * left, right / 8, left / 8])
    sf.write(tmp_path / "six.wav", six.T, RATE, subtype="FLOAT", format="WAVEX")
    told: list[str] = []
    paths = tiny_separator.separate_file(tmp_path / "six.wav", tmp_path / "out", ONE_STEP, notice=told.append)
    stems = [read(path)[0] for path in paths.values()]
    fold = 0.5**0.5
    expected = np.stack([left + fold * (left / 4 + right / 8), right + fold * (left / 4 + left / 8)])
    assert len(told) == 1 and "6 channels" in told[0] and "stereo" in told[0]
    assert np.abs(sum(stems) - expected).max() < 1e-5


def test_whole_numbers_are_scaled_as_files_of_them_are(tiny_separator: Separator) -> None:
    wave = mixture(1)
    expected = tiny_separator.separate(wave, RATE, ONE_STEP).vocals
    for numbers in (np.int16(wave * 2**15), np.int32(wave.astype(np.float64) * 2**31)):
        assert np.array_equal(tiny_separator.separate(numbers, RATE, ONE_STEP).vocals, expected)
    eight = np.uint8(np.rint(wave * 64) + 128)
    assert np.array_equal(
        tiny_separator.separate(eight, RATE, ONE_STEP).vocals,
        tiny_separator.separate(np.rint(wave * 64) / 128, RATE, ONE_STEP).vocals,
    )


@pytest.mark.parametrize(
    ("wave", "needle"),
    [
        (np.zeros((100, 2), np.float32), "wave.T"),
        (np.zeros((100, 1), np.int16), "wave.T"),
        (np.zeros((2, 3, 4)), "shape"),
        (np.zeros((2, 100), np.complex64), "complex64"),
        (np.zeros((2, 100), bool), "bool"),
        (np.array([0.0, 2e6]), "0.000063 s is 2e+06 times full scale"),
        (np.array([0.0, 0.1, 1e300]), "0.000125 s is not a finite number"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused_with_what_is_wrong(
    tiny_separator: Separator, wave: np.ndarray, needle: str
) -> None:
    with pytest.raises(AudioError) as caught:
        tiny_separator.separate(wave, RATE)
    assert needle in str(caught.value)


def test_damage_is_told_once_and_before_any_work(tiny_separator: Separator, tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    sf.write(path, np.tile(mixture(5), 4).T, RATE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    lines: list[str] = []
    seen: list[int] = []
    paths = tiny_separator.separate_file(
        *(path, tmp_path / "out", ONE_STEP),
        notice=lines.append,
        progress=lambda fraction, stage, left: seen.append(len(lines)) if stage != "reading" else None,
    )
    assert len(lines) == 1 and "damaged" in lines[0] and set(seen) == {1}
    assert len({read(stem)[0].shape for stem in paths.values()}) == 1
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match="cut off"):
        tiny_separator.separate_file(path, tmp_path / "none", ONE_STEP)
    assert not (tmp_path / "none").exists()


def not_begun(fraction: float, stage: str, left: float | None) -> None:
    assert stage == "reading"


def test_a_sample_beyond_all_measure_at_the_end_is_refused_before_any_work(
    tiny_separator: Separator, tmp_path: Path
) -> None:
    wave = mixture(2)
    wave[0, -1] = np.nan
    sf.write(tmp_path / "song.wav", wave.T, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"1\.99\d* s is not a finite number"):
        tiny_separator.separate_file(tmp_path / "song.wav", tmp_path / "out", progress=not_begun)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("gains", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_dual_mono_and_one_silent_channel_come_out_whole(
    tiny_separator: Separator, tmp_path: Path, gains: tuple[float, float]
) -> None:
    wave = np.float32(gains)[:, None] * mixture(2)[:1]
    stems = tiny_separator.separate(wave, RATE, ONE_STEP)
    assert np.array_equal(stems.vocals + stems.instrumental, wave)
    assert np.abs(stems.vocals).max() > 0.01


@pytest.mark.parametrize("gain", [-1.0, -0.5])
def test_a_channel_the_wrong_way_round_is_separated_as_the_right_way_round(
    tiny_separator: Separator, gain: float
) -> None:
    wave = mixture(3)
    turned = tiny_separator.separate(wave * np.float32([[1], [gain]]), RATE, ONE_STEP)
    right = tiny_separator.separate(wave * np.float32([[1], [-gain]]), RATE, ONE_STEP)
    assert np.array_equal(turned.vocals, right.vocals * np.float32([[1], [-1]]))
    assert np.array_equal(turned.vocals + turned.instrumental, wave * np.float32([[1], [gain]]))


def test_only_a_channel_that_runs_against_the_other_is_turned() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 10_000)).astype(np.float32)
    for wave in ([left], [left, left], [left, right], [left, 0 * left], [0 * left, 0 * left], [left, right - left / 5]):
        assert (in_phase(np.array(wave)) == 1).all()
    for wave in ([left, -left], [left, -left / 100], [left, right / 2 - left]):
        assert in_phase(np.array(wave)).ravel().tolist() == [1, -1]
