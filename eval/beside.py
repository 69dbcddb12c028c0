"""What separation costs beside others, on an idle machine and on a busy one: wall and CPU seconds, peak memory.

    python eval/beside.py SYSTEM SECONDS REPEATS       # one system, as JSON; `eval/speed.py` prints the table

A system is a preset of a checkpoint (``open:fast``), ``spleeter``, or ``htdemucs`` of random weights (`peers`). Each is
measured in a process of its own on the same stereo noise at 44,100 Hz, loading not counted. Busy means two processes,
started and ended here, that count without end.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peers import PEERS, HTDemucs, peer
from script import run_script

from ldm_sep.errors import ConfigError
from ldm_sep.markdown import markdown_table

RATE = 44100
_BUSY_LOOPS = 2


@dataclass(frozen=True)
class Cost:
    """Of one audio second: the least wall seconds of several runs, and the CPU seconds then; MiB at the peak."""

    wall: float
    cpu: float
    peak_mib: float


def noise_song(seconds: float, rate: int) -> np.ndarray:
    """16-bit stereo noise ``(2, T)``: the cost does not depend on what is heard, only silence is skipped."""
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal((2, round(seconds * rate)))
    return (np.rint(wave * 32768) / 32768).astype(np.float32)


def separation_by(system: str) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the vocals of a wave (2, T) at 44,100 Hz: of a preset, or of a `peer`, whose errors it has."""
    if system.partition(":")[0] in PEERS:
        return peer(system).vocals
    from ldm_sep.separation import Options, Separator

    checkpoint, _, preset = system.rpartition(":")
    separator, options = Separator.load(checkpoint, device="cpu"), Options(preset=preset)
    return lambda wave: separator.separate(wave, RATE, options).vocals


def peak_mib() -> float:
    """The most memory of this process so far. Linux's ru_maxrss begins with that of the process that started it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return (peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def cost_of(system: str, seconds: float, repeats: int) -> Cost:
    """Measured in this process."""
    # Random weights take the time of trained ones.
    separate = HTDemucs().vocals if system == "htdemucs" else separation_by(system)
    song = noise_song(seconds, RATE)
    separate(song[:, : 5 * RATE])
    runs = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        separate(song)
        runs.append(((time.perf_counter() - wall) / seconds, (time.process_time() - cpu) / seconds))
    return Cost(*min(runs), peak_mib())


def measured(system: str, seconds: float, repeats: int) -> Cost:
    """Measured in a process of its own, whose threads wait passively and share free memory, as those of the command do.
    ConfigError if that fails.
    """
    words = [sys.executable, __file__, system, str(seconds), str(repeats)]
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "MALLOC_ARENA_MAX": "1"}
    # What the caller keeps its own threads to is not for others.
    env.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(words, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise ConfigError(f"{system}: {(done.stderr.strip().splitlines() or ['ended without a word'])[-1]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def busy() -> Iterator[None]:
    """Within it two processes count without end."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True:\n    pass"]) for _ in range(_BUSY_LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def beside(systems: Sequence[str], seconds: float, repeats: int) -> dict[str, tuple[Cost, Cost]]:
    """Idle and busy cost by system."""
    idle = {system: measured(system, seconds, repeats) for system in systems}
    with busy():
        return {system: (idle[system], measured(system, seconds, repeats)) for system in systems}


def table(costs: dict[str, tuple[Cost, Cost]]) -> str:
    """Markdown, a row a system; seconds are of one audio second."""
    rows = [
        [system, *(f"{c.wall:.3f} / {c.cpu:.3f}" for c in pair), f"{max(c.peak_mib for c in pair):.0f} MiB"]
        for system, pair in costs.items()
    ]
    heading = ["system", "idle: wall / CPU s", "busy: wall / CPU s", "peak memory"]
    return "\n".join(markdown_table(heading, rows))


def main() -> None:
    """Measure one system."""
    if len(sys.argv) != 4:
        raise ConfigError("say which system, how many seconds and how many runs, as in open:fast 30 3")
    print(json.dumps(vars(cost_of(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))))


if __name__ == "__main__":
    run_script(main, str(Path(__file__)))
