"""A small data set and a tiny trained checkpoint, made once, for the tests that need the whole path."""

import os
from pathlib import Path

# Before numpy and torch are imported, here and in every process that a test starts: several threads on the tiny arrays
# of these tests spend their time waiting for each other, the more so beside other work.
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", MPLBACKEND="Agg")

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import soundfile as sf

ROOT = Path(__file__).resolve().parent.parent
RATE = 16000
# Files whose tests mostly wait, for sounds to be played and for clusters and servers to start; the longest first.
_WAITING = (
    "study/test_page_listening.py",
    "study/test_page.py",
    "catalogue/test_cluster.py",
    "study/test_whole_study.py",
    "study/test_page_saving.py",
    "catalogue/test_kills.py",
    "page/test_song_crashes.py",
    "page/test_song_browser.py",
    "study/test_serve_process.py",
)
# The longest of the other files.
_COMPUTING = (
    "evaluate/test_evaluate.py",
    "training/test_stages.py",
    "training/test_resume.py",
    "training/test_freeze.py",
    "eval/test_musdb.py",
    "evaluate/test_evaluate_faults.py",
    "tests/test_default.py",
    "cli/test_choices.py",
    "eval/test_speed.py",
    "study/test_prepare.py",
    "cli/test_command.py",
    "tests/test_structure.py",
    "page/test_song_limits.py",
    "study/test_analysis.py",
    "synthesis/test_intone.py",
    "audio/test_field.py",
    "catalogue/test_catalogue.py",
    "training/test_guide.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files begin first, so that none is left alone at the end, and those that wait beside those that compute."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting, computing = (
        [file for name in names for file in files if file.as_posix().endswith(f"/{name}")]
        for names in (_WAITING, _COMPUTING)
    )
    computing += [file for file in files if file not in {*waiting, *computing}]
    order, left = waiting[:2], waiting[2:]
    for number, file in enumerate(computing, 1):
        order.append(file)
        # The first two wait until about the ninth has been computed.
        if number > 8 and number % 3 == 0:
            order += left[:1]
            left = left[1:]
    items[:] = [item for file in (*order, *left) for item in files[file]]


def sung(seconds: float, f0: float, seed: int) -> np.ndarray:
    """A harmonic tone with vibrato and rests, mono: what a singer is to the tiny models."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(f0 * (1 + 0.01 * np.sin(2 * np.pi * 5 * t))) / RATE
    wave = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 8))
    return (0.1 * wave * (np.sin(2 * np.pi * 0.4 * t) > -0.5)).astype(np.float32)


def played(seconds: float, seed: int) -> np.ndarray:
    """Noise bursts and a bass tone, stereo: what a band is to the tiny models."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    beat = np.exp(-8 * (t % 0.5))
    noise = rng.normal(0, 0.1, (2, len(t))) * beat
    return (noise + 0.1 * np.sin(2 * np.pi * 80 * t)).astype(np.float32)


def mixture(seconds: float) -> np.ndarray:
    """A 16-bit mixture of the tiny voice and band (2, T)."""
    wave = sung(seconds, 220, 9)[None] + played(seconds, 9)
    return (np.rint(wave * 32768) / 32768).astype(np.float32)


def heeding_signals() -> None:
    """For a new process: what a shell starts in the background ignores Ctrl-C, and hands that on to what it starts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def run_cli(*words: object, timeout: float = 900, **env: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "ldm_sep", *map(str, words)],
        capture_output=True,
        timeout=timeout,
        env={**os.environ, **env},
        cwd=ROOT,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def run_here(*words: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    """The command in this process, as `run_cli` otherwise: what it printed, and how it ended."""
    from typer.testing import CliRunner

    from ldm_sep.cli import app
    from ldm_sep.errors import LdmSepError

    line, before = [str(word) for word in words], sys.argv
    # A checkpoint tells the command that made it.
    sys.argv = ["ldm-sep", *line]
    try:
        result = CliRunner().invoke(app, line, input=stdin)
    finally:
        sys.argv = before
    told = result.stderr
    if isinstance(result.exception, LdmSepError):
        told += f"ldm-sep: {result.exception}\n"
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(line, result.exit_code, result.stdout, told)


def mistake_of(*words: object) -> str:
    """What the command says of a mistake, run in this process: the one line of its error."""
    from typer.testing import CliRunner

    from ldm_sep.cli import app
    from ldm_sep.errors import LdmSepError

    error = CliRunner().invoke(app, [str(word) for word in words]).exception
    if not isinstance(error, LdmSepError):
        raise AssertionError(f"not told as a mistake: {error!r}") from error
    assert str(error) and "\n" not in str(error)
    return str(error)


@pytest.fixture
def librosa() -> Iterator[ModuleType]:
    """librosa, while no other process has it compile: two that fill numba's cache at the same time damage it."""
    from ldm_sep.files import one_at_a_time
    from ldm_sep.metrics.tracker import track_pitch

    # Compiles what the metrics need, which waits for its turn by itself.
    track_pitch(np.zeros(RATE, np.float32), RATE, [])
    with one_at_a_time("compile"):
        import librosa

        yield librosa


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures over tracks are composed and written, but not drawn: for evaluations in which nobody looks at them."""
    from ldm_sep.evaluate.rows import write_bytes

    monkeypatch.setattr("ldm_sep.evaluate.plots.save", lambda figure, path: write_bytes(path, b"undrawn"))


@pytest.fixture(scope="session")
def stems_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three songs of vocals and two stems, one of them for validation, in the layout `stems`."""
    root = tmp_path_factory.mktemp("stems")
    for number, split in enumerate(("train", "train", "valid")):
        song = root / split / f"song {number} – ü"
        song.mkdir(parents=True)
        sf.write(song / "vocals.wav", sung(6, 200 + 50 * number, number), RATE, subtype="PCM_16")
        band = played(6, number)
        sf.write(song / "drums.wav", band.T, RATE, subtype="PCM_16")
        sf.write(song / "bass.wav", 0.3 * band[::-1].T, RATE, subtype="PCM_16")
    return root


@pytest.fixture(scope="session")
def trained(stems_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: `codec`, `stage1/separator`, `stage2/separator`, made by the commands of the README.

    The first of the test processes that needs it makes it, and each has a copy.
    """
    from ldm_sep.files import one_at_a_time

    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained"
    with one_at_a_time("trained"):
        if not made.is_dir():
            run = tmp_path_factory.mktemp("run")
            _train_tiny(run, stems_folder)
            run.rename(made)
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("trained") / "run"))


def _train_tiny(run: Path, data: Path) -> None:
    stage2 = run / "stage2.toml"
    stage2.write_text('extends = "tiny.toml"\nname = "tiny2"\n[training]\nstage = 2\n')
    common = ["--data", data, "--cache", run / "cache", "--cpu"]
    config = ROOT / "configs/tiny.toml"
    for words in (
        ["train-codec", config, "--run", run / "codec_run", *common],
        ["train", config, "--run", run / "stage1", "--codec", run / "codec_run/codec", *common],
        ["train", stage2, "--run", run / "stage2", "--init", run / "stage1/separator", *common],
    ):
        done = run_here(*words)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def tiny_separator(trained: Path):
    """The tiny checkpoint, loaded."""
    from ldm_sep.separation.separator import Separator

    return Separator.load(trained / "stage2/separator", device="cpu")


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the smallest sizes whose weights nobody trained, for what does not depend on them."""
    import torch

    from ldm_sep.build import build_separator
    from ldm_sep.checkpoint.manifest import Provenance
    from ldm_sep.checkpoint.writing import save_separator
    from ldm_sep.config import load_config

    config = load_config(ROOT / "configs/tiny.toml")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint") / "untrained"
    save_separator(folder, config, build_separator(config), Provenance())
    return folder
