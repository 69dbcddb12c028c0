"""Validation of a separator: scores on fixed items, and samples to listen to, separated as users separate."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ldm_sep.audio import AudioWriter
from ldm_sep.config import SamplingConfig
from ldm_sep.data.items import Item
from ldm_sep.files import as_file_name
from ldm_sep.method.model import LatentSeparator
from ldm_sep.metrics import as_pcm16, lsd, si_sdr
from ldm_sep.separation.engine import WindowEngine
from ldm_sep.separation.options import Options, Plan, settle
from ldm_sep.signal.windows import Window


def validation_plans(sampling: SamplingConfig, *, post_filter: bool | None = None) -> dict[int, Plan]:
    """The checkpoint's defaults, and the same with one step, by the number of steps."""
    options = [Options(steps=steps, threads=1, post_filter=post_filter) for steps in sorted({1, sampling.steps})]
    return {plan.steps: plan for plan in (settle(each, sampling) for each in options)}


def separate_item(separator: LatentSeparator, item: Item, plan: Plan, device: torch.device) -> np.ndarray:
    """The vocals (2, T) estimated from an item's mixture as one window."""
    channels, frames = item.mixture.shape
    with WindowEngine(separator, plan, device) as engine:
        (vocals,) = engine.run([Window(0, item.mixture, 0, frames)])
    # Below them, with a post-filter, are those without it.
    return vocals[:channels]


def score_separator(
    separator: LatentSeparator, items: Sequence[Item], plans: Mapping[int, Plan], device: torch.device
) -> dict[str, float]:
    """Means of each group of ``items``, all taken on 16-bit samples: the mixture's LSD, and for each of ``plans``,
    which are keyed by steps, the SI-SDR improvement over the mixture (dB) and the LSD.
    """
    values: dict[str, list[float | None]] = {}
    rate = separator.codec.sample_rate
    for item in items:
        reference, mixture = as_pcm16(item.vocals), as_pcm16(item.mixture)
        before = si_sdr(reference, mixture).value
        values.setdefault(f"{item.group}/lsd_mixture", []).append(lsd(reference, mixture, rate).value)
        for count, plan in plans.items():
            estimate = as_pcm16(separate_item(separator, item, plan, device))
            after = si_sdr(reference, estimate).value
            gain = None if before is None or after is None else after - before
            values.setdefault(f"{item.group}/si_sdr_gain_{count}", []).append(gain)
            values.setdefault(f"{item.group}/lsd_{count}", []).append(lsd(reference, estimate, rate).value)
    return means_of(values)


def means_of(values: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """The mean of what is defined in each row; rows without anything are left out."""
    defined = {key: [value for value in row if value is not None] for key, row in values.items()}
    return {key: float(np.mean(row)) for key, row in defined.items() if row}


def write_samples(
    separator: LatentSeparator, items: Sequence[Item], plan: Plan, device: torch.device, folder: Path
) -> dict[str, np.ndarray]:
    """Mixture, reference and estimate of the first item of each group, as float wav, to listen to.

    The estimates go to ``folder``, what they are compared with beside it, once. Returns what was written, by name.
    """
    written = {}
    for item in {item.group: item for item in reversed(items)}.values():
        stem = as_file_name(item.name)
        waves = {"estimate": (folder, separate_item(separator, item, plan, device))}
        if not (folder.parent / f"{stem}-vocals.wav").exists():
            waves |= {"mixture": (folder.parent, item.mixture), "vocals": (folder.parent, item.vocals)}
        for name, (place, wave) in waves.items():
            with AudioWriter(place / f"{stem}-{name}.wav", separator.codec.sample_rate, 2) as writer:
                writer.write(wave)
            written[f"{stem}/{name}"] = wave
    return written
