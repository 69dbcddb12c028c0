"""What is on the disk while a file is written, when that fails, and afterwards: a whole file or none."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from field import RATE
from written import everything_in, noise, refusal, save

from ldm_sep.audio import AudioWriter, read
from ldm_sep.errors import AudioError


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


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked")
def test_what_a_killed_writer_leaves_is_removed_by_the_next_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    script = (
        "import os, sys, numpy as np\nfrom ldm_sep.audio import AudioWriter\n"
        "writer = AudioWriter(sys.argv[1] + '/a.wav', 44100, 1)\n"
        "writer.write(np.zeros((1, 9), np.float32))\nos._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path], check=False, cwd=ROOT).returncode == 9
    assert len(everything_in(tmp_path)) == 1
    with AudioWriter(tmp_path / "b.wav", RATE, 2) as first, AudioWriter(tmp_path / "c.flac", RATE, 2) as second:
        assert len(everything_in(tmp_path)) == 2
        for writer in (first, second):
            writer.write(noise(100))
    assert everything_in(tmp_path) == [tmp_path / "b.wav", tmp_path / "c.flac"]
