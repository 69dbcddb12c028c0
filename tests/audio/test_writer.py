"""What a user finds in written files: exact samples, and the same bytes each time."""

import time
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from field import RATE
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from written import everything_in, noise, refusal, save

from ldm_sep.audio import AudioWriter, Subtype, probe, read


def test_int16_bytes_are_those_of_the_standard_library(tmp_path: Path) -> None:
    values = np.array([[-32768, -1, 0, 1, 32767], [9, -9, 8, -8, 7]], np.int16)
    writer = save(tmp_path / "a.wav", (values / 2**15).astype(np.float32), "int16", 22050)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (2, 2, 22050, 5)
        assert file.readframes(99) == values.T.astype("<i2").tobytes()
    assert writer.clipped == 0 and writer.frames == 5


@settings(max_examples=10, deadline=None)
@given(values=st.lists(st.integers(-(2**23), 2**23 - 1), min_size=1, max_size=40))
def test_int24_grid_values_come_back_bit_by_bit(tmp_path_factory: pytest.TempPathFactory, values: list[int]) -> None:
    folder = tmp_path_factory.mktemp("grid")
    grid = np.array([[-(2**23), -(2**23) + 1, -1, 0, 1, 2**23 - 1, *values]], np.int32)
    sound = (grid / 2**23).astype(np.float32)
    for name in ("a.wav", "a.flac"):
        assert save(folder / name, sound, "int24").clipped == 0
        assert np.array_equal(read(folder / name)[0], sound)
        assert np.array_equal(sf.read(folder / name, dtype="int32")[0] >> 8, grid[0])
    with wave.open(str(folder / "a.wav")) as file:  # an odd number of bytes, padded, must not add a sample
        raw = file.readframes(99)
    assert [int.from_bytes(raw[i : i + 3], "little", signed=True) for i in range(0, len(raw), 3)] == grid[0].tolist()


def test_int16_flac_grid_values_come_back_bit_by_bit(tmp_path: Path) -> None:
    grid = np.arange(-(2**15), 2**15, dtype=np.int32)[None]
    save(tmp_path / "a.flac", (grid / 2**15).astype(np.float32), "int16")
    assert np.array_equal(sf.read(tmp_path / "a.flac", dtype="int16")[0], grid[0])
    assert sf.info(tmp_path / "a.flac").subtype == "PCM_16"


def test_samples_between_grid_values_go_to_the_nearest(tmp_path: Path) -> None:
    sound = noise(1000)
    for name in ("a.wav", "a.flac"):
        for subtype, bits in (("int16", 16), ("int24", 24)):
            save(tmp_path / name, sound, subtype)
            error = np.abs(read(tmp_path / name)[0].astype(np.float64) - sound)
            assert error.max() <= 0.5 / 2 ** (bits - 1)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize(("subtype", "bits"), [("int16", 16), ("int24", 24)])
def test_clipping_is_counted_and_nothing_is_rescaled(tmp_path: Path, name: str, subtype: Subtype, bits: int) -> None:
    highest = 1 - 2.0 ** (1 - bits)
    sound = np.array([[0.5, 1.0, 1.5, -1.0, -1.25, 3e38, -0.5], [0, 0, 0, 0, -3e38, highest, 0.25]], np.float32)
    writer = save(tmp_path / name, sound, subtype)
    got, _ = read(tmp_path / name)
    assert np.array_equal(got, np.clip(sound, -1, np.float32(highest)))
    assert writer.clipped == 5


def test_float_is_exact_beyond_full_scale(tmp_path: Path) -> None:
    sound = np.array([[1e-30, -3.5, 3e38], [0.1, 1.0, -1.0]], np.float32)
    writer = save(tmp_path / "a.wav", sound)
    rate, oracle = wavfile.read(tmp_path / "a.wav")
    assert rate == RATE and oracle.dtype == np.float32 and np.array_equal(oracle.T, sound)
    assert writer.clipped == 0
    save(tmp_path / "a.wav", sound.clip(-1e6, 1e6))
    assert np.array_equal(read(tmp_path / "a.wav")[0], sound.clip(-1e6, 1e6))


def test_default_subtypes(tmp_path: Path) -> None:
    for name, subtype in (("a.wav", "FLOAT"), ("a.flac", "PCM_24"), ("a.MP3", "MPEG_LAYER_III")):
        save(tmp_path / name, noise(3000))
        assert sf.info(tmp_path / name).subtype == subtype


@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_keeps_length_place_and_level(tmp_path: Path, channels: int) -> None:
    low = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) * np.hanning(RATE) * 1.5
    sound = np.repeat(low[None], channels, axis=0).astype(np.float32)
    writer = save(tmp_path / "a.mp3", sound)
    got, rate = read(tmp_path / "a.mp3")
    assert rate == RATE and got.shape == sound.shape and writer.clipped == 0
    assert np.abs(got - sound).max() < 0.01


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_same_samples_give_the_same_bytes_at_any_time_in_any_blocks(tmp_path: Path, name: str) -> None:
    sound = noise(20_000)
    save(tmp_path / name, sound)
    first = (tmp_path / name).read_bytes()
    time.sleep(1.05)  # a time stamp in the file would count seconds
    with AudioWriter(tmp_path / name, RATE, 2) as writer:
        for start in range(0, 20_000, 777):
            writer.write(sound[:, start : start + 777])
            writer.write(sound[:, :0])
    assert (tmp_path / name).read_bytes() == first
    assert writer.frames == 20_000


@pytest.mark.parametrize("subtype", ["float", "int24", "int16"])
def test_a_wav_that_outgrows_its_header_becomes_rf64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: Subtype
) -> None:
    monkeypatch.setattr("ldm_sep.audio.encoders._RIFF_LIMIT", 1500)
    sound = noise(501, 1)
    save(tmp_path / "small.wav", sound[:, :200], subtype)
    save(tmp_path / "large.wav", sound, subtype)
    assert sf.info(tmp_path / "small.wav").format == "WAV"
    if subtype == "int16":
        sound = sound[:, :501]
        assert sf.info(tmp_path / "large.wav").format == "WAV"
        monkeypatch.setattr("ldm_sep.audio.encoders._RIFF_LIMIT", 1000)
        save(tmp_path / "large.wav", sound, subtype)
    info = sf.info(tmp_path / "large.wav")
    assert (info.format, info.frames) == ("RF64", 501)
    assert np.abs(read(tmp_path / "large.wav")[0] - sound).max() <= 2**-16
    data = (tmp_path / "large.wav").read_bytes()
    assert data[:8] == b"RF64\xff\xff\xff\xff"
    assert int.from_bytes(data[20:28], "little") == len(data) - 8
    _, oracle = wavfile.read(tmp_path / "large.wav")
    assert len(oracle) == 501


def test_blocks_of_another_shape_and_late_blocks_are_defects(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a.wav", RATE, 2) as writer:
        for shape in ((1, 5), (5, 2), (10,)):
            with pytest.raises(ValueError, match="not \\(2, T\\)"):
                writer.write(np.zeros(shape, np.float32))
        writer.write(noise(10))
    with pytest.raises(ValueError, match="closed"):
        writer.write(noise(10))


def test_what_a_container_cannot_hold_is_refused_at_once(tmp_path: Path) -> None:
    assert ".wav, .flac, .mp3" in refusal(tmp_path / "a.xyz")
    assert ".wav, .flac, .mp3" in refusal(tmp_path / "a")
    assert "int24 or int16" in refusal(tmp_path / "a.flac", subtype="float")
    assert "44100" in refusal(tmp_path / "a.mp3", rate=44099)
    assert "write .wav" in refusal(tmp_path / "a.mp3", channels=3)
    assert "1 to 8 channels" in refusal(tmp_path / "a.flac", channels=9)
    assert "write .wav" in refusal(tmp_path / "a.flac", rate=65_537)
    assert "write .wav" in refusal(tmp_path / "a.flac", rate=700_000)
    for rate in (0, 999, 768_001):
        assert "Hz" in refusal(tmp_path / "a.wav", rate=rate)
    for channels in (0, 65):
        assert "channels" in refusal(tmp_path / "a.wav", channels=channels)
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("rate", [1000, 44099, 65_535, 65_540, 96_000, 655_350])
def test_flac_rates_that_are_not_refused_work(tmp_path: Path, rate: int) -> None:
    save(tmp_path / "a.flac", noise(100), rate=rate)
    assert probe(tmp_path / "a.flac").sample_rate == rate


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_mp3_rates_that_are_not_refused_work(tmp_path: Path, rate: int) -> None:
    save(tmp_path / "a.mp3", noise(3000, 1), rate=rate)
    info = probe(tmp_path / "a.mp3")
    assert (info.sample_rate, info.frames) == (rate, 3000)
