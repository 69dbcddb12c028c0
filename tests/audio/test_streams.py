"""Ogg and MP3: joined, cut, damaged, with tags that are wrong."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from field import COMPRESSED, RATE, encode, lag, mp3, position, refused, song, told, write

from ldm_sep.audio import probe, survey
from ldm_sep.errors import AudioError

SONG = song(3 * RATE)


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


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_an_ogg_without_its_last_page_is_told(tmp_path: Path, name: str) -> None:
    encode(tmp_path / "a.opus", "libopus", SONG, 48000)
    data = (write(tmp_path / "a.ogg", SONG) if name == "a.ogg" else tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: data.rindex(b"OggS")])
    got, lines = told(tmp_path / name)
    assert got.shape[1] > RATE and len(lines) == 1 and "no end-of-stream page" in lines[0]


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


def test_an_mp3_that_changes_its_rate_is_refused_not_cut(tmp_path: Path) -> None:
    parts = [encode(tmp_path / f"{rate}.mp3", "libmp3lame", SONG, rate).read_bytes() for rate in (44100, 32000)]
    (tmp_path / "a.mp3").write_bytes(b"".join(parts))
    assert "44100 Hz" in refused(tmp_path / "a.mp3") and "32000 Hz" in refused(tmp_path / "a.mp3")


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


@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_joined_files_are_read_to_the_end_of_the_second(tmp_path: Path, name: str) -> None:
    path = mp3(tmp_path / name) if name == "a.mp3" else write(tmp_path / name, SONG)
    one, _ = told(path)
    path.write_bytes(path.read_bytes() * 2)
    both, _ = told(path)
    assert 2 * one.shape[1] <= both.shape[1] <= 2 * one.shape[1] + 4 * 1152
    assert np.array_equal(both[:, : one.shape[1] - 1152], one[:, :-1152])
    assert 0 <= lag(both[:, one.shape[1] :], one) <= 4 * 1152


def test_a_survey_finds_the_length_and_the_faults_of_the_whole_file(tmp_path: Path) -> None:
    path = mp3(tmp_path / "a.mp3", tag=False)
    assert survey(path) == told(path)[0].shape[1]
    data = path.read_bytes()
    path.write_bytes(data[: position(data, 0.5)] + bytes(50_000) + data[position(data, 0.5) :])
    lines: list[str] = []
    assert survey(path, notice=lines.append) == told(path)[0].shape[1] and len(lines) == 1


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "a.oga"])
@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_no_page_of_an_ogg_is_missed_in_silence(tmp_path: Path, name: str, damage: str) -> None:
    sound = song(6 * RATE)
    if name == "a.ogg":
        path = write(tmp_path / name, sound)
    else:
        path = encode(tmp_path / name, {"a.opus": "libopus", "a.oga": "flac"}[name], sound, 48000, "ogg")
    data, (clean, _) = path.read_bytes(), told(path)
    pages = [i for i in range(len(data)) if data[i : i + 5] == b"OggS\0"]
    for start, end in zip(pages[2:], [*pages[3:], len(data)], strict=True):
        damaged = bytearray(data)
        if damage == "gone":
            del damaged[start:end]
        else:
            damaged[(start + end) // 2] ^= 1
        path.write_bytes(damaged)
        with suppress(AudioError):
            got, lines = told(path)
            assert lines and got.shape[1] < clean.shape[1]


@pytest.mark.parametrize("name", ["a.aac", "a.ac3", "a.mp2", "a.ts", "a.flac", "a.mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stream_that_changes_is_refused_with_the_place_not_cut(tmp_path: Path, name: str, channels: int) -> None:
    codec = {"flac": "flac", "mp3": "libmp3lame"}.get(name[2:]) or COMPRESSED[name][0]
    first = encode(tmp_path / name, codec, SONG).read_bytes()
    second = encode(tmp_path / f"2{name}", codec, SONG[:channels], RATE if channels == 1 else 48000).read_bytes()
    (tmp_path / name).write_bytes(first + second)
    message = refused(tmp_path / name)
    seconds = float(message.split(" at ")[1].split()[0])
    assert "44100 Hz and 2 channels" in message and "split it there" in message and seconds == pytest.approx(3, abs=0.1)
