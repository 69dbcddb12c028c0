"""A catalogue on Ray: two nodes on this machine, one of which is lost, as is an actor in mid-song."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import soundfile as sf
from catalogues import bytes_of, here, make_songs, recipe_for, rows_of
from conftest import RATE, ROOT, played

from ldm_sep.catalogue import catalogue

# `ray start`, which otherwise puts another address of the machine in the place of its loopback device's.
START = (
    "from ray._private import services\n"
    "services.resolve_ip_for_localhost = lambda host: host\n"
    "from ray.scripts.scripts import main\n"
    "main()\n"
)
STORE = str(100 << 20)


def wait_until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    known = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32, "PYTHONPATH": path}
    return {**os.environ, **known}


class Nodes:
    """A head and a second node, each a group of processes of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        # The names of sockets must be short.
        self._folder = tempfile.mkdtemp(prefix="ray")
        # Ray takes a port that is free, and says which.
        head = ("--head", "--port=0", f"--temp-dir={self._folder}", "--include-dashboard=false")
        self.started: list[subprocess.Popen[str]] = []
        said = self._start("--address='", *head)
        self.address = said.rpartition("--address='")[2].partition("'")[0]
        self._start("Ray runtime started", f"--address={self.address}")

    def _start(self, sign: str, *words: str) -> str:
        """Start a node; what it said up to the line with ``sign``."""
        common = ("--node-ip-address=127.0.0.1", "--num-cpus=1", f"--object-store-memory={STORE}", "--block")
        node = subprocess.Popen(
            [sys.executable, "-u", "-c", START, "start", *words, *common],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=self._environment,
        )
        self.started.append(node)
        said = ""
        while sign not in said:
            line = node.stdout.readline()
            assert line, said
            said += line
        return said

    def actors(self, node: int) -> list[psutil.Process]:
        """Those of the catalogue on a node."""
        found = []
        for process in psutil.Process(self.started[node].pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += [process] if "_Station" in " ".join(process.cmdline()) else []
        return found

    def remove(self, node: int) -> None:
        """All of its processes at once, as when a machine loses its power."""
        with suppress(psutil.NoSuchProcess):
            whole = [psutil.Process(self.started[node].pid)]
            for process in [*whole, *whole[0].children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.started[node].wait()
        self.started[node].stdout.close()

    def close(self) -> None:
        for node in reversed(range(len(self.started))):
            self.remove(node)
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
def nodes(environment: dict[str, str]) -> Iterator[Nodes]:
    started = Nodes(environment)
    try:
        yield started
    finally:
        started.close()


def test_an_actor_killed_in_mid_song_and_a_node_that_is_lost_change_no_byte_and_no_row(
    nodes: Nodes, environment: dict[str, str], untrained: Path, tmp_path: Path
) -> None:
    songs = make_songs(tmp_path / "songs")
    for number in range(6):
        sf.write(songs / f"long {number}.wav", played(20.0, number).T, RATE, subtype="PCM_16")
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = ["catalogue", songs.as_uri(), "-o", out.as_uri(), "-n", untrained, "-d", "cpu"]
    settings = ["--segment", "2", "--steps", "1", "--format", "wav", "--engine", "ray", "--address", nodes.address]
    run = subprocess.Popen(
        [sys.executable, "-m", "ldm_sep", *map(str, command), *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A driver, too, is told that the loopback device is meant.
        env={**environment, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    )
    # Meanwhile, for comparison.
    catalogue([str(songs)], recipe_for(whole, untrained), here)

    def begun() -> bool:
        return any(out.rglob(".ldm-sep-*.part"))

    def rows() -> int:
        with suppress(FileNotFoundError):
            return (out / "songs.jsonl").read_bytes().count(b"\n")
        return 0

    wait_until(lambda: begun() and bool(nodes.actors(0)) and bool(nodes.actors(1)), run)
    # What the second node has in hand is lost with it, however fast the other one is.
    for actor in nodes.actors(1):
        actor.suspend()
    for actor in nodes.actors(0):
        actor.send_signal(signal.SIGKILL)
    seen = rows()
    wait_until(lambda: rows() > seen, run)
    nodes.remove(1)
    assert rows() < 12
    told, errors = run.communicate(timeout=300)
    assert run.returncode == 1 and "10 separated, 2 failed, 0 done before" in told, errors
    assert bytes_of(out) == bytes_of(whole)
    assert rows_of(out) == rows_of(whole)
    assert (out / "failed.jsonl").read_text().count("\n") == 2


def test_a_cluster_that_is_started_here_listens_to_nobody_else_and_keeps_its_store_small(
    environment: dict[str, str],
) -> None:
    code = (
        "import psutil\n"
        "from ldm_sep.catalogue.cluster import _cluster\n"
        "with _cluster(None, 1) as resources:\n"
        "    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:\n"
        "        for place in process.net_connections('tcp'):\n"
        "            if place.status == 'LISTEN':\n"
        "                print(process.name(), place.laddr.ip.removeprefix('::ffff:'))\n"
        "    print(resources['object_store_memory'], resources['CPU'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    *places, resources = done.stdout.splitlines()
    assert resources == "200000000.0 1.0", done.stderr
    assert "raylet 127.0.0.1" in places and {place.rsplit(" ", 1)[1] for place in places} == {"127.0.0.1"}
