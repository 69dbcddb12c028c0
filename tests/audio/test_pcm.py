"""Uncompressed files: all samples that are there, whatever the header says of their number."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from field import RATE, refused, song, told, wav_bytes, write

from ldm_sep.audio import probe, read

SONG = song(3 * RATE)


@pytest.mark.parametrize("bits", [8, 16, 24])
@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.aiff", "a.w64", "a.caf", "a.au", "a.rf64"])
def test_whole_numbers_come_bit_by_bit(tmp_path: Path, name: str, bits: int) -> None:
    values = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (2, 5000))
    form = name[2:].upper()
    unsigned = bits == 8 and form in ("WAV", "W64", "RF64")
    subtype = {8: "PCM_U8" if unsigned else "PCM_S8", 16: "PCM_16", 24: "PCM_24"}[bits]
    path = tmp_path / ("a.wav" if form == "RF64" else name)
    sf.write(path, (values << (32 - bits)).astype(np.int32).T, RATE, format=form, subtype=subtype)
    got, lines = told(path)
    assert not lines and np.array_equal(got, values / 2 ** (bits - 1))


@pytest.mark.parametrize("endian", ["BIG", "LITTLE"])
@pytest.mark.parametrize(
    ("form", "subtype"), [("AIFF", "PCM_24"), ("CAF", "FLOAT"), ("AU", "PCM_16"), ("WAV", "PCM_16")]
)
def test_either_byte_order_is_read(tmp_path: Path, form: str, subtype: str, endian: str) -> None:
    path = write(tmp_path / "a.x", SONG, format=form, subtype=subtype, endian=endian)
    assert np.abs(told(path)[0] - SONG).max() <= 2**-15


def sizes(path: Path, form: str) -> tuple[int, int]:
    """Offset and width of the field that holds the size of the samples."""
    data = path.read_bytes()
    if form == "AU":
        return 8, 4
    at = data.index({"AIFF": b"SSND", "CAF": b"data"}.get(form, b"data"))
    return (at + 16, 8) if form == "W64" else (at + 4, 8 if form == "CAF" else 4)


FORMS = {"WAV": "<", "AIFF": ">", "AU": ">", "W64": "<", "CAF": ">"}


@pytest.mark.parametrize("form", FORMS)
def test_samples_behind_the_declared_end_are_read(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "a.x", SONG, format=form, subtype="PCM_16")
    whole, _ = told(path)
    offset, width = sizes(path, form)
    data = bytearray(path.read_bytes())
    field = slice(offset, offset + width)
    order = "little" if FORMS[form] == "<" else "big"
    declared = int.from_bytes(data[field], order)
    unknown = [2**64 - 1] if form == "CAF" else [2 ** (8 * width) - 1] if width == 4 else []
    for size in (declared // 4 * 2, declared // 8 * 4 + 4, 0 if form != "AIFF" else 8, *unknown):
        data[field] = size.to_bytes(width, order)
        path.write_bytes(data)
        got, _ = told(path)
        assert np.array_equal(got, whole), size


@pytest.mark.parametrize("form", FORMS)
def test_a_size_a_little_too_large_is_told_and_more_is_cut_off(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "a.x", SONG, format=form, subtype="PCM_16")
    whole, _ = told(path)
    offset, width = sizes(path, form)
    data = bytearray(path.read_bytes())
    order = "little" if FORMS[form] == "<" else "big"
    size = int.from_bytes(data[offset : offset + width], order)
    for more in (3, 44):
        data[offset : offset + width] = (size + more).to_bytes(width, order)
        path.write_bytes(data)
        got, lines = told(path)
        assert np.array_equal(got, whole) and len(lines) == 1 and f"{more} bytes more" in lines[0]
    data[offset : offset + width] = (size + 1000).to_bytes(width, order)
    path.write_bytes(data)
    assert "cut off" in refused(path)


def test_a_wav_of_more_than_four_gigabytes_is_read_whatever_its_size_field_says(tmp_path: Path) -> None:
    frames = 2**32 // 4 + 5000
    header = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHHI", 16, 1, 2, RATE, 4 * RATE, 4, 16, 0)[:-4] + b"data"
    end = np.arange(2000, dtype="<i2")
    for tail in (b"", b"LIST" + struct.pack("<I", 4) + b"INFO"):
        for size in (4 * frames % 2**32, 0, 0xFFFFFFFF, 0x7FFFF000):
            path = tmp_path / "a.wav"
            if tail and size != 4 * frames % 2**32:
                continue
            with path.open("wb") as file:
                file.write(header + struct.pack("<I", size))
                file.seek(4 * frames - end.nbytes, 1)
                file.write(end.tobytes() + tail)
            assert probe(path).frames == frames
            got, _ = read(path, start=frames - 1000)
            assert np.array_equal(got, end.reshape(-1, 2).T / 2**15)


@pytest.mark.parametrize("data_size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36])
@pytest.mark.parametrize("riff_size", [0, 8, 36, 12036, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_has_the_frames_that_are_there(tmp_path: Path, data_size: int, riff_size: int) -> None:
    for values in (np.arange(-3000, 3000, dtype="<i2").reshape(-1, 2), np.zeros((3000, 2), "<i2")):
        data = wav_bytes(values.tobytes(), data_size=data_size)
        (tmp_path / "a.wav").write_bytes(data[:4] + struct.pack("<I", riff_size) + data[8:])
        got, _ = read(tmp_path / "a.wav")
        assert np.array_equal(got, values.T / 2**15)
        assert probe(tmp_path / "a.wav").frames == 3000
        assert np.array_equal(read(tmp_path / "a.wav", start=2000)[0], got[:, 2000:])


def test_an_empty_wav_with_other_chunks_behind_the_samples_stays_empty(tmp_path: Path) -> None:
    extra = b"LIST" + struct.pack("<I", 14) + b"INFOISFT" + struct.pack("<I", 2) + b"x\0" + b"note\0\0\0\0"
    (tmp_path / "a.wav").write_bytes(wav_bytes(extra, data_size=0))
    assert "no samples" in refused(tmp_path / "a.wav")


def test_one_missing_frame_of_a_wav_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", song(1000))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"a\.wav: its header declares 1 bytes more"):
        assert read(path)[0].shape == (2, 999)
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut off" in refused(path)


def test_rf64_is_read_and_checked_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", song(1000), format="RF64", subtype="FLOAT")
    assert np.array_equal(read(path)[0], song(1000))
    data = path.read_bytes()
    path.write_bytes(data[:20] + bytes(24) + data[44:])  # as from a pipe
    assert np.array_equal(read(path)[0], song(1000))
    path.write_bytes(data[:-100])
    assert "cut off" in refused(path)


@pytest.mark.parametrize(("rate", "fine"), [(999, False), (1000, True), (768_000, True), (768_001, False)])
def test_sample_rates_have_limits(tmp_path: Path, rate: int, fine: bool) -> None:
    (tmp_path / "a.wav").write_bytes(wav_bytes(bytes(400), data_size=400, rate=rate))
    if fine:
        assert probe(tmp_path / "a.wav").sample_rate == rate
    else:
        assert f"{rate} Hz" in refused(tmp_path / "a.wav")


@pytest.mark.parametrize(("channels", "fine"), [(64, True), (65, False), (60_000, False)])
def test_channels_have_limits(tmp_path: Path, channels: int, fine: bool) -> None:
    (tmp_path / "a.wav").write_bytes(wav_bytes(bytes(130_000), data_size=130_000, channels=channels))
    if fine:
        assert probe(tmp_path / "a.wav").channels == channels
    else:
        refused(tmp_path / "a.wav")


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_24", "DOUBLE"])
@pytest.mark.parametrize("form", ["WAV", "AU", "AIFF", "SVX"])
def test_one_sample_less_than_declared_is_never_kept_quiet(tmp_path: Path, form: str, subtype: str) -> None:
    subtype = {"SVX": "PCM_16" if subtype == "PCM_24" else "PCM_S8"}.get(form, subtype)
    path = write(tmp_path / "a.x", SONG[:1], format=form, subtype=subtype)
    whole, lines = told(path)
    assert not lines and whole.shape == (1, SONG.shape[1])
    assert np.array_equal(read(path, start=1000)[0], whole[:, 1000:])
    data = path.read_bytes()
    path.write_bytes(data[:-2])
    got, lines = told(path)
    assert len(lines) == 1 and "more than there are" in lines[0] and 0 < whole.shape[1] - got.shape[1] <= 2
    path.write_bytes(data[:-1000])
    assert "cut off" in refused(path)
