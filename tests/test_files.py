"""Files appear whole or not at all, whatever happens while they are written."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from ldm_sep.errors import ConfigError
from ldm_sep.files import (
    as_file_name,
    complete_leftovers,
    complete_swap,
    locked,
    replacing,
    replacing_together,
    sha256_of,
    shown,
)


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "table.csv"
    with replacing(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    with replacing(path) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for text, names in (("one", ("a", "b")), ("two", ("b", "c"))):
        with replacing(path) as temporary:
            temporary.mkdir()
            for name in names:
                (temporary / name).write_text(text)
    assert {p.name: p.read_text() for p in path.iterdir()} == {"b": "two", "c": "two"}
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("folder", [False, True])
def test_an_exception_leaves_the_old_and_nothing_else(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "old"
    if folder:
        path.mkdir()
        (path / "kept").write_text("old")
    else:
        path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        if folder:
            temporary.mkdir()
            (temporary / "half").write_text("half")
        else:
            temporary.write_text("half")
        raise RuntimeError
    assert (path / "kept" if folder else path).read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_the_target_of_a_link_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with replacing(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"


def test_a_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_names_are_shown_on_one_printable_line() -> None:
    assert shown("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"


def run(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    code = "import os, sys\nfrom pathlib import Path\nimport ldm_sep.files as files\n" + script
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def seen(folder: Path) -> set[str]:
    """What the files that show in a folder hold."""
    return {p.read_text() for p in folder.iterdir() if not p.name.startswith(".")}


# Dies at the given call of whatever changes names or waits for the disk, as kill -9 or a power cut would.
DYING_WRITER = """
left = int(sys.argv[2])
def dying(act):
    def wrapped(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return act(*args, **kwargs)
    return wrapped
for owner, name in ((Path, "rename"), (Path, "unlink"), (Path, "write_text"), (files, "sync")):
    setattr(owner, name, dying(getattr(owner, name)))
with files.replacing_together(Path(sys.argv[1]), ["a", "b"]) as parts:
    for part in parts:
        part.open("w").write("new")
"""


@pytest.mark.parametrize("old", [True, False])
def test_old_and_new_files_of_a_unit_never_stand_side_by_side(tmp_path: Path, old: bool) -> None:
    outcomes = set()
    for calls in range(99):
        folder = tmp_path / str(calls)
        folder.mkdir()
        if old:
            for name in "ab":
                (folder / name).write_text("old")
        code = run(DYING_WRITER, folder, calls).returncode
        assert len(seen(folder)) <= 1, calls
        if code == 0:
            break
        assert code == 9
        with pytest.raises(RuntimeError), replacing_together(folder, ["c"]):
            raise RuntimeError
        whole = {p.name: p.read_text() for p in folder.iterdir()}
        assert whole in ({"a": "new", "b": "new"}, {"a": "old", "b": "old"} if old else {})
        outcomes.add(tuple(whole.values()))
    assert seen(folder) == {"new"} and calls > 8 and len(outcomes) == 2


def test_a_unit_is_killed_at_random_and_the_next_run_tidies_up(tmp_path: Path) -> None:
    script = """
for n in range(10**6):
    with files.replacing_together(Path(sys.argv[1]), ["a", "b"]) as parts:
        for part in parts:
            part.write_text(str(n) * 1000)
    print(flush=True)
"""
    code = "import sys\nfrom pathlib import Path\nimport ldm_sep.files as files\n" + script
    rng = np.random.default_rng(0)
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, cwd=ROOT)
        process.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.05)))
        process.kill()
        process.wait()
        process.stdout.close()
        assert len(seen(tmp_path)) <= 1
    with replacing_together(tmp_path, ["a", "b"]) as parts:
        for part in parts:
            part.write_text("end")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"] and seen(tmp_path) == {"end"}


def test_a_list_of_a_unit_that_was_not_written_here_moves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "kept").write_text("kept")
    for name, text in (("1", '{".ldm-sep-x": "../kept"}'), ("2", '{"../kept": "a"}'), ("3", "[1]"), ("4", "\0{")):
        (tmp_path / f"out/.ldm-sep-{name}.commit").write_text(text)
    (tmp_path / "out/.ldm-sep-x").write_text("planted")
    complete_leftovers(tmp_path / "out")
    assert (tmp_path / "kept").read_text() == "kept" and not list((tmp_path / "out").iterdir())


def test_a_unit_that_fails_leaves_the_old_and_no_new_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    for folder in (tmp_path, tmp_path / "new/folder"):
        with pytest.raises(RuntimeError), replacing_together(folder, ["a", "b"]) as parts:
            parts[0].write_text("half")
            raise RuntimeError
    with pytest.raises(OSError), replacing_together(tmp_path, ["a", "b"]) as parts:
        parts[0].write_text("new")  # and the other is forgotten
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and seen(tmp_path) == {"old"}


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked")
def test_a_second_process_on_a_folder_is_told(tmp_path: Path) -> None:
    script = "with files.locked(Path(sys.argv[1])): print('held')"
    with locked(tmp_path):
        told = run(script, tmp_path)
        assert "another process is writing there" in told.stderr and "held" not in told.stdout
        with pytest.raises(ConfigError, match="another process"), replacing_together(tmp_path, ["a"]):
            pass
    assert run(script, tmp_path).stdout == "held\n"


@pytest.mark.parametrize(
    "text",
    ["../../etc/passwd", "/", "..", "", " . ", "a\\b/c:d*e", "x\n\x00y", "日本" * 200, "con.txt", "NUL", "\udcff"],
)
def test_any_name_becomes_one_visible_part_of_a_path(tmp_path: Path, text: str) -> None:
    name = as_file_name(text)
    assert 0 < len(name.encode()) <= 121
    assert Path(name).name == name and not name.startswith(".") and name.isprintable()
    assert not set(name) & set('/\\:*?"<>|')
    (tmp_path / name).write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert name.upper().split(".")[0] not in {"CON", "NUL"}


def test_a_plain_name_is_kept() -> None:
    assert as_file_name("b – ü 日本 (live).2") == "b _ ü 日本 (live).2"


def test_a_folder_that_was_about_to_be_replaced_is_there_again_after_tidying_up(tmp_path: Path) -> None:
    (tmp_path / ".ldm-sep-was-separator").mkdir()
    (tmp_path / ".ldm-sep-was-separator/weights").write_text("old")
    (tmp_path / ".ldm-sep-0123").mkdir()
    complete_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["separator"]
    assert (tmp_path / "separator/weights").read_text() == "old"


def test_processes_take_turns(tmp_path: Path) -> None:
    # Each writes its number twice, with a pause between: turns show as pairs.
    code = (
        "import sys, time\nfrom ldm_sep.files import one_at_a_time\n"
        "for _ in range(5):\n"
        f"    with one_at_a_time('test-turns'), open({str(tmp_path / 'log')!r}, 'a') as file:\n"
        "        for _ in range(2):\n"
        "            file.write(sys.argv[1]); file.flush(); time.sleep(0.01)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    written = (tmp_path / "log").read_text()
    assert len(written) == 30 and written[::2] == written[1::2]


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked")
def test_many_writers_in_one_folder_never_take_each_others_work_for_leftovers(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom ldm_sep.files import replacing\n"
        "for n in range(60):\n"
        "    with replacing(Path(sys.argv[1]) / f'{sys.argv[2]} {n}') as part:\n"
        "        part.write_text('whole')\n"
    )
    for n in range(20):  # for each of them to find
        (tmp_path / f".ldm-sep-{n}").write_text("left by a killed process")
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path, str(n)], cwd=ROOT) for n in range(4)]
    assert [process.wait(120) for process in running] == [0] * 4
    assert len(list(tmp_path.iterdir())) == 240 and seen(tmp_path) == {"whole"}


def test_a_signal_between_the_renames_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, rename = tmp_path / "it", Path.rename
    old.mkdir()
    (old / "a").write_text("old")

    def stopped(self: Path, target: Path) -> Path:
        made = rename(self, target)
        if target.name.startswith(".ldm-sep-was-"):
            raise SystemExit(130)
        return made

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(SystemExit), replacing(old) as new:
        new.mkdir()
        (new / "a").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["it"] and (old / "a").read_text() == "old"


def test_an_interrupted_swap_is_completed_behind_a_link_and_roots_have_none(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    (tmp_path / ".ldm-sep-was-real").mkdir()
    complete_swap(link)
    assert (tmp_path / "real").is_dir()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (Path("/"), Path(), loop):
        complete_swap(path)
