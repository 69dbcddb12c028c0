"""What stands on the disk after a run: whole stems of one run or none, and never anything but stems."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, ROOT, played, sung

from ldm_sep.audio import AudioWriter, read
from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.files import locked
from ldm_sep.separation.outputs import appearing_together
from ldm_sep.separation.separator import Options, Separator

ONE_STEP = Options(steps=1)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    sf.write(tmp_path / "song.wav", (sung(2, 220, 9)[None] + played(2, 9)).T, RATE)
    return tmp_path / "song.wav"


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("how", ["itself", "link", "hard link", "link to the folder"])
def test_an_input_is_never_written_over(tiny_separator: Separator, song: Path, how: str) -> None:
    out = song.parent / "out"
    out.mkdir()
    vocals = out / "vocals.wav"
    source = vocals
    if how == "itself":
        song.rename(vocals)
    elif how == "link":
        vocals.symlink_to(song)
        source = song
    elif how == "hard link":
        os.link(song, vocals)
        source = song
    else:
        song.rename(vocals)
        (song.parent / "other").symlink_to(out)
        source = song.parent / "other/vocals.wav"
    before = files_in(song.parent)
    with pytest.raises(AudioError, match=r"vocals\.wav: is the input itself"):
        tiny_separator.separate_file(source, out, ONE_STEP)
    assert files_in(song.parent) == before


def test_a_link_in_the_place_of_a_stem_gives_way_and_what_it_points_to_stays(
    tiny_separator: Separator, song: Path
) -> None:
    (song.parent / "precious").write_text("precious")
    (song.parent / "out").mkdir()
    (song.parent / "out/vocals.wav").symlink_to(song.parent / "precious")
    tiny_separator.separate_file(song, song.parent / "out", ONE_STEP)
    assert (song.parent / "precious").read_text() == "precious"
    assert read(song.parent / "out/vocals.wav")[0].shape == (2, 2 * RATE)


def test_a_second_run_on_the_same_output_is_told(tiny_separator: Separator, song: Path) -> None:
    (song.parent / "out").mkdir()
    with locked(song.parent / "out"), pytest.raises(ConfigError, match="out: another process is writing there"):
        tiny_separator.separate_file(song, song.parent / "out", ONE_STEP)
    assert not files_in(song.parent / "out")
    tiny_separator.separate_file(song, song.parent / "out", ONE_STEP)


def test_too_little_room_and_too_long_a_song_are_told_before_any_work(
    tiny_separator: Separator, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = song.parent / "new/out"
    unused = {"progress": lambda fraction, stage, left: stage == "reading" or pytest.fail("worked")}
    with pytest.raises(AudioError, match=r"longer than 0\.0005 hours"):
        tiny_separator.separate_file(song, out, ONE_STEP, longest=1.8, **unused)
    free = 2 * 2 * 2 * RATE * 4 - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(free, 0, free))
    with pytest.raises(AudioError, match=r"about 0\.5 MB are needed and 0\.5 MB are free"):
        tiny_separator.separate_file(song, out, ONE_STEP, **unused)
    assert not out.parent.exists()
    tiny_separator.separate_file(song, out, ONE_STEP, stems=["vocals"], longest=None)
    assert sorted(p.name for p in out.iterdir()) == ["separation.json", "vocals.wav"]


def test_leftovers_of_a_killed_run_are_removed_by_the_next(tiny_separator: Separator, song: Path) -> None:
    out = song.parent / "out"
    out.mkdir()
    for name in (".ldm-sep-0123456789abcdef.part", ".ldm-sep-0011223344556677.flac"):
        (out / name).write_bytes(bytes(1000))
    (out / "notes.txt").write_text("kept")
    tiny_separator.separate_file(song, out, ONE_STEP)
    assert sorted(p.name for p in out.iterdir()) == ["instrumental.wav", "notes.txt", "separation.json", "vocals.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files to play a full disk")
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_a_disk_that_fills_at_any_moment_leaves_both_stems_or_none(tmp_path: Path, suffix: str) -> None:
    import resource

    rng = np.random.default_rng(0)
    sound = (rng.standard_normal((2, 30_000)) * 0.1).astype(np.float32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write(folder: Path) -> None:
        names = [f"a.{suffix}", f"b.{suffix}"]
        with appearing_together(folder, names) as parts:
            writers = [AudioWriter(folder / n, RATE, 2, into=part) for n, part in zip(names, parts, strict=True)]
            with writers[0], writers[1]:
                for writer in writers:
                    writer.write(sound)

    write(tmp_path / "whole")
    whole = files_in(tmp_path / "whole")
    size = max(len(data) for data in whole.values())
    outcomes = set()
    for limit in range(4096, size + 3 * 4096, 4096):
        folder = tmp_path / str(limit)
        error = None
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            write(folder)
        except AudioError as caught:
            error = str(caught)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "cannot be written" in error if error else files_in(folder) == whole
        assert error is None or not folder.exists()
        outcomes.add(error is None)
    assert outcomes == {True, False}


def test_an_mp3_of_absurd_samples_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="3e\\+06 times"), AudioWriter(tmp_path / "a.mp3", RATE, 1) as writer:
        writer.write(np.full((1, 5000), 3e6, np.float32))
    with AudioWriter(tmp_path / "a.mp3", RATE, 1) as writer:
        writer.write(np.full((1, 5000), 1e6, np.float32))


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@contextmanager
def killed_at_the_end(leader: subprocess.Popen[str]) -> Iterator[None]:
    """A process and its children, whatever becomes of the test."""
    try:
        yield
    finally:
        os.killpg(leader.pid, signal.SIGKILL)


def test_kill_9_in_a_loop_never_mixes_two_runs(trained: Path, song: Path) -> None:
    out = song.parent / "out"
    # The networks are loaded once, by the process that the others are copies of.
    code = (
        "import os, sys\nfrom ldm_sep.separation.separator import Options, Separator\n"
        "separator = Separator.load(sys.argv[1], device='cpu')\n"
        "for _ in sys.stdin:\n"
        "    if os.fork() == 0:\n"
        "        for seed in range(10**6):\n"
        "            separator.separate_file(sys.argv[2], sys.argv[3], Options(steps=1, seed=seed))\n"
        "            print(os.getpid(), flush=True)\n"
        "    os.wait()\n"
        "    print('ended', flush=True)\n"
    )
    words = [sys.executable, "-c", code, trained / "stage2/separator", song, out]
    mixture = read(song)[0]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(words, cwd=ROOT, **pipes) as process, killed_at_the_end(process):
        for delay in (0.0, 0.003, 0.03, 0.1):
            process.stdin.write("begin\n")
            process.stdin.flush()
            pid = int(process.stdout.readline())
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            while process.stdout.readline() != "ended\n":
                pass
            stems = [read(path)[0] for path in sorted(out.glob("*.wav"))]
            assert len(stems) < 2 or np.abs(sum(stems) - mixture).max() <= 2**-24
