"""Samples as they come out: mixed down, without what is too small to hear, refused where they are absurd."""

from pathlib import Path

import numpy as np
import pytest
from field import RATE, encode, refused, song, told, write

from ldm_sep.audio import AudioReader, read
from ldm_sep.errors import AudioError


def test_more_channels_than_two_are_mixed_down_with_the_voice_in_the_centre(tmp_path: Path) -> None:
    for name, form in (("a.wav", "WAVEX"), ("a.flac", "FLAC"), ("six.m4a", "")):
        six = song(RATE, 6) * 0.3
        path = tmp_path / name
        if form:
            write(path, six, format=form, subtype="PCM_24")
        else:
            encode(path, "alac", six)
        lines: list[str] = []
        with AudioReader(path, stereo=True, notice=lines.append) as reader:
            got = np.concatenate(list(reader.blocks(10_000)), axis=1)
            assert reader.info.channels == 2
        left, right, centre, _, back_left, back_right = six
        expected = [left + (centre + back_left) * 0.5**0.5, right + (centre + back_right) * 0.5**0.5]
        assert len(lines) == 1 and "5.1" in lines[0] and np.abs(got - expected).max() < 1e-4
        with AudioReader(path) as reader:
            assert reader.info.channels == 6
    three = song(RATE, 3) * 0.3
    with AudioReader(write(tmp_path / "3.aiff", three, subtype="FLOAT"), stereo=True, notice=lines.append) as reader:
        assert np.abs(reader.take(RATE) - (three[:2] + three[2] * 0.5**0.5)).max() < 1e-5


def test_numbers_too_small_to_hear_come_as_zero(tmp_path: Path) -> None:
    sound = np.array([[1e-39, -1e-38, 1e-30, 0.5, -0.0]], np.float32)
    got, _ = told(write(tmp_path / "a.wav", sound, subtype="FLOAT"))
    assert np.array_equal(got, [[0, 0, np.float32(1e-30), 0.5, 0]])


@pytest.mark.parametrize("bad", [1.5e6, -2e30])
def test_absurd_samples_are_refused_with_the_time_of_the_first(tmp_path: Path, bad: float) -> None:
    sound = song(RATE)
    sound[1, 22050] = sound[0, 30_000] = bad
    path = write(tmp_path / "a.wav", sound, subtype="FLOAT")
    message = refused(path)
    assert "0.500000 s" in message and "times full scale" in message
    sound[:, :] = 9e5
    assert told(write(path, sound, subtype="FLOAT"))[0].max() == 9e5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [7, 1000, 10**9])
def test_the_first_sample_that_is_no_number_is_named(tmp_path: Path, bad: float, size: int) -> None:
    sound = song(30_000)
    sound[1, 22050] = sound[0, 29_000] = bad
    path = write(tmp_path / "a.wav", sound, subtype="FLOAT")
    with AudioReader(path) as reader, pytest.raises(AudioError, match=r"a\.wav.* 0\.500000 s .*finite"):
        list(reader.blocks(size))
    assert read(path, start=29_001)[0].shape == (2, 999)
