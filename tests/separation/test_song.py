"""Songs from files into files: what is written, what is told on the way, and how much memory that takes."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, mixture

from ldm_sep.audio import AudioReader
from ldm_sep.separation import Cancelled, Separator


def test_a_callback_sees_progress_and_can_cancel(tiny_separator: Separator, tmp_path: Path) -> None:
    source = tmp_path / "song.wav"
    sf.write(source, mixture(8).T, RATE)
    seen: list[tuple[float, str, float | None]] = []
    tiny_separator.separate_file(source, tmp_path / "out", progress=lambda *told: seen.append(told))
    fractions, stages, left = zip(*seen, strict=True)
    assert list(fractions) == sorted(fractions) and fractions[-1] == 1.0 and len(seen) > 2
    assert list(dict.fromkeys(stages)) == ["reading", "separating", "writing"]
    assert left[0] is None and left[-1] == 0 and min(left[1:]) >= 0
    for stop in ("reading", "separating", "writing"):
        with pytest.raises(Cancelled):
            tiny_separator.separate_file(
                source, tmp_path / "cancelled", progress=lambda fraction, stage, left, stop=stop: stage != stop
            )
        assert not (tmp_path / "cancelled").exists()


def test_what_is_cancelled_works_no_further_while_somebody_holds_the_error(
    tiny_separator: Separator, tmp_path: Path
) -> None:
    source = tmp_path / "song.wav"
    sf.write(source, mixture(8).T, RATE)
    before = {*threading.enumerate()}
    with pytest.raises(Cancelled) as held:
        tiny_separator.separate_file(source, tmp_path / "out", progress=lambda fraction, stage, left: fraction == 0)
    assert {*threading.enumerate()} <= before
    with pytest.raises(Cancelled) as held_too:
        tiny_separator.separate(mixture(8), RATE, progress=lambda fraction, stage, left: False)
    assert {*threading.enumerate()} <= before
    assert held.value is not held_too.value


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", None), ("wav", "int24"), ("wav", "int16"), ("flac", None)])
def test_files_sum_to_the_input_in_every_lossless_format(
    tiny_separator: Separator, tmp_path: Path, suffix: str, subtype: str | None
) -> None:
    source = tmp_path / "söng.wav"
    sf.write(source, 0.5 * mixture(2).T, 44100, subtype="PCM_16")
    paths = tiny_separator.separate_file(source, tmp_path / "out", suffix=suffix, subtype=subtype)
    waves = []
    for path in paths.values():
        with AudioReader(path) as reader:
            assert reader.info.sample_rate == 44100
            waves.append(reader.take(10**6))
    with AudioReader(source) as reader:
        original = reader.take(10**6)
    error = np.abs(sum(waves) - original).max()
    assert error <= (2**-15 if subtype == "int16" else 0)


def test_integer_files_tell_of_samples_that_they_clip(tiny_separator: Separator, tmp_path: Path) -> None:
    loud = mixture(2)
    source = tmp_path / "loud.wav"
    sf.write(source, (2 * loud / np.abs(loud).max()).T, RATE, subtype="FLOAT")
    beyond = {
        stem: int((np.rint(2**23 * np.abs(sf.read(path, dtype="float32")[0].astype(np.float64))) > 2**23).sum())
        for stem, path in tiny_separator.separate_file(source, tmp_path / "float").items()
    }
    assert sum(beyond.values()) > 0
    told: list[str] = []
    paths = tiny_separator.separate_file(source, tmp_path / "whole", suffix="flac", notice=told.append)
    assert len(told) == sum(count > 0 for count in beyond.values())
    for line in told:
        (stem,) = [stem for stem, path in paths.items() if str(path) in line]
        assert "float wav keeps them" in line and abs(int(line.split(": ")[1].split()[0]) - beyond[stem]) <= 2
    with pytest.warns(UserWarning, match="beyond full scale were clipped"):
        tiny_separator.separate_file(source, tmp_path / "warned", suffix="flac")


def test_memory_does_not_grow_with_the_duration_of_a_file(trained: Path, tmp_path: Path) -> None:
    """Five minutes as float samples, four times over (song, both stems, resampled), would be 150 MiB more."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from ldm_sep.separation.separator import Options, Separator\n"
        "separator = Separator.load(sys.argv[1], device='cpu')\n"
        "used = []\n"
        "for song in sys.argv[2:]:\n"
        "    separator.separate_file(song, Path(song).with_suffix(''), Options(steps=1))\n"
        "    used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
        "print(used[1] - used[0])\n"
    )
    if sys.platform != "linux":
        pytest.skip("ru_maxrss is in KiB on Linux only")
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    sf.write(short, mixture(20).T, RATE)
    # Most of it is silence, which is read, resampled and written like all else, and separated at once.
    sf.write(long, np.pad(np.tile(mixture(20).T, (2, 1)), ((0, 260 * RATE), (0, 0))), RATE)
    words = [sys.executable, "-c", script, trained / "stage2/separator", short, long]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 25
