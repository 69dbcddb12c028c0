"""Experiment configurations: TOML files read into checked, frozen records.

A file may name another one with ``extends = "other.toml"``, which lies below its folder or is shipped; its own tables
then override that one's, key by key. Unknown keys are errors. Networks, codecs and signal processing do not import
these records: `ldm_sep.build` hands them plain values.
"""

from ldm_sep.config.experiment import CardConfig, Config, load_config, parse_config
from ldm_sep.config.fields import Averages, DiffusionTime, MaskPower, Overlap, Positive, Segment, Share, Speeds, Steps
from ldm_sep.config.networks import (
    CodecConfig,
    Encodec48kHzConfig,
    LevelConfig,
    PostFilterConfig,
    PredictorConfig,
    SEANetCodecConfig,
    SeparatorConfig,
    SpectralCodecConfig,
    UNetConfig,
)
from ldm_sep.config.sampling import PresetConfig, SamplingConfig
from ldm_sep.config.training import (
    CodecTrainingConfig,
    DataConfig,
    MixConfig,
    OptimiserConfig,
    SeparatorTrainingConfig,
    Stage,
)
from ldm_sep.records import Record, checked

__all__ = [
    "Averages",
    "CardConfig",
    "CodecConfig",
    "CodecTrainingConfig",
    "Config",
    "DataConfig",
    "DiffusionTime",
    "Encodec48kHzConfig",
    "LevelConfig",
    "MaskPower",
    "MixConfig",
    "OptimiserConfig",
    "Overlap",
    "Positive",
    "PostFilterConfig",
    "PredictorConfig",
    "PresetConfig",
    "Record",
    "SEANetCodecConfig",
    "SamplingConfig",
    "Segment",
    "SeparatorConfig",
    "SeparatorTrainingConfig",
    "Share",
    "SpectralCodecConfig",
    "Speeds",
    "Stage",
    "Steps",
    "UNetConfig",
    "checked",
    "load_config",
    "parse_config",
]
