"""The record beside the stems: what it says is so, and its key tells one result from another and nothing else."""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import RATE, mixture

import ldm_sep
from ldm_sep.errors import AudioError
from ldm_sep.separation import Options, Separator
from ldm_sep.separation.sidecar import Sidecar, is_made, read_sidecar, settings_key

ONE_STEP = Options(steps=1)


@pytest.fixture(scope="module")
def made(tiny_separator: Separator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `song.wav` and its stems in `out`."""
    folder = tmp_path_factory.mktemp("made")
    sf.write(folder / "song.wav", mixture(2).T, RATE)
    tiny_separator.separate_file(folder / "song.wav", folder / "out", ONE_STEP)
    return folder


def key_after(separator: Separator, song: Path, out: Path, options: Options = ONE_STEP, **choices: object) -> str:
    separator.separate_file(song, out, options, **choices)
    return read_sidecar(out / "separation.json").key


def test_it_says_what_stands_on_the_disk(made: Path) -> None:
    sidecar = read_sidecar(made / "out/separation.json")
    song = made / "song.wav"
    assert (made / "out" / sidecar.input.file).resolve() == song.resolve()
    assert sidecar.input.sha256 == hashlib.sha256(song.read_bytes()).hexdigest()
    assert set(sidecar.stems) == {"vocals", "instrumental"}
    for facts in (sidecar.input, *sidecar.stems.values()):
        assert (facts.sample_rate, facts.channels, facts.frames) == (RATE, 2, 2 * RATE)
    for facts in sidecar.stems.values():
        data = (made / "out" / facts.file).read_bytes()
        wave = sf.read(made / "out" / facts.file)[0]
        assert (facts.sha256, facts.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert facts.peak == pytest.approx(np.abs(wave).max())
        assert facts.level_db == pytest.approx(10 * np.log10(np.mean(wave**2)), abs=0.01)
        assert facts.clipped == 0
    assert (sidecar.versions.ldm_sep, sidecar.versions.torch) == (ldm_sep.__version__, torch.__version__)
    assert sidecar.device == "cpu" and sidecar.seconds > 0 and sidecar.warnings == []
    assert (sidecar.settings.suffix, sidecar.settings.subtype, sidecar.settings.plan.steps) == ("wav", "float", 1)


def test_warnings_that_the_user_was_told_stand_in_it(tiny_separator: Separator, tmp_path: Path) -> None:
    loud = mixture(2)
    sf.write(tmp_path / "loud.wav", (2 * loud / np.abs(loud).max()).T, RATE, subtype="FLOAT")
    told: list[str] = []
    tiny_separator.separate_file(tmp_path / "loud.wav", tmp_path, ONE_STEP, suffix="flac", notice=told.append)
    sidecar = read_sidecar(tmp_path / "separation.json")
    assert sidecar.warnings == told and told
    assert sum(facts.clipped > 0 for facts in sidecar.stems.values()) == len(told)


def test_the_key_follows_everything_that_decides_the_stems_and_nothing_else(
    tiny_separator: Separator, trained: Path, made: Path, tmp_path: Path
) -> None:
    song, key = made / "song.wav", read_sidecar(made / "out/separation.json").key
    same = (
        key_after(tiny_separator, song, tmp_path / "a", Options(steps=1, threads=3, batch_size=2)),
        key_after(tiny_separator, song, tmp_path / "b", Options(preset="fast")),
        key_after(tiny_separator, song, tmp_path / "c", stems=("vocals",)),
        key_after(tiny_separator, song, tmp_path / "d", subtype="float"),
    )
    assert set(same) == {key}
    copy = tmp_path / "other name.wav"
    copy.write_bytes(song.read_bytes())
    assert key_after(tiny_separator, copy, tmp_path / "e") == key
    sf.write(tmp_path / "other.wav", mixture(1).T, RATE)
    first = Separator.load(trained / "stage1/separator", device="cpu")
    others = (
        key_after(tiny_separator, song, tmp_path / "f", Options(steps=1, seed=1)),
        key_after(tiny_separator, song, tmp_path / "g", Options(steps=1, overlap=0.1)),
        key_after(tiny_separator, song, tmp_path / "h", suffix="flac"),
        key_after(tiny_separator, song, tmp_path / "i", subtype="int16"),
        key_after(tiny_separator, song, tmp_path / "l", duration=1.5),
        key_after(tiny_separator, song, tmp_path / "m", start=0.5),
        key_after(tiny_separator, song, tmp_path / "n", Options(steps=1, renewed=((0.5, 1.0, 3),))),
        key_after(tiny_separator, tmp_path / "other.wav", tmp_path / "j"),
        key_after(first, song, tmp_path / "k"),
    )
    assert len({key, *others}) == 10


def test_a_setting_that_came_later_and_is_off_leaves_the_key_as_it_was(made: Path) -> None:
    sidecar = read_sidecar(made / "out/separation.json")
    plan = {k: v for k, v in sidecar.settings.plan.model_dump().items() if k not in {"estimate_weight", "post_filter"}}
    assert plan.pop("threads") and plan.pop("batch_size")
    table = {**sidecar.settings.model_dump(mode="json"), "plan": json.loads(json.dumps(plan))}
    parts = {"input": sidecar.input.sha256, "checkpoint": sidecar.checkpoint.sha256, "settings": table}
    assert sidecar.key == hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    on = sidecar.settings.plan.model_copy(update={"post_filter": True})
    changed = sidecar.settings.model_copy(update={"plan": on})
    assert settings_key(sidecar.input.sha256, sidecar.checkpoint.sha256, changed) != sidecar.key


def test_what_is_made_is_whole_by_its_key_and_the_sizes_of_its_files(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for path in (made / "out").iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    sidecar, key = out / "separation.json", read_sidecar(out / "separation.json").key
    assert is_made(sidecar, key, ("vocals", "instrumental")) and is_made(sidecar, key, ("vocals",))
    assert not is_made(sidecar, "0" * 64, ("vocals",))
    vocals = out / "vocals.wav"
    vocals.write_bytes(vocals.read_bytes()[:-4])
    assert not is_made(sidecar, key, ("vocals",)) and is_made(sidecar, key, ("instrumental",))
    vocals.unlink()
    assert not is_made(sidecar, key, ("vocals",))
    assert not is_made(out / "nothing.json", key, ("vocals",))


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"format": 2}, "format"),
        ({"key": "abc"}, "key"),
        ({"seconds": float("nan")}, "seconds"),
        ({"surprise": 1}, "unknown key"),
        ({"stems": {"drums": {}}}, "stems"),
        ({"input": {"file": "../song.wav"}}, "input"),
    ],
)
def test_a_sidecar_that_is_none_is_one_line(made: Path, tmp_path: Path, change: dict, needle: str) -> None:
    facts = json.loads((made / "out/separation.json").read_text())
    assert Sidecar.model_validate(facts)
    path = tmp_path / "separation.json"
    path.write_text(json.dumps({**facts, **change}))
    with pytest.raises(AudioError, match=needle) as caught:
        read_sidecar(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    path.write_text("{")
    with pytest.raises(AudioError, match="separate the song again"):
        read_sidecar(path)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_names_that_are_no_text_are_told_as_they_can_be(tiny_separator: Separator, tmp_path: Path) -> None:
    song = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    sf.write(tmp_path / "song.wav", mixture(1).T, RATE)
    (tmp_path / "song.wav").rename(song)
    tiny_separator.separate_file(song, tmp_path / "out", ONE_STEP)
    assert read_sidecar(tmp_path / "out/separation.json").input.file == r"../caf\udce9.wav"
