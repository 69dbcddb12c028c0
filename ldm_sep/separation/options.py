"""How to separate: what a user chooses, and what that comes to with a checkpoint."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from ldm_sep.config import (
    Averages,
    DiffusionTime,
    MaskPower,
    Overlap,
    Positive,
    PresetConfig,
    Record,
    SamplingConfig,
    Segment,
    Share,
    Speeds,
    Steps,
    checked,
)
from ldm_sep.device import usable_cores
from ldm_sep.errors import ConfigError

# What a checkpoint's own defaults are called among its presets.
_DEFAULT_PRESET = "balanced"


@dataclass(frozen=True)
class Options:
    """How to separate. None takes the value of the preset, or else the checkpoint's own default.

    preset: one of the checkpoint's (`Separator.presets`), such as fast, balanced, best.
    steps: calls of the U-Net a window; 1 gives the posterior mean, 0 the predictor's estimate as it is.
    start: t at which sampling begins. Below 1 it begins from the predictor's estimate where the separator refines,
        else from the posterior mean, at one more call.
    seed: of the noise.
    eta: share of fresh noise (stochastic DDIM).
    averages: samples whose mean is taken, each from noise of its own; fewer artefacts and less detail, at as many
        times the cost.
    speeds: 0.5 to 2. At each the predictor, where there is one, hears the mixture once. The mean of its estimates is
        taken (`network.predictor`).
    power: of the predictor's mask. Higher cuts more of what is not the voice, and of the voice.
    estimate_weight: share of given vocals, made by another separator, in the mean with the predictor's, up to where
        their band ends; 1 leaves the predictor out there.
    post_filter: whether the vocals go through the checkpoint's post-filter, if it has one (`network.post_filter`);
        the instrumental stays what is left of the mixture beside the vocals without it.
    segment: seconds of a window.
    overlap: share of a window shared with the next.
    renewed: stretches (from, to, seed), in seconds of what is separated, whose vocals come from another seed
        (`separation.renewal`).
    batch_size: windows computed together on a GPU. It changes no sample.
    threads: windows computed side by side on a CPU, one thread each; by default as many as the process may use cores.
        It changes no sample.
    """

    preset: str | None = None
    steps: int | None = None
    start: float | None = None
    seed: int = 0
    eta: float | None = None
    averages: int | None = None
    speeds: tuple[float, ...] | None = None
    power: float | None = None
    estimate_weight: float | None = None
    post_filter: bool | None = None
    segment: float | None = None
    overlap: float | None = None
    renewed: tuple[tuple[float, float, int], ...] = ()
    batch_size: int = 4
    threads: int | None = None


def _in_order(stretch: tuple[float, float, int]) -> tuple[float, float, int]:
    if not stretch[0] < stretch[1]:
        raise ValueError(f"a stretch ends after it begins, not from {stretch[0]:g} to {stretch[1]:g} s")
    return stretch


Seed = Annotated[int, Field(ge=0)]
Second = Annotated[float, Field(ge=0)]
Stretch = Annotated[tuple[Second, Second, Seed], AfterValidator(_in_order)]


class Plan(Record):
    """`Options` with everything settled."""

    steps: Steps
    start: DiffusionTime
    seed: Seed
    eta: Share
    averages: Averages
    speeds: Speeds
    power: MaskPower | None
    # Sidecars of versions before have neither of these.
    estimate_weight: Share = 0.35
    post_filter: bool = False
    segment: Segment
    overlap: Overlap
    renewed: tuple[Stretch, ...] = ()
    batch_size: Positive
    threads: Positive


def presets(sampling: SamplingConfig) -> tuple[str, ...]:
    """Names for `Options.preset`: balanced, which is a checkpoint's default, and its others."""
    return (_DEFAULT_PRESET, *sampling.presets)


def settle(options: Options, sampling: SamplingConfig) -> Plan:
    """What ``options`` come to with the defaults and presets of ``sampling``. ConfigError for a preset that it does not
    have, and for values out of bounds.
    """
    if options.preset is not None and options.preset not in presets(sampling):
        raise ConfigError(f"no preset '{options.preset}'; this checkpoint has: {', '.join(presets(sampling))}")
    # The default has no table of its own.
    preset = next((table for name, table in sampling.presets.items() if name == options.preset), PresetConfig())
    settled = {}
    for key in Plan.model_fields:
        # A preset has no segment: it would change what the others are compared at.
        given = (getattr(source, key, None) for source in (options, preset, sampling))
        settled[key] = next((value for value in given if value is not None), None)
    if settled["threads"] is None:
        settled["threads"] = usable_cores()
    return checked(Plan, settled, "options")
