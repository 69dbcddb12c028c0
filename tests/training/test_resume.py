"""Runs that are killed, stopped or shared by processes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT, run_here
from safetensors.torch import load_file

from ldm_sep.files import locked


def test_a_run_killed_and_resumed_equals_an_uninterrupted_one(trained: Path, stems_folder: Path) -> None:
    run = trained / "killed"
    words = [
        *("train", str(ROOT / "configs/tiny.toml"), "--run", str(run), "--data", str(stems_folder), "--cpu"),
        *("--codec", str(trained / "codec_run/codec"), "--cache", str(trained / "cache")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ldm_sep", *words], env=environment, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    deadline = time.monotonic() + 120
    while not (run / "state-00000002/progress.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    refused = run_here(*words)
    assert refused.returncode == 1 and "--resume" in refused.stderr and refused.stderr.count("\n") == 1
    with locked(run):
        busy = run_here(*words, "--resume")
    assert busy.returncode == 1 and "killed: another process is writing there" in busy.stderr
    resumed = run_here(*words, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    killed, whole = run / "separator/model.safetensors", trained / "stage1/separator/model.safetensors"
    assert killed.read_bytes() == whole.read_bytes()
    rows = [r["step"] for r in csv.DictReader((run / "train.csv").read_text().splitlines())]
    assert rows == ["2", "4", "6", "8"]
    assert len(list(run.glob("state-*"))) == 2
    assert "resumed" in resumed.stderr and "changed" not in resumed.stderr
    other = run_here(*words, "--resume", "--set", "unet.time_features=24", "--steps", "9")
    assert other.returncode == 1 and "undo what changed" in other.stderr and "delete" not in other.stderr
    # Settings of a start that failed are not recorded.
    failed = run_here(*words, "--resume", "--set", "mix.reverb=0.7", "--items", "none.csv")
    assert failed.returncode == 1 and "none.csv" in failed.stderr
    changed = run_here(*words, "--resume", "--set", "mix.reverb=0.5", "--set", "training.steps=9")
    assert changed.returncode == 0, changed.stderr
    assert "changed: mix.reverb 0.3 -> 0.5, training.steps 8 -> 9" in changed.stderr


def test_max_minutes_stops_early_with_everything_saved(trained: Path, stems_folder: Path) -> None:
    run = trained / "short"
    done = run_here(
        *("train", ROOT / "configs/tiny.toml", "--run", run, "--data", stems_folder, "--cpu"),
        *("--codec", trained / "codec_run/codec", "--cache", trained / "cache", "--max-minutes", 0),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "separator/config.json").read_text())["steps"] == 1
    assert (run / "state-00000001/progress.json").exists()


def test_two_processes_train_together(trained: Path, stems_folder: Path) -> None:
    run = trained / "two"
    words = [
        *("-m", "--", "ldm_sep", "train", str(ROOT / "configs/tiny.toml"), "--run", str(run), "--steps", "4"),
        *("--data", str(stems_folder), "--codec", str(trained / "codec_run/codec"), "--cache", str(trained / "cache")),
    ]
    # Without --cpu: several processes must find each other where no GPU is, too.
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("processes: 2") == 1
    two = load_file(run / "separator/model.safetensors")
    facts = json.loads((run / "separator/config.json").read_text())
    assert facts["steps"] == 4
    assert facts["command"].startswith("torchrun --nproc-per-node 2 -m -- ldm_sep train ")
    # The second process brings data of its own, so the result is another one than that of a single process.
    alone = run_here(*words[3:], "--run", trained / "one", "--cpu")
    assert alone.returncode == 0, alone.stderr
    one = load_file(trained / "one/separator/model.safetensors")
    assert max(float((one[k] - two[k]).abs().max()) for k in one) > 1e-4
    # Resumed by another number of processes, it says what that changes.
    resumed = run_here(*words[3:], "--resume", "--steps", 5, "--cpu")
    assert resumed.returncode == 0
    assert "1 processes instead of 2: a step now takes 2 items, not 4, and draws other ones" in resumed.stderr
    assert resumed.stderr.count("resumed") == 1
