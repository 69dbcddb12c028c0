"""The README's table for people who come from other separators: each of its commands does what its row says."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, mixture, run_here

from ldm_sep.audio import AudioWriter

_ROW = re.compile(r"\| `((?:demucs|spleeter|audio-separator) .*?)` \| `ldm-sep (.*?)` \|(.*)\|")
ROWS = [match.groups() for line in (ROOT / "README.md").read_text().splitlines() if (match := _ROW.fullmatch(line))]


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with `song.mp3`, where the default checkpoint is the tiny one."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/open").symlink_to(trained / "stage2/separator")
    monkeypatch.setenv("LDM_SEP_CHECKPOINTS", str(tmp_path / "models"))
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with AudioWriter("song.mp3", 16000, 2) as writer:
        writer.write(mixture(3))
    return folder


def test_each_of_the_three_is_there() -> None:
    assert len(ROWS) >= 9 and {row[0].split()[0] for row in ROWS} == {"demucs", "spleeter", "audio-separator"}


@pytest.mark.parametrize(("theirs", "ours", "writes"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_writes_what_it_says(place: Path, theirs: str, ours: str, writes: str) -> None:
    done = run_here(*shlex.split(ours))
    assert done.returncode == 0, done.stderr
    expected = set(re.findall(r"`(.*?)`", writes))
    made = {str(p.relative_to(place / "separated")) for p in (place / "separated").rglob("*") if p.is_file()}
    assert {name for name in made if not name.endswith(".json")} == expected
    # Words that both know mean the same thing here: none of theirs is dropped on the way.
    shared = {word for word in shlex.split(theirs) if word.startswith("--")} & set(_options())
    assert shared <= set(shlex.split(ours))


def _options() -> list[str]:
    return re.findall(r"--[a-z0-9-]+", run_here("separate", "--help").stdout)
