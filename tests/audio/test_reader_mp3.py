"""MP3 files as they are found: with and without length tags, cut off, damaged, joined, between other tags."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ldm_sep.audio import AudioReader, probe, read
from ldm_sep.errors import AudioError

RATE = 44100


def error_of(path: Path | str) -> str:
    """The one line that a failed read shows."""
    with pytest.raises(AudioError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and ";" in message
    assert Path(path).name in message
    return message


def vbr_mp3(path: Path, frames: int = 3 * RATE, tag: bool = True) -> Path:
    """A variable-bit-rate MP3 file of fading noise, with or without the frame that holds the length tag."""
    fade = (1 - np.arange(frames) / frames) ** 4
    sound = np.random.default_rng(0).standard_normal((frames, 2)) * 0.2 * fade[:, None]
    sf.write(path, sound, RATE, format="MP3", compression_level=0.4, bitrate_mode="VARIABLE")
    if not tag:
        data = path.read_bytes()
        second = data.index(data[:2], 100)
        assert b"Xing" in data[:second] and b"LAME" in data[:second]
        path.write_bytes(data[second:])
    return path


@pytest.mark.parametrize("tag", [True, False])
@pytest.mark.parametrize("size", [40, 777, 5000, 10**9])
def test_the_block_size_does_not_change_a_sample(tmp_path: Path, tag: bool, size: int) -> None:
    path = vbr_mp3(tmp_path / "a.mp3", RATE, tag)
    whole, _ = read(path)
    with AudioReader(path) as reader:
        assert np.array_equal(np.concatenate(list(reader.blocks(size)), axis=1), whole)
    assert np.array_equal(read(path, start=30_011, frames=999)[0], whole[:, 30_011:31_010])


def test_a_few_bytes_missing_from_an_mp3_do_not_matter(tmp_path: Path) -> None:
    path = vbr_mp3(tmp_path / "a.mp3")
    whole, _ = read(path)
    path.write_bytes(path.read_bytes()[:-300])
    got, _ = read(path)
    assert whole.shape[1] - 4410 <= got.shape[1] < whole.shape[1]


def test_an_mp3_whose_middle_is_missing_is_refused(tmp_path: Path) -> None:
    path = vbr_mp3(tmp_path / "a.mp3")
    data = path.read_bytes()
    hole = len(data) // 2
    path.write_bytes(data[:hole] + bytes(6000) + data[hole + 6000 :])
    assert "cut off or damaged" in error_of(path)


def test_an_mp3_without_length_tag_is_read_to_its_end(tmp_path: Path) -> None:
    tagged, _ = read(vbr_mp3(tmp_path / "tagged.mp3"))
    path = vbr_mp3(tmp_path / "untagged.mp3", tag=False)
    assert sf.info(path).frames < tagged.shape[1]  # the library alone would lose the end
    got, _ = read(path)
    delay = 576 + 529  # of the encoder and the decoder, which only a tag can trim
    assert np.allclose(got[:, delay : delay + tagged.shape[1]], tagged, atol=1e-6)
    assert probe(path).frames == got.shape[1]


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"APETAGEX" + bytes(range(256)) * 30, b"\xff\xfb\x90"])
def test_tags_behind_an_mp3_without_length_tag_change_nothing(tmp_path: Path, tail: bytes) -> None:
    path = vbr_mp3(tmp_path / "a.mp3", RATE, tag=False)
    clean, _ = read(path)
    path.write_bytes(path.read_bytes() + tail)
    assert np.array_equal(read(path)[0], clean)


@pytest.mark.parametrize("cut", [1, 2, 4, 5, 33, 100, 250])
def test_an_mp3_without_length_tag_is_read_up_to_a_cut(tmp_path: Path, cut: int) -> None:
    path = vbr_mp3(tmp_path / "a.mp3", RATE, tag=False)
    whole, _ = read(path)
    path.write_bytes(path.read_bytes()[:-cut])
    got, _ = read(path)
    lost = whole.shape[1] - got.shape[1]
    assert lost % 1152 == 0 and 0 < lost <= 1152 * (1 + cut // 100)
    assert np.array_equal(got, whole[:, : got.shape[1]])


def test_joined_mp3_files_are_not_silently_cut_at_the_first(tmp_path: Path) -> None:
    path = vbr_mp3(tmp_path / "a.mp3", RATE)
    path.write_bytes(path.read_bytes() * 2)
    assert "joined" in error_of(path)


def test_the_same_mp3_is_read_behind_a_long_id3_tag(tmp_path: Path) -> None:
    path = vbr_mp3(tmp_path / "a.mp3", RATE)
    whole, _ = read(path)
    picture = b"ID3\x04\x00\x00" + bytes([0, 6, 1, 0]) + bytes(6 * 2**14 + 128)
    path.write_bytes(picture + path.read_bytes())
    assert np.array_equal(read(path)[0], whole)


def test_a_read_that_fails_half_way_is_not_taken_for_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = vbr_mp3(tmp_path / "a.mp3", tag=False)
    for error, expected in ((OSError(5, "I/O error"), AudioError), (KeyboardInterrupt(), KeyboardInterrupt)):
        with AudioReader(path) as reader:
            blocks = reader.blocks(20_000)
            next(blocks)
            with monkeypatch.context() as patch:

                def failing(self: object, count: int, error: BaseException = error) -> bytes:
                    raise error

                patch.setattr("ldm_sep.audio.view.FileView._bytes", failing)
                with pytest.raises(expected):
                    list(blocks)


def test_a_walk_over_noise_finds_no_audio(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(range(1, 200)) * 50)
    error_of(tmp_path / "a.mp3")
