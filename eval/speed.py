"""What separation costs: time by part, warm and cold, against the duration; memory, parameters and operations.

    python eval/speed.py [--name open] [--preset fast] [--durations 5,10,20,40,80] [--device cpu,cuda]
        [--out results/speed]

For every device: seconds per audio second of predictor, latents (of mixture and estimate), U-Net step, decoding (codec,
level, refinement), in CPU seconds on a CPU, and the whole separation of a 16-bit stereo signal at ``--rate``
(resampling included), each the median of ``--repeats`` warm runs with its lowest and highest; the real-time factor (its
inverse) with a 95 % bootstrap interval; the cold run, a process of its own from start to written files; peak memory (of
the process so far, on a CPU); parameters and floating-point operations per audio second by part (of convolutions and
matrix products; transforms are not counted); a straight line through the times at the durations, and the power of the
duration that they grow with, which is 1 where cost is linear. Last, our presets and installed peers beside each other,
idle and busy (`beside`), on ``--beside`` seconds. Prints tables, writes ``speed.json`` and ``speed.png``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from beside import PEERS, beside, noise_song, peak_mib
from beside import table as table_beside
from clock import warm_seconds
from script import run_script
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ldm_sep.audio import AudioWriter
from ldm_sep.checkpoint.names import find_checkpoint
from ldm_sep.checkpoint.writing import parameter_count
from ldm_sep.device import choose_device, usable_cores
from ldm_sep.errors import ConfigError
from ldm_sep.figures import need_matplotlib
from ldm_sep.files import make_folder
from ldm_sep.markdown import markdown_table
from ldm_sep.separation.separator import Options, Separator
from ldm_sep.statistics import bootstrap_interval


@dataclass(frozen=True)
class Line:
    """Least-squares line through (duration, time): seconds per audio second, seconds at duration 0, R^2; and the
    slope of the line through their logarithms, the power of the duration that time grows with.
    """

    slope: float
    intercept: float
    r2: float
    power: float


@dataclass
class DeviceCost:
    """All figures of one device; times in seconds per audio second, all repeats of each kept."""

    device: str
    parts: dict[str, list[float]] = field(default_factory=dict)
    durations: dict[float, list[float]] = field(default_factory=dict)
    line: Line | None = None
    cold_seconds: float | None = None
    peak_memory_mib: float | None = None


def fit_line(durations: Sequence[float], seconds: Sequence[float]) -> Line:
    """The least-squares line of ``seconds`` over ``durations``."""
    x, y = np.asarray(durations, float), np.asarray(seconds, float)
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.square(y - slope * x - intercept).sum()
    power = np.polyfit(np.log(x), np.log(y), 1)[0]
    return Line(float(slope), float(intercept), float(1 - rest / np.square(y - y.mean()).sum()), float(power))


def flops(separator: Separator, options: Options) -> dict[str, float]:
    """Floating-point operations (a multiply-add is two) per audio second by part, as torch counts them."""
    acts, duration = parts(separator, options)
    counts = {}
    for name, act in acts.items():
        with FlopCounterMode(display=False) as counter:
            act()
        counts[name] = counter.get_total_flops() / duration
    return counts


def parameters(separator: Separator) -> dict[str, int]:
    """Parameters by part."""
    model = separator.model
    modules: dict[str, list[nn.Module | None]] = {
        "predictor": [model.predictor],
        "latents": [model.conditioner],
        "U-Net, one step": [model.unet],
        "decoding": [
            model.codec.decoder,
            model.level_head,
            model.refiner,
            model.codec.encoder if model.codec_residual else None,
        ],
    }
    return {name: sum(parameter_count(m) for m in part if m is not None) for name, part in modules.items()}


def parts(separator: Separator, options: Options) -> tuple[dict[str, Callable[[], object]], float]:
    """What is done to a window, by part, each on inputs of its own; and the seconds of the window. The whole is all of
    them, the U-Net once a step.
    """
    model, device = separator.model, separator.device
    codec = model.codec
    plan = separator.plan(options)
    frames = round(plan.segment * codec.sample_rate / codec.hop)
    wave = 0.1 * torch.randn(1, codec.channels, frames * codec.hop, device=device)
    z = torch.randn(1, codec.latent_channels, frames, device=device)
    t = torch.full((1,), 0.5, device=device)
    estimate = None if model.predictor is None else model.estimate(wave, plan.speeds, plan.power)
    cond = model.conditioning(wave, estimate)
    acts: dict[str, Callable[[], object]] = {}
    if model.predictor is not None:
        acts["predictor"] = lambda: model.estimate(wave, plan.speeds, plan.power)
    if plan.steps:
        acts["latents"] = lambda: model.conditioning(wave, estimate)
        acts["U-Net, one step"] = lambda: model.predict_v(z, t, cond)
        acts["decoding"] = lambda: model.render(z, cond, estimate, wave)
    return acts, frames * codec.hop / codec.sample_rate


@torch.no_grad()
def measure_device(
    separator: Separator, options: Options, durations: Sequence[float], rate: int, repeats: int
) -> DeviceCost:
    """Parts, whole separations at the durations, their line, and peak memory of the device the separator is on."""
    device = separator.device
    cost = DeviceCost(str(device))
    acts, duration = parts(separator, options)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # Of a processor its own time, in which other work does not count.
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    cost.parts = {name: [s / duration for s in warm_seconds(act, device, repeats, clock)] for name, act in acts.items()}
    separator.separate(noise_song(1.0, rate), rate, options)
    for seconds in durations:
        song = noise_song(seconds, rate)
        act = partial(separator.separate, song, rate, options)
        cost.durations[seconds] = warm_seconds(act, device, repeats)
    longest = max(durations)
    cost.parts["whole separation"] = [s / longest for s in cost.durations[longest]]
    if len(durations) > 2:
        cost.line = fit_line(durations, [float(np.median(cost.durations[d])) for d in durations])
    if device.type == "cuda":
        cost.peak_memory_mib = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        cost.peak_memory_mib = peak_mib()
    return cost


def cold_run(checkpoint: Path, preset: str | None, device: str, seconds: float, rate: int) -> float:
    """Seconds of `ldm-sep separate` on one file in a fresh process: imports, loading and writing included."""
    with tempfile.TemporaryDirectory() as folder:
        song = Path(folder) / "song.wav"
        with AudioWriter(song, rate, 2) as writer:
            writer.write(noise_song(seconds, rate))
        words = ["separate", str(song), "-o", folder, "-n", str(checkpoint), "-d", device]
        words += ["--preset", preset] if preset else []
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ldm_sep", *words], check=True, capture_output=True)
        return time.perf_counter() - started


def tables(name: str, costs: Sequence[DeviceCost], sizes: dict[str, int], work: dict[str, float]) -> str:
    """Markdown: sizes by part, then times of each device."""
    lines = markdown_table(
        ["part", "parameters", "GFLOP per audio second"],
        [[part, f"{size:,}", f"{work.get(part, 0.0) / 1e9:.3f}"] for part, size in sizes.items()],
    )
    for cost in costs:
        lines += ["", f"{name} on {cost.device}, {torch.get_num_threads()} threads", ""]
        rows = [[part, *(f"{s:.4f}" for s in (np.median(v), min(v), max(v)))] for part, v in cost.parts.items()]
        lines += markdown_table(["part", "s per audio second", "lowest", "highest"], rows)
        factors = [1 / value for value in cost.parts["whole separation"]]
        interval = bootstrap_interval(factors)
        shown = f" [{interval.low:.1f}, {interval.high:.1f}]" if interval else ""
        lines += ["", f"times faster than real time: {np.mean(factors):.1f}{shown}, {len(factors)} runs"]
        if cost.line:
            line = cost.line
            lines.append(
                f"time = {line.slope:.4f} x duration + {line.intercept:.3f} s over {min(cost.durations):g} to "
                f"{max(cost.durations):g} s, R^2 = {line.r2:.4f}; it grows as duration^{line.power:.2f}"
            )
        if cost.cold_seconds is not None:
            shortest = min(cost.durations)
            lines.append(f"cold, a process of its own for {shortest:g} s of audio: {cost.cold_seconds:.1f} s")
        lines.append(f"peak memory: {cost.peak_memory_mib:.0f} MiB")
    return "\n".join(lines)


def figure(costs: Sequence[DeviceCost], path: Path) -> None:
    """Time against duration, and the share of the parts."""
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = sheet.subplots(1, 2)
    width = 0.8 / len(costs)
    for number, cost in enumerate(costs):
        x = list(cost.durations)
        left.plot(x, [np.median(cost.durations[d]) for d in x], "o", label=cost.device, color=f"C{number}")
        if cost.line:
            left.plot(x, [cost.line.slope * d + cost.line.intercept for d in x], "-", color=f"C{number}", alpha=0.5)
        heights = [np.median(values) for values in cost.parts.values()]
        right.bar(np.arange(len(heights)) + number * width, heights, width, label=cost.device, color=f"C{number}")
        labels = [part.replace(", ", "\n").replace(" ", "\n") for part in cost.parts]
        right.set_xticks(range(len(heights)), labels, fontsize=8)
    left.set_xlabel("duration, s")
    left.set_ylabel("time of separation, s")
    left.grid(alpha=0.3)
    right.set_ylabel("s per audio second")
    right.legend()
    sheet.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Parse, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="open", help="checkpoint: a name or a folder")
    parser.add_argument("--preset", help="one of the checkpoint's; its default where left out")
    parser.add_argument("--durations", default="5,10,20,40,80", help="seconds, joined by commas")
    parser.add_argument("--rate", type=int, default=44100)
    parser.add_argument("--device", help="joined by commas; default: cpu, and cuda where there is one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--beside", type=float, default=30.0, help="seconds of song for presets and peers; 0: none")
    parser.add_argument("--peers", default=",".join(PEERS), help="joined by commas; empty for none")
    parser.add_argument("--no-cold", action="store_true", help="leave the cold run out")
    parser.add_argument("--out", type=Path, default=Path("results/speed"))
    options = parser.parse_args(arguments)
    need_matplotlib("the figure")
    words = options.device.split(",") if options.device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    try:
        durations = sorted(float(word) for word in options.durations.split(","))
    except ValueError:
        raise ConfigError(f"--durations {options.durations}: write seconds joined by commas, as in 5,10,20") from None
    if durations[0] <= 0 or options.repeats < 1:
        raise ConfigError("--durations and --repeats must be positive")
    make_folder(options.out)
    load = os.getloadavg()[0]
    costs, sizes, work = [], {}, {}
    for word in words:
        separator = Separator.load(options.name, device=str(choose_device(word)))
        chosen = Options(preset=options.preset)
        sizes, work = parameters(separator), flops(separator, chosen)
        cost = measure_device(separator, chosen, durations, options.rate, options.repeats)
        if not options.no_cold:
            cost.cold_seconds = cold_run(
                find_checkpoint(options.name), options.preset, word, durations[0], options.rate
            )
        costs.append(cost)
    record = {
        "checkpoint": str(options.name),
        "preset": options.preset,
        "steps": separator.plan(chosen).steps,
        "threads": torch.get_num_threads(),
        "parameters": sizes,
        "flops_per_audio_second": work,
        "devices": [asdict(cost) for cost in costs],
    }
    figure(costs, options.out / "speed.png")
    if options.beside > 0:
        systems = [f"{options.name}:{preset}" for preset in ("fast", "balanced", "best")]
        pairs = beside([*systems, *filter(None, options.peers.split(","))], options.beside, options.repeats)
        record["beside"] = {system: [asdict(cost) for cost in pair] for system, pair in pairs.items()}
        print(f"{table_beside(pairs)}\n\n{usable_cores()} cores; load before: {load:.1f}\n")
    (options.out / "speed.json").write_text(json.dumps(record, indent=2))
    print(tables(" ".join(filter(None, [str(options.name), options.preset])), costs, sizes, work))


if __name__ == "__main__":
    run_script(main, __file__)
