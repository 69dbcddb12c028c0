"""Seconds per second of audio: codec encoder, U-Net step, codec decoder, and the whole separation.

    python eval/speed.py [--name open] [--seconds 60] [--device cpu] [--rate 44100]

Prints a table; the whole is measured on a 16-bit stereo signal at ``--rate``, resampling included, after one warm
run. Peak memory is the process's own.
"""

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from ldm_sep.separate import Options, Separator


def clock(act: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of ``act`` over ``repeats`` runs after one warm-up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))


@torch.no_grad()
def measure(separator: Separator, seconds: float, rate: int, repeats: int) -> dict[str, float]:
    """Seconds per audio second by part, and for the whole; peak memory in MiB."""
    model, device = separator.model, separator.device
    codec = model.codec
    segment = separator.manifest.config.sampling.segment
    frames = round(segment * codec.sample_rate / codec.hop)
    wave = 0.1 * torch.randn(1, codec.channels, frames * codec.hop, device=device)
    z = torch.randn(1, codec.latent_channels, frames, device=device)
    t = torch.full((1,), 0.5, device=device)
    duration = frames * codec.hop / codec.sample_rate
    parts = {
        "codec encode": clock(lambda: codec.encode(wave), device, repeats) / duration,
        "U-Net, one step": clock(lambda: model.predict_v(z, t, z), device, repeats) / duration,
        "codec decode": clock(lambda: codec.decode(z), device, repeats) / duration,
    }
    rng = np.random.default_rng(0)
    song = (rng.integers(-3000, 3000, (2, round(seconds * rate))) / 32768).astype(np.float32)
    separator.separate(song[:, : rate // 2], rate)
    started = time.perf_counter()
    separator.separate(song, rate, Options())
    parts["whole separation"] = (time.perf_counter() - started) / seconds
    parts["peak memory MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return parts


def main(arguments: list[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="open")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=44100)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    separator = Separator.load(options.name, device=options.device)
    steps = separator.manifest.config.sampling.steps
    print(
        f"{options.name} on {separator.device}, {torch.get_num_threads()} threads, {steps} steps, {options.seconds:g} s"
    )
    for part, value in measure(separator, options.seconds, options.rate, options.repeats).items():
        unit = "" if "memory" in part else " s per audio second"
        print(f"{part:20s} {value:10.4f}{unit}")


if __name__ == "__main__":
    main()
