"""Tables of how songs are separated."""

from typing import Literal

from pydantic import Field

from ldm_sep.config.fields import Averages, DiffusionTime, MaskPower, Overlap, Segment, Share, Speeds, Steps
from ldm_sep.records import Record


class PresetConfig(Record):
    """What a preset changes of the defaults; see `separation.options.Options`."""

    steps: Steps | None = None
    """Instead of the default's."""
    start: DiffusionTime | None = None
    """Instead of the default's."""
    eta: Share | None = None
    """Instead of the default's."""
    averages: Averages | None = None
    """Instead of the default's."""
    speeds: Speeds | None = None
    """Instead of the default's."""
    power: MaskPower | None = None
    """Instead of the default's."""
    overlap: Overlap | None = None
    """Instead of the default's."""
    post_filter: bool | None = None
    """Instead of the default's."""


class SamplingConfig(Record):
    """Defaults of separation, the preset "balanced", and further ``presets``; see `separation.options.Options`.

    The predictor is trained at the ``speeds`` too, one a step, and the later stages go on from its mean over them all.
    """

    steps: Steps = 8
    """Calls of the U-Net a window; 1 gives the posterior mean, 0 the predictor's estimate as it is."""
    start: DiffusionTime = 1.0
    """Diffusion time at which sampling begins. Below 1 it begins from the predictor's estimate where the separator
    refines, else from the posterior mean, at one more call.
    """
    eta: Share = 0.0
    """Share of fresh noise in every step (stochastic DDIM)."""
    averages: Averages = 1
    """Samples whose mean is taken."""
    speeds: Speeds = (1.0,)
    """At each the predictor hears the mixture once; the mean of its estimates is taken, in training too."""
    power: MaskPower | None = None
    """Power of the predictor's mask; left out, `predictor.exponent`."""
    post_filter: bool = False
    """Whether the vocals go through the post-filter; the instrumental is what is left beside the vocals without it."""
    estimate_weight: Share = 0.35
    """Weight of given vocals, made by another separator, in the mean with the predictor's estimate, up to where their
    band ends.
    """
    segment: Segment = 12.0
    """Seconds of a window."""
    overlap: Overlap = 0.2
    """Share of a window that it shares with the next."""
    presets: dict[Literal["fast", "best", "clean", "full", "natural"], PresetConfig] = Field(default_factory=dict)
    """What each preset changes. By cost: `fast` and `best`. By taste: `clean` has less of the accompaniment, `full`
    loses less of the voice, `natural` brings quiet bands nearer to the voice's levels.
    """
