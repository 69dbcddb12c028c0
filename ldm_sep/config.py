"""Experiment configurations: TOML files read into checked, frozen records.

A file may name another one with ``extends = "other.toml"`` (relative to itself); its own tables then override that
one's, key by key. Unknown keys are errors. Nothing below this module's floor knows these records: `ldm_sep.build`
takes them apart.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ldm_sep.errors import ConfigError

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Speeds = Annotated[tuple[Annotated[float, Field(ge=0.5, le=2)], ...], Field(min_length=1)]
DiffusionTime = Annotated[float, Field(gt=0, le=1)]
Segment = Annotated[float, Field(ge=1, le=120)]
Overlap = Annotated[float, Field(ge=0, le=0.5)]


class Record(BaseModel):
    """Base of all records: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_R = TypeVar("_R", bound=Record)


def checked(record: type[_R], table: Mapping[str, Any], origin: str) -> _R:
    """A ``record`` of plain values; ConfigError names ``origin``, the first wrong key and what is wrong with it."""
    try:
        return record.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{origin}: {key}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


class SpectralCodecConfig(Record):
    """`ldm_sep.codec.spectral.SpectralSizes`."""

    kind: Literal["spectral"]
    sample_rate: Positive = 48000
    hop: Positive = 320
    mid_bins: Positive = 88
    side_bins: Positive = 20
    mid_bands: Positive = 14
    side_bands: Positive = 6
    width: Positive = 192
    blocks: Positive = 3
    exponent: Annotated[float, Field(gt=0, le=1)] = 0.5


class SEANetCodecConfig(Record):
    """`ldm_sep.codec.seanet.SEANetSizes`."""

    kind: Literal["seanet"]
    sample_rate: Positive = 48000
    latent_channels: Positive = 128
    filters: Positive = 32
    ratios: tuple[Positive, ...] = (8, 5, 4, 2)
    residual_layers: Positive = 1
    lstm_layers: Annotated[int, Field(ge=0)] = 2


class Encodec48kHzConfig(Record):
    """Meta's pretrained 48 kHz EnCodec. Its sizes are fixed; the weights come from a file or a download."""

    kind: Literal["encodec_48khz"]


CodecConfig = Annotated[SpectralCodecConfig | SEANetCodecConfig | Encodec48kHzConfig, Field(discriminator="kind")]


class LevelConfig(Record):
    """One level of the U-Net; see `ldm_sep.network.levels.LevelSizes`."""

    channels: Positive
    factor: Positive = 1
    blocks: Positive = 1
    inject: bool = False
    attention: bool = False


class UNetConfig(Record):
    """``unet1d`` is this project's network, ``unet_v0`` the one of audio-diffusion-pytorch."""

    kind: Literal["unet1d", "unet_v0"] = "unet1d"
    time_features: Positive = 1024
    levels: Annotated[tuple[LevelConfig, ...], Field(min_length=1)]


class SeparatorConfig(Record):
    """``gated_anchor``: a direct path from the mixture's latents; see `ldm_sep.method.model.LatentSeparator`.

    ``texture_above``: Hz above which the fine structure comes from the mixture (`method.refinement`); leave it out for
    the purely generative output. ``codec_residual``: what the codec loses of the predictor's estimate is added to what
    is decoded. ``refines``: diffusion begins at the predictor's estimate and a small t instead of at noise, and the
    network gives the clean latents themselves.
    """

    gated_anchor: bool = False
    refines: bool = False
    texture_above: Annotated[float, Field(gt=0)] | None = None
    codec_residual: bool = False


class PredictorConfig(Record):
    """`ldm_sep.network.predictor.MaskPredictor`; leave the table out for the paper's condition, the mixture alone."""

    window: Positive = 4096
    hop: Positive = 960
    channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (16, 32, 64, 96, 128)
    exponent: Annotated[float, Field(gt=0, le=1)] = 1.0


class DataConfig(Record):
    """Which layout the folder given with ``--data`` has (`ldm_sep.data.tracks`), where in it a zip of MIDI songs
    lies whose melodies voices are led along (``melodies``; share ``mix.melodic``), and whether voices that speak are
    vocals too (``speech``).
    """

    layout: Literal["musdb18hq", "stems", "pairs", "csv", "roles"]
    melodies: str | None = None
    speech: bool = False


class MixConfig(Record):
    """How training items are drawn; see `ldm_sep.data.mixer.Mixer`."""

    real: Share = 0.5
    silent: Share = 0.05
    silent_ramp: Annotated[int, Field(ge=0)] = 0
    solo: Share = 0.0
    collage: Share = 0.7
    pitch_semitones: Annotated[float, Field(ge=0, le=24)] = 3.0
    balance_db: Annotated[float, Field(ge=0)] = 4.0
    pan: Annotated[float, Field(ge=0)] = 0.05
    centred: Share = 0.0
    equaliser_db: Annotated[float, Field(ge=0)] = 0.0
    reverb: Share = 0.0
    compress: Share = 0.0
    reflections: Share = 0.0
    width_db: Annotated[float, Field(ge=0)] = 0.0
    narrow: Share = 0.0
    automation_db: Annotated[float, Field(ge=0)] = 0.0
    doubling: Share = 0.0
    melodic: Share = 0.0
    sustained: Share = 0.0
    vibrato_cents: Annotated[float, Field(ge=0, le=200)] = 0.0
    layering: Share = 0.0

    @model_validator(mode="after")
    def _something_sounds(self) -> Self:
        if self.silent + self.solo > 1:
            raise ValueError("silent and solo are shares of the same items: together at most 1")
        return self


class OptimiserConfig(Record):
    """AdamW with linear warm-up and cosine decay to a twentieth; gradients clipped by their norm over each group of
    weights with one learning rate.
    """

    steps: Positive
    batch_size: Positive
    seconds: Annotated[float, Field(gt=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    warmup: Annotated[int, Field(ge=0)] = 500
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: Annotated[int, Field(ge=0)] = 0
    log_every: Positive = 20
    validate_every: Positive = 1000
    save_every: Positive = 1000


class CodecTrainingConfig(OptimiserConfig):
    """``latent_noise``: largest standard deviation of the noise on the latents, in units of each channel's own."""

    latent_noise: Annotated[float, Field(ge=0)] = 0.3
    waveform_weight: Annotated[float, Field(ge=0)] = 1.0
    spectral_weight: Annotated[float, Field(ge=0)] = 1.0


class SeparatorTrainingConfig(OptimiserConfig):
    """Stage 0 trains the predictor alone, on its wave; stage 1 the U-Net alone; stage 2 also the conditioner, at
    ``conditioner_rate`` times the learning rate.

    ``terminal_share``: share of items at t = 1, where the posterior mean is learned. ``max_snr``: bound of the
    v-loss weight (`ldm_sep.method.diffusion.truncated_snr_weight`); leave it out for the paper's plain loss.
    ``level_weight``: of the level head's loss, where the codec loses the level. ``decoder_weight``: of a loss on the
    decoded posterior mean of the items at t = 1, so that what is heard counts and not only what is encoded: its
    thresholded SNR in bels, plus ``outline_weight`` times its log-mel distance (at 0.3, 10 dB off in all bands weighs
    as much as 1.5 dB of distortion).

    A separator that refines is trained at t up to ``latest``, which then takes the place of 1 above.
    ``estimate_share``: share of items whose noised latents are those of the estimate; the others' are the truth's.
    """

    stage: Literal[0, 1, 2]
    latest: DiffusionTime = 1.0
    estimate_share: Share = 0.0
    conditioner_rate: Annotated[float, Field(gt=0)] = 1.0
    terminal_share: Share = 0.0
    max_snr: Annotated[float, Field(gt=0)] | None = None
    channel_weight_power: Annotated[float, Field(ge=0)] = 0.0
    level_weight: Annotated[float, Field(ge=0)] = 0.1
    decoder_weight: Annotated[float, Field(ge=0)] = 0.0
    outline_weight: Annotated[float, Field(ge=0)] = 0.3


class PresetConfig(Record):
    """What a preset changes of the defaults; see `separation.separator.Options`."""

    steps: Positive | None = None
    start: DiffusionTime | None = None
    eta: Share | None = None
    averages: Positive | None = None
    speeds: Speeds | None = None
    overlap: Overlap | None = None


class SamplingConfig(Record):
    """Defaults of separation, the preset "balanced", and further ``presets``; see `separation.separator.Options`.

    The predictor is trained at the ``speeds`` too, one a step, and the later stages go on from its mean over them all.
    """

    steps: Positive = 8
    start: DiffusionTime = 1.0
    eta: Share = 0.0
    averages: Positive = 1
    speeds: Speeds = (1.0,)
    segment: Segment = 12.0
    overlap: Overlap = 0.2
    presets: dict[Literal["fast", "best"], PresetConfig] = {}


class CardConfig(Record):
    """What a checkpoint says about itself besides its numbers: licence of the weights, sources with their terms,
    limits.
    """

    licence: str = "unstated"
    training_data: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()


class Config(Record):
    """A whole experiment."""

    name: str
    description: str = ""
    codec: CodecConfig
    unet: UNetConfig | None = None
    predictor: PredictorConfig | None = None
    separator: SeparatorConfig = SeparatorConfig()
    data: DataConfig
    mix: MixConfig = MixConfig()
    codec_training: CodecTrainingConfig | None = None
    training: SeparatorTrainingConfig | None = None
    sampling: SamplingConfig = SamplingConfig()
    card: CardConfig = CardConfig()


def _merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _read_toml(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in seen:
        raise ConfigError(f"{path}: extends itself through {' -> '.join(p.name for p in seen)}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration; the shipped ones are in configs/") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error})") from None
    parent = table.pop("extends", None)
    if parent is None:
        return table
    return _merge(_read_toml(path.parent / str(parent), (*seen, path)), table)


def parse_config(table: Mapping[str, Any], origin: str) -> Config:
    """A checked `Config` from plain tables; ConfigError names ``origin``, the key and what is wrong with it."""
    return checked(Config, table, origin)


def load_config(path: str | Path, changes: Sequence[str] = ()) -> Config:
    """Read ``path`` (and what it extends), then apply ``changes`` like ``training.steps=500`` (any TOML value).

    ConfigError if a file is missing or unreadable, or anything does not make sense.
    """
    table = _read_toml(Path(path))
    for change in changes:
        try:
            if "=" not in change or "\n" in change:
                raise ValueError
            table = _merge(table, tomllib.loads(change))
        except ValueError:
            raise ConfigError(f"--set {change}: write TABLE.KEY=VALUE, and a text as 'name=\"text\"'") from None
    return parse_config(table, " with --set ".join([str(path), *changes]))
