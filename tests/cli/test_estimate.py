"""`ldm-sep separate --estimate`: files and folders of vocals, what the sidecar keeps of them, what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, mistake_of, mixture, run_here, sung


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """`songs/{a,b,c/d}`, and vocals of all in `theirs` in three of the layouts that are matched."""
    for name, place in (("a", "a/vocals"), ("b", "b_vocals"), ("c/d/mixture", "c/d")):
        for file, wave in ((f"songs/{name}.wav", mixture(1).T), (f"theirs/{place}.wav", sung(1, 220, 9))):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            sf.write(tmp_path / file, wave, RATE)
    return tmp_path


def test_a_folder_of_vocals_is_matched_and_remembered(songs: Path, trained: Path) -> None:
    how = ("-n", trained / "stage2/separator", "-d", "cpu")
    plain = run_here("separate", songs / "songs", "-o", songs / "plain", *how)
    words = ("separate", songs / "songs", "-o", songs / "out", "--estimate", songs / "theirs", *how)
    assert plain.returncode == run_here(*words).returncode == 0
    for name in ("a", "b", "c/d/mixture"):
        vocals, before = (sf.read(songs / out / name / "vocals.wav")[0] for out in ("out", "plain"))
        assert not np.array_equal(vocals, before)
    record = songs / "out/a/separation.json"
    assert json.loads(record.read_text())["estimate"]["file"] == "../../theirs/a/vocals.wav"
    # The same again is passed over; of other vocals, or none, it is another result.
    assert "0 separated, 3 skipped" in run_here(*words, "--skip-existing").stdout
    sf.write(songs / "theirs/a/vocals.wav", sung(1, 220, 9) / 2, RATE)
    assert "1 separated, 2 skipped" in run_here(*words, "--skip-existing").stdout
    assert "3 separated" in run_here(*words[:4], *how, "--skip-existing").stdout


def test_it_is_made_again_from_its_record(songs: Path, trained: Path) -> None:
    how = ("-n", trained / "stage2/separator", "-d", "cpu", "--estimate-weight", 0.8)
    file = songs / "theirs/b_vocals.wav"
    assert run_here("separate", songs / "songs/b.wav", "-o", songs / "out", "--estimate", file, *how).returncode == 0
    again = ("rerun", songs / "out/b/separation.json", "-o", songs / "again")
    assert run_here(*again).stdout.count("the same bytes") == 2
    shutil.move(file, songs / "moved.wav")
    assert "the estimate is not where it was; name it by --estimate" in mistake_of(*again, "--overwrite")
    assert "is not the estimate of" in mistake_of(*again, "--overwrite", "--estimate", songs / "songs/b.wav")
    done = run_here(*again, "--overwrite", "--estimate", songs / "moved.wav")
    assert done.stdout.count("the same bytes") == 2


def test_what_does_not_fit_is_one_line_before_any_work(songs: Path, trained: Path) -> None:
    words = ("separate", songs / "songs", "-o", songs / "out", "-n", trained / "stage2/separator")
    sf.write(songs / "longer.wav", sung(2, 220, 9), RATE)
    sf.write(songs / "late.wav", sung(1.006, 220, 9), RATE)
    one = (words[0], songs / "songs/a.wav", *words[2:])
    for more, needle in (
        ((*words, "--estimate", songs / "longer.wav"), "is no folder, and there are 3 songs; name a folder"),
        ((*words, "--estimate", songs / "nowhere"), "is no folder"),
        ((*one, "--estimate", songs / "nowhere.wav"), "there is no such file"),
        ((*one, "--estimate", songs / "longer.wav"), "has 2.000 s and"),
        ((*words, "--estimate", songs / "songs", "--candidates", 2), "--candidates"),
        ((*words, "--estimate-weight", 0.5), "name them by --estimate"),
    ):
        assert needle in mistake_of(*more)
    (songs / "theirs/b_vocals.wav").unlink()
    assert "there is no estimate of the track 'b'" in mistake_of(*words, "--estimate", songs / "theirs")
    # Six milliseconds cannot be seen in every header: it is this song that fails.
    done = run_here(*one, "--estimate", songs / "late.wav")
    assert done.returncode == 1 and "has 1.006 s and" in done.stderr and "0 separated" in done.stdout
    assert not (songs / "out").exists()
    # Neither is an estimate written over.
    over = run_here(
        *("separate", songs / "songs/a.wav", "-o", songs / "theirs", "-n", trained / "stage2/separator"),
        *("--estimate", songs / "theirs/a/vocals.wav", "--overwrite"),
    )
    assert over.returncode == 1 and "is the input itself" in over.stderr
