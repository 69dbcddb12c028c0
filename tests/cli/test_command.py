"""`ldm-sep separate` as a user meets it: what is written, what is told, what is refused."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, ROOT, heeding_signals, mixture, run_cli, run_here


def test_samples_that_flac_cannot_hold_are_told_once_and_at_once(tmp_path: Path) -> None:
    for name in "ab":
        sf.write(tmp_path / f"{name}.wav", mixture(1).T, RATE)
    done = run_here("separate", tmp_path, "-n", "nowhere", "--format", "flac", "--samples", "float")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "choose int24 or int16" in done.stderr


def test_command_line_writes_both_stems_of_every_input(trained: Path, tmp_path: Path) -> None:
    songs = tmp_path / "songs/album"
    songs.mkdir(parents=True)
    for name in ("a ü", "b"):
        sf.write(songs / f"{name}.wav", mixture(1).T, RATE)
    (songs / "broken.wav").write_bytes(b"RIFF")
    # As macOS leaves beside every file on other systems' disks.
    (songs / "._b.wav").write_bytes(b"RIFF")
    model = trained / "stage2/separator"
    done = run_here("separate", tmp_path / "songs", "-o", tmp_path / "out", "-n", model, "-d", "cpu")
    assert done.returncode == 1 and "broken.wav" in done.stderr and "._b" not in done.stderr
    assert done.stdout.startswith("device: cpu\n")
    for name in ("a ü", "b"):
        for stem in ("vocals", "instrumental"):
            assert sf.info(tmp_path / "out/album" / name / f"{stem}.wav").frames == RATE
    assert not (tmp_path / "out/album/broken").exists()
    first = (tmp_path / "out/album/b/vocals.wav").read_bytes()
    again = run_here("separate", songs / "b.wav", "-o", tmp_path / "out/album", "-n", model, "-d", "cpu")
    assert again.returncode == 1 and "--overwrite" in again.stderr
    again = run_here(
        *("separate", songs / "b.wav", "-o", tmp_path / "out/album", "-n", model, "-d", "cpu", "--overwrite"),
        *("--stems", "vocals"),
    )
    assert again.returncode == 0
    assert (tmp_path / "out/album/b/vocals.wav").read_bytes() == first


def test_a_folder_is_gone_on_with_and_results_inside_it_are_no_songs(trained: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        sf.write(tmp_path / f"{name}.wav", mixture(1).T, RATE)
    words = ("separate", tmp_path, "-o", tmp_path / "out", "-n", trained / "stage2/separator", "-d", "cpu")
    assert run_here(*words).returncode == 0
    files = sorted((tmp_path / "out").rglob("*.wav"))
    assert len(files) == 4
    made = {file: file.stat().st_mtime_ns for file in files}
    files[0].unlink()
    refused = run_here(*words)
    assert refused.returncode == 1 and "--skip-existing" in refused.stderr
    again = run_here(*words, "--skip-existing")
    assert again.returncode == 0 and again.stdout.count(".wav") == 2
    assert sorted((tmp_path / "out").rglob("*.wav")) == files
    assert [made[file] == file.stat().st_mtime_ns for file in files] == [False, False, True, True]
    unknown = run_here(*words, "--overwrite", "--preset", "turbo")
    assert unknown.returncode == 1 and unknown.stderr.count("no preset 'turbo'") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_nothing_half_written(trained: Path, tmp_path: Path, number: signal.Signals) -> None:
    sf.write(tmp_path / "long.wav", np.tile(mixture(10), 30).T, RATE)
    words = ["separate", tmp_path / "long.wav", "-o", tmp_path / "out", "-n", trained / "stage2/separator", "-d", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ldm_sep", *map(str, words), "--steps", "20"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=heeding_signals,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/long/.*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "interrupted" in told and "Traceback" not in told
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def bad_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    """name -> (file, what the message must say)."""
    files = {
        "missing": (folder / "missing.wav", "no such file"),
        "empty": (folder / "empty.wav", "empty"),
        "text": (folder / "text.wav", "text"),
        "nan": (folder / "nan.wav", "finite"),
        "truncated": (folder / "truncated.wav", ""),
        "no audio": (folder / "nothing", "no audio files"),
    }
    files["empty"][0].write_bytes(b"")
    files["text"][0].write_text("hello, this is no sound at all\n" * 20)
    sf.write(files["nan"][0], np.full((100, 2), np.nan, np.float32), RATE, subtype="FLOAT")
    sf.write(files["truncated"][0], mixture(1).T, RATE)
    files["truncated"][0].write_bytes(files["truncated"][0].read_bytes()[:2000])
    files["no audio"][0].mkdir()
    return files


def test_bad_input_is_one_line_that_names_the_file_and_leaves_nothing(trained: Path, tmp_path: Path) -> None:
    for name, (path, needle) in bad_inputs(tmp_path).items():
        out = tmp_path / f"out {name}"
        done = run_here("separate", path, "-o", out, "-n", trained / "stage2/separator", "-d", "cpu")
        (line,) = done.stderr.splitlines()
        assert path.name in line
        assert needle in line, (name, line)
        assert done.returncode == 1
        assert not out.exists(), name


def test_an_output_folder_that_cannot_be_written_is_told_before_any_work(trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "song.wav"
    sf.write(source, mixture(1).T, RATE)
    (tmp_path / "file").write_text("in the way")
    done = run_here("separate", source, "-o", tmp_path / "file", "-n", trained / "stage2/separator", "-d", "cpu")
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr and "Traceback" not in done.stderr


def test_it_separates_where_torchaudio_cannot_be_imported(trained: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "block/torchaudio"
    blocker.mkdir(parents=True)
    (blocker / "__init__.py").write_text("raise ImportError('torchaudio is blocked')")
    source = tmp_path / "song.wav"
    sf.write(source, mixture(1).T, RATE)
    done = run_cli(
        *("separate", source, "-o", tmp_path / "out", "-n", trained / "stage2/separator", "-d", "cpu"),
        PYTHONPATH=str(tmp_path / "block"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/song/vocals.wav").exists()


def test_a_run_ends_with_a_count_of_everything(trained: Path, tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    (songs / "more").mkdir(parents=True)
    for name in ("notes.TXT", "cover.jpg", "more/cover.jpg", "README", ".hidden.txt"):
        (songs / name).write_bytes(b"x")
    for name in ("a.wav", "b.wav", "c.aiff"):
        sf.write(songs / name, mixture(1).T, RATE)
    (songs / "broken.m4a").write_bytes(bytes(range(256)))
    common = ("-o", tmp_path / "out", "-n", trained / "stage2/separator", "-d", "cpu", "--steps", 1)
    words = ("separate", songs, *common)
    assert run_here("separate", songs / "c.aiff", *common).returncode == 0
    done = run_here(*words, "--skip-existing")
    assert done.returncode == 1 and done.stderr.count("ldm-sep: ") == 1 and "broken.m4a: is damaged" in done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == "2 separated, 1 skipped, 1 failed, 4 passed over (.jpg 2, .txt 1, no suffix 1)"
    refused = run_here(*words, "--skip-existing", "--max-hours", "0.0001")
    assert refused.stdout.splitlines()[-1].startswith("0 separated, 3 skipped, 1 failed")
