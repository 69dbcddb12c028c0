"""Tables of how songs are separated."""

from typing import Literal

from pydantic import Field

from ldm_sep.config.fields import Averages, DiffusionTime, Overlap, Segment, Share, Speeds, Steps
from ldm_sep.records import Record


class PresetConfig(Record):
    """What a preset changes of the defaults; see `separation.separator.Options`."""

    steps: Steps | None = None
    start: DiffusionTime | None = None
    eta: Share | None = None
    averages: Averages | None = None
    speeds: Speeds | None = None
    overlap: Overlap | None = None


class SamplingConfig(Record):
    """Defaults of separation, the preset "balanced", and further ``presets``; see `separation.separator.Options`.

    The predictor is trained at the ``speeds`` too, one a step, and the later stages go on from its mean over them all.
    """

    steps: Steps = 8
    start: DiffusionTime = 1.0
    eta: Share = 0.0
    averages: Averages = 1
    speeds: Speeds = (1.0,)
    segment: Segment = 12.0
    overlap: Overlap = 0.2
    presets: dict[Literal["fast", "best"], PresetConfig] = Field(default_factory=dict)
