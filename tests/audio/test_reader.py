"""What a user gets from reading files: the right samples in any block size, or one clear line."""

import os
import sys
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from field import RATE, refused, wav_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_sep.audio import AudioReader, probe, read
from ldm_sep.errors import AudioError


def noise(frames: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    """(C, T) noise that fades away, so that variable bit rates vary."""
    rng = np.random.default_rng(seed)
    fade = (1 - np.arange(frames) / frames) ** 4
    return (rng.standard_normal((channels, frames)) * 0.2 * fade).astype(np.float32).clip(-1, 1)


def save(path: Path, wave_: np.ndarray, rate: int = RATE, **options: object) -> Path:
    sf.write(path, wave_.T, rate, **options)
    return path


def test_int16_samples_are_exact(tmp_path: Path) -> None:
    values = np.array([[-32768, -1, 0, 1, 32767], [5, 4, 3, 2, 1]], np.int16)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, 2, 22050, 0, "NONE", ""))
        file.writeframes(values.T.astype("<i2").tobytes())
    got, rate = read(tmp_path / "a.wav")
    assert rate == 22050 and got.dtype == np.float32
    assert np.array_equal(got, values.astype(np.float64) / 2**15)


def test_int24_samples_are_exact(tmp_path: Path) -> None:
    values = np.array([-(2**23), -(2**23) + 1, -1, 0, 1, 2**23 - 1, 5592405], np.int32)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 3, 48000, 0, "NONE", ""))
        file.writeframes(values.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    got, _ = read(tmp_path / "a.wav")
    assert np.array_equal(got[0], values.astype(np.float64) / 2**23)


@pytest.mark.parametrize(
    ("name", "options", "format_", "subtype"),
    [
        ("a.wav", {"subtype": "FLOAT"}, "WAV", "FLOAT"),
        ("a.flac", {"subtype": "PCM_24"}, "FLAC", "FLAC"),
        ("a.aiff", {"subtype": "PCM_16"}, "AIFF", "PCM_16"),
        ("a.mp3", {}, "MP3", "MP3FLOAT"),
        ("a.ogg", {}, "OGG", "VORBIS"),
        ("a.opus", {"format": "OGG", "subtype": "OPUS", "samplerate": 48000}, "OGG", "OPUS"),
    ],
)
def test_every_format_is_read_at_the_promised_length(
    tmp_path: Path, name: str, options: dict, format_: str, subtype: str
) -> None:
    rate = options.pop("samplerate", RATE)
    time = np.arange(rate // 2) / rate
    tones = np.stack([np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 1000 * time)])
    sound = (tones * np.hanning(rate // 2) * 0.5).astype(np.float32)
    info = probe(save(tmp_path / name, sound, rate, **options))
    assert (info.sample_rate, info.channels) == (rate, 2)
    assert info.frames == rate // 2 + (312 if subtype == "OPUS" else 0)  # Opus counts its lead-in
    assert (info.format, info.subtype, info.path) == (format_, subtype, tmp_path / name)
    got, got_rate = read(tmp_path / name)
    assert got_rate == rate and got.shape == sound.shape
    tolerance = {"FLOAT": 0, "FLAC": 2**-23, "PCM_16": 2**-15}.get(subtype, 0.05)
    assert np.abs(got - sound).max() <= tolerance


@pytest.fixture(scope="module")
def samples_of(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, np.ndarray]]:
    folder = tmp_path_factory.mktemp("blocks")
    paths = [
        save(folder / "a.wav", noise(40_000), subtype="PCM_16"),
        save(folder / "a.flac", noise(40_000), subtype="PCM_24"),
        save(folder / "a.mp3", noise(40_000)),
        save(folder / "a.ogg", noise(40_000)),
    ]
    return [(path, read(path)[0]) for path in paths]


@settings(max_examples=8, deadline=None)
@given(size=st.integers(40, 20_000))
def test_the_block_size_does_not_change_a_sample(samples_of: list[tuple[Path, np.ndarray]], size: int) -> None:
    for path, whole in samples_of:
        with AudioReader(path) as reader:
            blocks = list(reader.blocks(size))
        assert [b.shape[1] for b in blocks[:-1]] == [size] * (len(blocks) - 1)
        assert 0 < blocks[-1].shape[1] <= size
        assert np.array_equal(np.concatenate(blocks, axis=1), whole)


@settings(max_examples=12, deadline=None)
@given(start=st.integers(0, 39_999), frames=st.integers(1, 50_000))
def test_a_part_of_a_file_is_that_part_of_the_whole(
    samples_of: list[tuple[Path, np.ndarray]], start: int, frames: int
) -> None:
    for path, whole in samples_of:
        part, _ = read(path, start=start, frames=frames)
        assert np.array_equal(part, whole[:, start : start + frames])


def test_a_start_behind_the_end_is_refused(samples_of: list[tuple[Path, np.ndarray]]) -> None:
    for path, whole in samples_of:
        for start in (whole.shape[1], whole.shape[1] + 12345):
            with pytest.raises(AudioError, match="earlier start"):
                read(path, start=start)


def test_arguments_that_cannot_be_meant_raise_at_once(samples_of: list[tuple[Path, np.ndarray]]) -> None:
    path = samples_of[0][0]
    with pytest.raises(ValueError, match="frames"):
        read(path, frames=0)
    with pytest.raises(ValueError, match="negative"):
        read(path, start=-1)
    with AudioReader(path) as reader, pytest.raises(ValueError, match="frames"):
        next(reader.blocks(0))


def test_six_channels_and_one_sample_are_no_errors(tmp_path: Path) -> None:
    six = noise(100, 6)
    assert np.array_equal(read(save(tmp_path / "six.wav", six, subtype="FLOAT"))[0], six)
    one = np.array([[0.5]], np.float32)
    assert np.array_equal(read(save(tmp_path / "one.wav", one))[0], one)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_unicode_names(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"Ü ’歌🎤.{suffix}", noise(5000))
    assert read(path)[0].shape == (2, 5000)
    path.write_bytes(b"")
    assert "empty" in refused(path)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_name_that_is_not_utf8_is_read_and_can_be_printed(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.wav"))
    save(tmp_path / "a.wav", noise(100)).rename(path)
    assert read(path)[0].shape == (2, 100)
    path.write_bytes(b"")
    with pytest.raises(AudioError) as caught:
        read(path)
    assert str(caught.value).isprintable() and "caf" in str(caught.value)


def test_missing_folder_empty_and_pipe(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing.wav")
    assert "folder" in refused(tmp_path)
    (tmp_path / "a.wav").touch()
    assert "empty (0 bytes)" in refused(tmp_path / "a.wav")
    assert "no such file" in refused(tmp_path / "a.wav" / "b.wav")
    assert "cannot be opened" in refused(tmp_path / ("x" * 300 + ".wav"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")
        assert "not a regular file" in refused(tmp_path / "pipe.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg"])
def test_a_header_without_samples_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with sf.SoundFile(path, "w", RATE, 2):
        pass
    message = refused(path)
    assert "no samples" in message or "empty (0 bytes)" in message


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.gsm", "a.raw", "a"])
def test_text_is_not_audio_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# Lyrics – été\n" * 500, encoding="utf-8")
    assert "text" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["a.m4a", "a song.m4a", "a.raw", "a.vox", "a.bin", "a.wav", "a.mp3"])
def test_bytes_that_are_no_audio_are_refused_whatever_their_name(tmp_path: Path, name: str) -> None:
    box = b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00" + bytes(range(1, 256)) * 20
    for data in (box, np.random.default_rng(0).bytes(5000), b"RIFF\x00\x01\x00\x00WAVEfmt \xff\xff\x10\x00"):
        (tmp_path / name).write_bytes(data)
        message = refused(tmp_path / name)
        assert "damaged" in message and "convert it to wav" in message


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac", "a.mp3"])
def test_a_cut_off_file_says_how_much_is_left(tmp_path: Path, name: str) -> None:
    options = {"bitrate_mode": "CONSTANT", "compression_level": 0.5} if name == "a.mp3" else {}
    path = save(tmp_path / name, np.sign(noise(4 * RATE)) * 0.1, **options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    message = refused(path)
    seconds, total = (float(word) for word in message.split(": ")[1].split() if word.replace(".", "").isdigit())
    assert total == pytest.approx(4, abs=0.03)
    assert 1.2 < seconds < 2.1
    assert "cut off" in message
    if name != "a.flac":  # no need to decode for minutes first
        with pytest.raises(AudioError, match="cut off"):
            probe(path)


def test_a_format_whose_cuts_nobody_can_see_is_refused(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.voc", np.zeros(8000), 8000, format="VOC", subtype="PCM_16")
    with pytest.raises(AudioError, match=r"a\.voc.*where it was cut off could not be told.*convert it to wav or flac"):
        AudioReader(tmp_path / "a.voc")


def test_a_declared_size_is_never_allocated(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_bytes(bytes(64_000), data_size=0x70000000, channels=64))
    path = save(tmp_path / "a.flac", noise(20_000), subtype="PCM_16")
    expected, _ = read(path)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # STREAMINFO's 36-bit number of samples
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)
    tracemalloc.start()
    assert "cut off" in refused(tmp_path / "a.wav")
    assert probe(path).frames is None
    got, _ = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(got, expected)
    assert peak < 2_000_000


def test_a_flac_that_declares_a_little_too_much_is_cut_off(tmp_path: Path) -> None:
    path = save(tmp_path / "a.flac", noise(RATE), subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[22:26] = (RATE + 4410).to_bytes(4, "big")
    path.write_bytes(data)
    message = refused(path)
    assert "1.00 s of 1.10 s" in message


def test_a_flac_stream_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = save(tmp_path / "a.flac", noise(RATE), subtype="PCM_24")
    whole, _ = read(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert probe(path).frames is None
    assert np.array_equal(read(path)[0], whole)
    assert np.array_equal(read(path, start=20_000)[0], whole[:, 20_000:])


def test_reading_uses_constant_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", np.zeros((2, 2_000_000), np.float32), subtype="PCM_16")
    tracemalloc.start()
    with AudioReader(path) as reader:
        total = sum(block.shape[1] for block in reader.blocks(8192))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 2_000_000 and peak < 1_500_000
