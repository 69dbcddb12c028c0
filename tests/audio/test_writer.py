"""What a user finds on disk: exact samples, the same bytes each time, and either a whole file or none."""

import os
import stat
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from ldm_sep.audio import AudioWriter, Subtype, probe, read
from ldm_sep.errors import AudioError

RATE = 44100


def noise(frames: int, channels: int = 2) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.standard_normal((channels, frames)) * 0.2).astype(np.float32).clip(-0.9, 0.9)


def save(path: Path, sound: np.ndarray, subtype: Subtype | None = None, rate: int = RATE) -> AudioWriter:
    with AudioWriter(path, rate, sound.shape[0], subtype=subtype) as writer:
        writer.write(sound)
    return writer


def refusal(path: Path, rate: int = RATE, channels: int = 2, subtype: Subtype | None = None) -> str:
    """The one line shown when a writer cannot be opened; nothing may be left behind by it."""
    with pytest.raises(AudioError) as caught:
        AudioWriter(path, rate, channels, subtype=subtype)
    message = str(caught.value)
    assert "\n" not in message and path.name in message and ";" in message
    return message


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


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
    monkeypatch.setattr("ldm_sep.audio.wavfile._RIFF_LIMIT", 1500)
    sound = noise(501, 1)
    save(tmp_path / "small.wav", sound[:, :200], subtype)
    save(tmp_path / "large.wav", sound, subtype)
    assert sf.info(tmp_path / "small.wav").format == "WAV"
    if subtype == "int16":
        sound = sound[:, :501]
        assert sf.info(tmp_path / "large.wav").format == "WAV"
        monkeypatch.setattr("ldm_sep.audio.wavfile._RIFF_LIMIT", 1000)
        save(tmp_path / "large.wav", sound, subtype)
    info = sf.info(tmp_path / "large.wav")
    assert (info.format, info.frames) == ("RF64", 501)
    assert np.abs(read(tmp_path / "large.wav")[0] - sound).max() <= 2**-16
    data = (tmp_path / "large.wav").read_bytes()
    assert data[:8] == b"RF64\xff\xff\xff\xff"
    assert int.from_bytes(data[20:28], "little") == len(data) - 8
    _, oracle = wavfile.read(tmp_path / "large.wav")
    assert len(oracle) == 501


def test_the_name_appears_only_with_the_complete_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.wav"
    with AudioWriter(path, RATE, 2) as writer:
        writer.write(noise(100))
        assert not path.exists()
    assert everything_in(tmp_path) == [tmp_path / "new", tmp_path / "new/folder", path]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_behind(tmp_path: Path, name: str, error: type[BaseException]) -> None:
    with pytest.raises(error), AudioWriter(tmp_path / "x" / "y" / name, RATE, 2) as writer:
        writer.write(noise(5000))
        raise error
    assert everything_in(tmp_path) == []


def test_folders_that_others_use_meanwhile_stay(tmp_path: Path) -> None:
    writer = AudioWriter(tmp_path / "x" / "y" / "a.wav", RATE, 2)
    (tmp_path / "x" / "other.txt").write_text("kept")
    writer.abort()
    assert everything_in(tmp_path) == [tmp_path / "x", tmp_path / "x" / "other.txt"]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_an_existing_file_survives_a_failure_and_yields_to_success(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"old")
    writer = AudioWriter(tmp_path / name, RATE, 2)
    writer.write(noise(5000))
    writer.abort()
    writer.close()
    assert everything_in(tmp_path) == [tmp_path / name]
    assert (tmp_path / name).read_bytes() == b"old"
    save(tmp_path / name, noise(5000))
    assert everything_in(tmp_path) == [tmp_path / name]
    assert read(tmp_path / name)[0].shape == (2, 5000)


def test_a_file_can_be_written_over_its_own_input(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", noise(3000))
    sound, rate = read(tmp_path / "a.wav")
    save(tmp_path / "a.wav", sound * 2, rate=rate)
    assert np.array_equal(read(tmp_path / "a.wav")[0], noise(3000) * 2)


@pytest.mark.skipif(os.name != "posix", reason="links and umask")
def test_links_are_followed_and_permissions_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.wav").symlink_to(tmp_path / "real" / "a.wav")
    old = os.umask(0o027)
    try:
        save(tmp_path / "link.wav", noise(10))
    finally:
        os.umask(old)
    assert (tmp_path / "link.wav").is_symlink()
    assert stat.S_IMODE((tmp_path / "real" / "a.wav").stat().st_mode) == 0o640


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_a_sample_that_is_no_number_is_never_written(tmp_path: Path, name: str, bad: float) -> None:
    block = noise(RATE)
    block[1, 22050] = bad
    with (
        pytest.raises(AudioError, match=r"1\.500000 s is not a finite"),
        AudioWriter(tmp_path / name, RATE, 2) as writer,
    ):
        writer.write(noise(RATE))
        writer.write(block)
    assert everything_in(tmp_path) == []


def test_a_swallowed_failure_does_not_become_a_file(tmp_path: Path) -> None:
    writer = AudioWriter(tmp_path / "a.wav", RATE, 1)
    writer.write(np.zeros((1, 5), np.float32))
    with pytest.raises(AudioError):
        writer.write(np.full((1, 5), 1e300))
    with pytest.raises(AudioError, match="finite"):
        writer.close()
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_no_samples_make_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioError, match="no samples"), AudioWriter(tmp_path / name, RATE, 2) as writer:
        writer.write(np.zeros((2, 0), np.float32))
    assert everything_in(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files to play a full disk")
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(AudioError) as caught:
        try:
            with AudioWriter(tmp_path / name, RATE, 2) as writer:
                resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
                for _ in range(10):
                    writer.write(noise(20_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written" in str(caught.value) and "\n" not in str(caught.value)
    assert everything_in(tmp_path) == []


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


def test_places_that_cannot_be_written_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "file").write_text("x")
    before = everything_in(tmp_path)
    assert "is a folder" in refusal(tmp_path / "folder.wav")
    assert "folder cannot be made" in refusal(tmp_path / "file" / "deeper" / "a.wav")
    assert "name" in refusal(tmp_path / ("x" * 300 + ".wav"))
    if sys.platform == "linux":
        refusal(Path("/proc/ldm_sep/a.wav"))
        refusal(Path("/proc/a.wav"))
    assert everything_in(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "permissions" in refusal(tmp_path / "a.wav")
        assert "folder cannot be made" in refusal(tmp_path / "new" / "a.wav")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_unicode_and_long_names(tmp_path: Path, suffix: str) -> None:
    for stem in ("Ü ’歌🎤", "x" * 250):
        path = tmp_path / f"{stem}.{suffix}"
        save(path, noise(3000))
        assert read(path)[0].shape == (2, 3000)
