"""Processes that compute, fail, die and are dismissed."""

import gc
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import worker_functions as functions

from ldm_sep.workers import work_through

Job = tuple[str, ...]


@pytest.fixture(autouse=True)
def _functions_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


def lost(job: Job, given: int, why: str) -> tuple[list[tuple[str, str]], Job | None]:
    word, *rest = job[given:]
    return [(word, why)], tuple(rest) or None


def test_results_are_those_of_the_function_in_the_order_of_each_job() -> None:
    jobs = [("a", "b"), (), ("prints", "c"), ("d",)]
    found = list(work_through(functions.words, jobs, 2, lost))
    words = [word for word, _ in found]
    assert sorted(words) == ["a", "b", "c", "d", "prints"]
    assert words.index("a") < words.index("b") and words.index("prints") < words.index("c")
    assert os.getpid() not in {pid for _, pid in found}
    assert list(work_through(functions.words, [], 2, lost)) == []


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("dies", "exit code 3: out of luck"),
        ("is killed", "signal 9, perhaps for lack of memory"),
        ("raises", "exit code 1: ValueError: no such word"),
    ],
)
def test_a_process_that_ends_costs_one_result(word: str, why: str) -> None:
    found = list(work_through(functions.words, [("a", word, "b"), (word,), ("c",)], 1, lost))
    assert [w for w, _ in found] == ["a", word, "b", word, "c"]
    assert [how for w, how in found if w == word] == [why, why]


def test_processes_that_cannot_start_cost_results_and_do_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    found = list(work_through(functions.words, [("a", "b")], 2, lost))
    assert [word for word, _ in found] == ["a", "b"]
    assert all("exit code 1: ModuleNotFoundError" in how for _, how in found)


def test_what_the_function_holds_is_kept_from_job_to_job() -> None:
    function = partial(functions.Counter.__call__, functions.Counter())
    assert list(work_through(function, ["a", "b", "c"], 1, lost)) == [("a", 0), ("b", 1), ("c", 2)]


def test_jobs_may_be_a_stream_that_waits_for_results() -> None:
    answered = threading.Event()

    def stream() -> Iterator[Job]:
        yield ("a",)
        assert answered.wait(30)
        yield ("b",)

    found = []
    for word, pid in work_through(functions.words, stream(), 1, lost):
        found.append((word, pid))
        answered.set()
    assert [word for word, _ in found] == ["a", "b"] and len({pid for _, pid in found}) == 1


def test_a_killed_parent_takes_its_processes_with_it() -> None:
    code = (
        "import worker_functions as f; from ldm_sep.workers import work_through\n"
        "for _, pid in work_through(f.words, [('a', 'hangs')], 1, lambda *_: ([], None)): print(pid, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    deadline = time.monotonic() + 30
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(child, 0)
            time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_stopping_early_ends_the_processes() -> None:
    results = work_through(functions.words, [("a", "hangs"), ("b", "hangs")], 2, lost)
    pids = {pid for _, pid in (next(results), next(results))}
    assert len(pids) == 2
    results.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_forgotten_generator_may_be_collected_by_a_thread_of_its_own() -> None:
    forgotten, collected, asked = threading.Event(), threading.Event(), itertools.count()

    class Collecting(list[dict[str, str]]):
        """Is asked for the second process while the thread is at starting it."""

        def __getitem__(self, place: int) -> dict[str, str]:
            if next(asked) == 1 and forgotten.wait(60):
                gc.collect()
                collected.set()
            return super().__getitem__(place)

    cycle: list[object] = [work_through(functions.words, [("a", "dies", "hangs")], 1, lost, Collecting([{}]))]
    cycle.append(cycle)
    assert next(cycle[0])[0] == "a"
    gc.disable()
    try:
        del cycle
        forgotten.set()
        assert collected.wait(60)
    finally:
        gc.enable()


def test_what_is_dismissed_may_clear_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDY", str(tmp_path / "tidy"))
    results = work_through(functions.words, [("tidies",)], 1, lost)
    next(results)
    results.close()
    assert (tmp_path / "tidy").exists()


def test_jobs_are_taken_when_a_process_is_free_for_them() -> None:
    taken = []

    def jobs() -> Iterator[Job]:
        for number in itertools.count():
            taken.append(number)
            yield ("a", str(number), "hangs")

    results = work_through(functions.words, jobs(), 2, lost)
    for _ in range(4):
        next(results)
    results.close()
    assert taken == [0, 1]


def test_stopping_does_not_wait_for_a_job_that_never_comes() -> None:
    never = threading.Event()

    def jobs() -> Iterator[Job]:
        yield ("a",)
        never.wait()

    results = work_through(functions.words, jobs(), 2, lost)
    _, pid = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_exception_of_the_jobs_comes_through() -> None:
    def jobs() -> Iterator[Job]:
        yield ("a",)
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(work_through(functions.words, jobs(), 1, lost))


def test_variables_are_dealt_out_to_the_processes() -> None:
    devices = [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    results = work_through(functions.environment, itertools.repeat("CUDA_VISIBLE_DEVICES"), 2, lost, devices)
    seen = set()
    while len(seen) < 2:
        seen.add(next(results))
    results.close()
    assert seen == {"3", "5"}


def test_an_exception_of_the_caller_comes_through_and_ends_the_processes() -> None:
    def confused(job: Job, given: int, why: str) -> tuple[list[str], None]:
        raise KeyError(job[given])

    with pytest.raises(KeyError, match="dies"):
        list(work_through(functions.words, [("dies",), ("hangs",)], 2, confused))


def test_every_process_has_one_thread_and_draws_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MPLBACKEND", "no such backend")
    found = list(work_through(functions.environment, ["OMP_NUM_THREADS", "MPLBACKEND"], 1, lost))
    assert found == ["1", "Agg"]


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    # Below a file nobody makes a folder, not even root.
    monkeypatch.setenv("HOME", "/dev/null/home")
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_home")
def test_without_a_home_there_is_a_cache_as_long_as_the_work_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    results = work_through(functions.environment, ["NUMBA_CACHE_DIR", "MPLCONFIGDIR"], 1, lost)
    folder = Path(next(results))
    assert folder.is_dir() and os.access(folder, os.W_OK)
    assert next(results) == "/mine"
    results.close()
    assert not folder.exists()


@pytest.mark.usefixtures("no_home")
def test_numba_compiles_where_neither_home_nor_package_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    shutil.copy(Path(__file__).parent / "worker_functions.py", tmp_path)
    # numba would keep its cache beside the module, in a folder of this name.
    (tmp_path / "__pycache__").write_text("")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    assert list(work_through(functions.compile_with_numba, [21], 1, lambda job, given, why: ([why], None))) == [42]
