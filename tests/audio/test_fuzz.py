"""Bytes that no encoder wrote: whatever a file holds, its samples come or one line does, and memory stays small."""

import tracemalloc
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from field import COMPRESSED, RATE, encode, song, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ldm_sep.audio import AudioReader, read
from ldm_sep.errors import AudioError

NAMES = ("a.m4a", "alac.m4a", "a.aac", "a.wma", "a.mp3", "a.mka", "a.opus", "a.wv", "a.flac", "a.mov", "a.ogg", "a.wav")
NAMES += ("a.w64", "a.aiff", "a.caf", "a.au", "eight a.m4a", "eight a.flac")
MUTATIONS_EACH = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@cache
def original(folder: Path, name: str) -> bytes:
    sound = song(RATE // 2, 8 if name.startswith("eight") else 2)
    if name.removeprefix("eight ") in COMPRESSED:
        codec, container, rate = COMPRESSED[name.removeprefix("eight ")]
        return encode(folder / name, codec, sound, rate, container).read_bytes()
    return write(folder / name, sound).read_bytes()


def check(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    lines: list[str] = []
    try:
        wave, rate = read(path, notice=lines.append)
        with AudioReader(path, stereo=True, notice=lambda line: None) as reader:
            assert reader.take(10**8).shape == (min(wave.shape[0], 2), wave.shape[1])
    except AudioError as error:
        lines.append(str(error))
        assert ";" in str(error)
    else:
        assert wave.dtype == np.float32 and 1 <= wave.shape[0] <= 64 and 1000 <= rate <= 768_000
        assert np.isfinite(wave).all() and 0 < wave.shape[1] <= 10**7
    assert all(line.isprintable() and path.name in line for line in lines)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One of the things that happen to files, in the header as often as behind it."""
    out = bytearray(data)
    at = int(rng.integers(64 if rng.random() < 0.5 else len(data)))
    length = int(rng.integers(1, max(2, len(data) // 8)))
    kind = rng.integers(6)
    if kind == 0:
        del out[at:]
    elif kind == 1:
        del out[at : at + length]
    elif kind == 2:
        out[at:at] = rng.bytes(length)
    elif kind == 3:
        out[at : at + length] = bytes(length)
    elif kind == 4:
        out[at : at + 4] = rng.bytes(4)
    else:
        for i in rng.integers(len(data), size=20):
            out[i] ^= 1 << int(rng.integers(8))
    return bytes(out)


@pytest.mark.parametrize("name", NAMES)
def test_a_mutated_file_gives_samples_or_one_line(folder: Path, name: str) -> None:
    data = original(folder, name)
    rng = np.random.default_rng(NAMES.index(name))
    tracemalloc.start()
    for _ in range(MUTATIONS_EACH):
        check(folder / f"mutated {name}", mutated(data, rng))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), head=st.binary(max_size=80), skip=st.integers(0, 80), cut=st.integers(0, 2000))
def test_any_bytes_before_the_sound_give_samples_or_one_line(
    folder: Path, name: str, head: bytes, skip: int, cut: int
) -> None:
    data = original(folder, name)
    check(folder / f"random {name}", head + data[skip : len(data) - cut])
