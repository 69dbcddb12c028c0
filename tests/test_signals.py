"""Ctrl-C, SIGTERM and a closed terminal, at any moment: one line and the code that shells expect."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, heeding_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def running(code: str, sign: str) -> subprocess.Popen[str]:
    """A process of ``code``, once it has printed ``sign``."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # As on a terminal, where standard error has a buffer.
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        preexec_fn=heeding_signals,
    )
    assert process.stdout.readline() == f"{sign}\n"
    return process


def start(ignored: bool = False) -> subprocess.Popen[str]:
    """The command, stopped in its imports for as long as it takes."""
    code = (
        "import signal, sys, time\n"
        f"{'signal.signal(signal.SIGHUP, signal.SIG_IGN)' if ignored else ''}\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            print('importing', flush=True)\n"
        "            time.sleep(1 if {ignored} else 60)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "sys.argv = ['ldm-sep', '--help']\n"
        "from ldm_sep.__main__ import main\n"
        "main()\n"
    ).replace("{ignored}", str(ignored))
    return running(code, "importing")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_command_still_starts_is_one_line(number: signal.Signals) -> None:
    process = start()
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert told.count("\n") == 1 and "interrupted" in told


def test_what_is_started_to_outlive_its_terminal_does() -> None:
    process = start(ignored=True)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGHUP)
    shown, told = process.communicate(timeout=60)
    assert process.returncode == 0 and "singing-voice" in shown and not told


def test_a_signal_while_a_line_is_being_told_is_one_line_more() -> None:
    code = (
        "import sys\n"
        "class Telling:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            print('telling', flush=True)\n"
        "            sys.stderr.write('x' * 1_000_000)\n"
        "sys.meta_path.insert(0, Telling())\n"
        "from ldm_sep.__main__ import main\n"
        "main()\n"
    )
    process = running(code, "telling")
    # Nobody reads: it waits in its write.
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "interrupted" in told and "Traceback" not in told
