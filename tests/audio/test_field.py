"""Files as users have them: every container, damage of every usual kind, lengths that headers get wrong."""

import io
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import ROOT
from field import COMPRESSED, RATE, encode, lag, song, write

from ldm_sep.audio import AudioReader, probe, read, survey
from ldm_sep.errors import AudioError

SONG = song(3 * RATE)
# Samples of an encoder's delay that no field of the container tells the decoder of.
UNTOLD_DELAY = {"a.aac": 1024, "a.ts": 1024, "a.flv": 1024, "a.avi": 1105, "mp3 in.wav": 1105}
UNTOLD_DELAY |= {"a.mp2": 481, "a.ac3": 256}
EXACT = ("a.flac", "alac.m4a", "a.mka", "a.oga", "a.caf", "a.mov")
GAPLESS = ("a.mp3", "a.m4a", "a.mp4", "a.webm", "a.opus", *EXACT)


def told(path: Path) -> tuple[np.ndarray, list[str]]:
    """Samples of a file, and the lines that the reader has for its user."""
    lines: list[str] = []
    wave, _ = read(path, notice=lines.append)
    assert all("\n" not in line and path.name in line for line in lines)
    return wave, lines


def refused(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        read(path, notice=lambda line: None)
    message = str(caught.value)
    assert "\n" not in message and ";" in message and path.name in message
    return message


def position(data: bytes, share: float) -> int:
    return int(len(data) * share)


@pytest.mark.parametrize("name", COMPRESSED)
def test_every_container_is_read_whole_and_in_place(tmp_path: Path, name: str) -> None:
    codec, container, rate = COMPRESSED[name]
    got, lines = told(encode(tmp_path / name, codec, SONG, rate, container))
    assert not lines and probe(tmp_path / name).sample_rate == rate
    if name in GAPLESS:
        assert got.shape == SONG.shape
    # FFmpeg's own encoder of WMA does not write the samples that its decoder takes for the encoder's delay.
    expected = -2048 if name == "a.wma" else UNTOLD_DELAY.get(name, 0)
    assert abs(lag(got, SONG) - expected) <= 1 and got.shape[1] >= SONG.shape[1] + min(expected, 0)
    if name in EXACT:
        assert np.abs(got - SONG).max() <= 2**-15


@pytest.mark.parametrize("name", ["song.ogg", "vocals.ogg"])
def test_the_demo_is_read_as_libsndfile_reads_it_and_nothing_is_said_of_it(name: str) -> None:
    path = ROOT / "demo" / name
    got, lines = told(path)
    assert not lines and np.abs(got - sf.read(path, dtype="float32")[0].T).max() < 1e-5


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


@pytest.mark.parametrize(("name", "subtype"), [("a.ogg", "VORBIS"), ("a.opus", "OPUS")])
def test_every_link_of_a_chained_ogg_is_read_as_if_alone(tmp_path: Path, name: str, subtype: str) -> None:
    links = []
    for i, frames in enumerate((96_000, 12_000, 20_000, 144_000, 480)):  # a page, a few, many
        sound = song(frames, seed=i) if i % 2 else np.tile(song(480), (1, -(-frames // 480)))[:, :frames]
        path = write(tmp_path / f"{i} {name}", sound, 48000, format="OGG", subtype=subtype)
        links.append((path.read_bytes(), told(path)[0]))
        assert links[-1][1].shape == sound.shape
    (tmp_path / name).write_bytes(b"".join(data for data, _ in links))
    whole, lines = told(tmp_path / name)
    expected = np.concatenate([wave for _, wave in links], axis=1)
    assert not lines and whole.shape == expected.shape and np.abs(whole - expected).max() < 1e-6


def test_a_chain_of_other_rate_or_channels_is_refused_not_cut(tmp_path: Path) -> None:
    first = write(tmp_path / "1.ogg", SONG).read_bytes()
    rate, mono = write(tmp_path / "2.ogg", SONG, 32000), write(tmp_path / "3.ogg", SONG[:1])
    for name, other in (("rate", rate), ("mono", mono)):
        (tmp_path / f"{name}.ogg").write_bytes(first + other.read_bytes())
        assert "split it" in refused(tmp_path / f"{name}.ogg")


def test_an_mp3_that_changes_its_rate_is_refused_not_cut(tmp_path: Path) -> None:
    parts = [encode(tmp_path / f"{rate}.mp3", "libmp3lame", SONG, rate).read_bytes() for rate in (44100, 32000)]
    (tmp_path / "a.mp3").write_bytes(b"".join(parts))
    assert "44100 Hz" in refused(tmp_path / "a.mp3") and "32000 Hz" in refused(tmp_path / "a.mp3")


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_an_ogg_without_its_last_page_is_told(tmp_path: Path, name: str) -> None:
    encode(tmp_path / "a.opus", "libopus", SONG, 48000)
    data = (write(tmp_path / "a.ogg", SONG) if name == "a.ogg" else tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: data.rindex(b"OggS")])
    got, lines = told(tmp_path / name)
    assert got.shape[1] > RATE and len(lines) == 1 and "no end-of-stream page" in lines[0]


@cache
def mp3_bytes() -> bytes:
    sound = io.BytesIO()
    sf.write(sound, song(12 * RATE).T, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.4)
    return sound.getvalue()


def mp3(path: Path, tag: bool = True) -> Path:
    """Twelve seconds at a variable bit rate, with or without the frame that holds the length tag."""
    data = mp3_bytes()
    second = data.index(data[:2], 100)
    assert b"Xing" in data[:second]
    path.write_bytes(data if tag else data[second:])
    return path


@pytest.mark.parametrize("tag", [True, False])
@pytest.mark.parametrize("zeros", [True, False])
def test_junk_in_the_middle_of_an_mp3_costs_a_frame_and_is_told(tmp_path: Path, tag: bool, zeros: bool) -> None:
    path = mp3(tmp_path / "a.mp3", tag)
    whole, _ = told(path)
    data = path.read_bytes()
    junk = bytes(100_000) if zeros else np.random.default_rng(0).bytes(100_000)
    middle = position(data, 0.5)
    path.write_bytes(data[:middle] + junk + data[middle:])
    got, lines = told(path)
    assert whole.shape[1] - 3 * 1152 <= got.shape[1] <= whole.shape[1] + 1152
    assert len(lines) == 1 and "damaged" in lines[0] and "the first at" in lines[0]
    seconds = float(lines[0].split("the first at ")[1].split()[0])
    assert 3 < seconds < 9
    quarter = int(seconds * RATE / 2)
    assert np.allclose(got[:, :quarter], whole[:, :quarter], atol=1e-6)


@pytest.mark.parametrize("declared", [0, 1, 300, 5000, 2**32 - 1])
def test_a_length_tag_with_a_wrong_number_changes_nothing(tmp_path: Path, declared: int) -> None:
    path = mp3(tmp_path / "a.mp3")
    whole, _ = told(path)
    data = bytearray(path.read_bytes())
    tag = data.index(b"Xing")
    data[tag + 8 : tag + 12] = declared.to_bytes(4, "big")
    path.write_bytes(data)
    got, lines = told(path)
    if declared in (300, 5000):
        assert np.array_equal(got, whole)
    else:  # FFmpeg does not believe these, nor the padding in the same tag
        assert whole.shape[1] <= got.shape[1] <= whole.shape[1] + 2 * 1152
        assert any(np.array_equal(got[:, k : k + 10**5], whole[:, : 10**5]) for k in (0, 1105, 1105 + 1152))
    assert not lines


def test_an_mp3_whose_middle_is_missing_is_refused(tmp_path: Path) -> None:
    path = mp3(tmp_path / "a.mp3")
    data = path.read_bytes()
    path.write_bytes(data[: position(data, 0.4)] + bytes(position(data, 0.2)) + data[position(data, 0.6) :])
    assert "damaged" in refused(path)


def test_a_cut_off_mp3_is_refused_at_once_and_one_that_lacks_a_frame_is_told(tmp_path: Path) -> None:
    path = mp3(tmp_path / "a.mp3")
    data = path.read_bytes()
    whole, _ = told(path)
    path.write_bytes(data[: position(data, 0.5)])
    with pytest.raises(AudioError, match=r"of 12\.0. s are there"):
        probe(path)
    path.write_bytes(data[:-700])
    got, lines = told(path)
    assert whole.shape[1] - 4410 <= got.shape[1] < whole.shape[1]
    assert len(lines) == 1 and "missing" in lines[0]


def test_an_mp3_without_length_tag_is_read_to_its_end(tmp_path: Path) -> None:
    tagged, _ = told(mp3(tmp_path / "tagged.mp3"))
    path = mp3(tmp_path / "untagged.mp3", tag=False)
    got, lines = told(path)
    delay = 576 + 529  # of the encoder and the decoder, which only a tag can trim
    assert not lines and np.allclose(got[:, delay : delay + tagged.shape[1]], tagged, atol=1e-5)
    assert probe(path).frames == got.shape[1]


@pytest.mark.parametrize(
    "tail", [b"TAG" + bytes(125), b"APETAGEX" + bytes(range(256)) * 30, b"\xff\xfb\x90", bytes(999)]
)
@pytest.mark.parametrize("name", ["tagged.mp3", "untagged.mp3", "a.flac", "a.wav", "a.aac"])
def test_tags_and_padding_behind_the_sound_change_nothing(tmp_path: Path, name: str, tail: bytes) -> None:
    path = tmp_path / name
    if path.suffix == ".mp3":
        mp3(path, name == "tagged.mp3")
    else:
        encode(path, *{"a.flac": ("flac", SONG), "a.wav": ("pcm_s16le", SONG), "a.aac": ("aac", SONG)}[name])
    clean, _ = told(path)
    path.write_bytes(path.read_bytes() + (tail[:1] if path.suffix == ".wav" and tail[0] == 255 else tail))
    got, lines = told(path)
    assert not lines and np.array_equal(got, clean)


def test_tags_before_the_sound_change_nothing(tmp_path: Path) -> None:
    picture = b"ID3\x04\x00\x00" + bytes([0, 6, 1, 0]) + bytes(6 * 2**14 + 128)
    for path in (mp3(tmp_path / "a.mp3"), write(tmp_path / "a.flac", SONG)):
        clean, _ = told(path)
        path.write_bytes(picture + path.read_bytes())
        got, lines = told(path)
        assert not lines and np.array_equal(got, clean)


@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_joined_files_are_read_to_the_end_of_the_second(tmp_path: Path, name: str) -> None:
    path = mp3(tmp_path / name) if name == "a.mp3" else write(tmp_path / name, SONG)
    one, _ = told(path)
    path.write_bytes(path.read_bytes() * 2)
    both, _ = told(path)
    assert 2 * one.shape[1] <= both.shape[1] <= 2 * one.shape[1] + 4 * 1152
    assert np.array_equal(both[:, : one.shape[1] - 1152], one[:, :-1152])
    assert 0 <= lag(both[:, one.shape[1] :], one) <= 4 * 1152


def opus_of_rate_zero(path: Path) -> Path:
    """An Opus file whose field for the original rate, which is for information only, says 0."""
    data = bytearray(encode(path, "libopus", SONG, 48000).read_bytes())
    head = data.index(b"OpusHead")
    data[head + 12 : head + 16] = bytes(4)
    data[22:26] = bytes(4)
    end = 28 + 19
    crc = 0
    for byte in data[:end]:  # an Ogg page's checksum
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    data[22:26] = struct.pack("<I", crc)
    path.write_bytes(data)
    return path


def test_opus_is_48_khz_whatever_its_header_says(tmp_path: Path) -> None:
    path = opus_of_rate_zero(tmp_path / "a.opus")
    got, lines = told(path)
    assert probe(path).sample_rate == 48000 and got.shape == SONG.shape and not lines


@pytest.mark.parametrize("name", ["a.m4a", "alac.m4a", "a.flac", "a.wv", "a.mka", "a.wma"])
def test_what_ends_before_its_declared_length_is_refused(tmp_path: Path, name: str) -> None:
    codec, container, rate = COMPRESSED[name]
    data = encode(tmp_path / name, codec, song(6 * RATE), rate, container).read_bytes()
    for share in (0.3, 0.8, 0.95):
        (tmp_path / name).write_bytes(data[: position(data, share)])
        refused(tmp_path / name)


def test_damage_in_a_flac_is_told_with_its_place_and_much_of_it_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", song(20 * RATE))
    whole, _ = told(path)
    data = bytearray(path.read_bytes())
    data[position(data, 0.5)] ^= 0x10
    path.write_bytes(data)
    got, lines = told(path)
    assert len(lines) == 1 and whole.shape[1] - got.shape[1] == 4096
    assert "0.093 s" in lines[0] and 8 < float(lines[0].split("the first at ")[1].split()[0]) < 13
    data[position(data, 0.6) : position(data, 0.8)] = bytes(position(data, 0.8) - position(data, 0.6))
    path.write_bytes(data)
    assert "damaged" in refused(path)


def test_pages_missing_from_an_ogg_are_told_and_many_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", song(60 * RATE))
    data = path.read_bytes()
    pages = [i for i in range(len(data)) if data[i : i + 5] == b"OggS\0"]
    middle = len(pages) // 2
    path.write_bytes(data[: pages[middle]] + data[pages[middle + 1] :])
    got, lines = told(path)
    lost = 60 - got.shape[1] / RATE
    assert len(lines) == 1 and abs(float(lines[0].split("damaged, ")[1].split()[0]) - lost) < 0.1
    path.write_bytes(data[: pages[middle]] + data[pages[middle + len(pages) // 4] :])
    assert "damaged" in refused(path)


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


def test_a_survey_finds_the_length_and_the_faults_of_the_whole_file(tmp_path: Path) -> None:
    path = mp3(tmp_path / "a.mp3", tag=False)
    assert survey(path) == told(path)[0].shape[1]
    data = path.read_bytes()
    path.write_bytes(data[: position(data, 0.5)] + bytes(50_000) + data[position(data, 0.5) :])
    lines: list[str] = []
    assert survey(path, notice=lines.append) == told(path)[0].shape[1] and len(lines) == 1


def test_a_file_without_sound_and_one_with_two_tracks_are_told(tmp_path: Path) -> None:
    import av

    for tracks in (0, 2):
        path = tmp_path / f"{tracks}.mkv"
        with av.open(path, "w") as out:
            streams = [out.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(tracks)]
            video = out.add_stream("mpeg4", rate=25)
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
            out.mux(video.encode(None))
            for i, stream in enumerate(streams):
                frame = av.AudioFrame.from_ndarray(np.full((1, 1000), i + 1, np.int16), "s16", "mono")
                frame.sample_rate, frame.pts = RATE, 0
                out.mux(stream.encode(frame))
    assert "holds no audio" in refused(tmp_path / "0.mkv")
    got, lines = told(tmp_path / "2.mkv")
    assert np.array_equal(got, np.full((1, 1000), 2**-15)) and len(lines) == 1 and "2 audio tracks" in lines[0]


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:9,\n{}\n", "ffconcat version 1.0\nfile '{}'\n"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, text: str) -> None:
    other = write(tmp_path / "secret.mp3", SONG, format="MP3")
    path = tmp_path / "a.mp3"
    path.write_text(text.format(other))
    assert "text" in refused(path)
    path.write_bytes(b"\xff" + text.format(other).encode())
    refused(path)
