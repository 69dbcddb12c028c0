"""Tables of data and training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ldm_sep.config.fields import Count, Decibels, DiffusionTime, Line, Rate, Share, Weight
from ldm_sep.records import Record


class DataConfig(Record):
    """Which layout the folder given with ``--data`` has (`ldm_sep.data.tracks`), where in it a zip of MIDI songs
    lies whose melodies voices are led along (``melodies``; share ``mix.melodic``), and whether voices that speak are
    vocals too (``speech``).
    """

    layout: Literal["musdb18hq", "stems", "pairs", "csv", "roles"]
    melodies: Line | None = None
    speech: bool = False


class MixConfig(Record):
    """How training items are drawn; see `ldm_sep.data.mixer.Mixer`."""

    real: Share = 0.5
    silent: Share = 0.05
    silent_ramp: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    solo: Share = 0.0
    collage: Share = 0.7
    pitch_semitones: Annotated[float, Field(ge=0, le=24)] = 3.0
    balance_db: Decibels = 4.0
    pan: Share = 0.05
    centred: Share = 0.0
    equaliser_db: Decibels = 0.0
    reverb: Share = 0.0
    compress: Share = 0.0
    reflections: Share = 0.0
    width_db: Decibels = 0.0
    narrow: Share = 0.0
    automation_db: Decibels = 0.0
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

    steps: Count
    batch_size: Annotated[int, Field(gt=0, le=65536)]
    seconds: Annotated[float, Field(gt=0, le=600)]
    learning_rate: Rate
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 1e-3
    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = 500
    gradient_clip: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    log_every: Count = 20
    validate_every: Count = 1000
    save_every: Count = 1000


class CodecTrainingConfig(OptimiserConfig):
    """``latent_noise``: largest standard deviation of the noise on the latents, in units of each channel's own."""

    latent_noise: Annotated[float, Field(ge=0, le=100)] = 0.3
    waveform_weight: Weight = 1.0
    spectral_weight: Weight = 1.0


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
    conditioner_rate: Rate = 1.0
    terminal_share: Share = 0.0
    max_snr: Annotated[float, Field(gt=0, le=1e9)] | None = None
    channel_weight_power: Annotated[float, Field(ge=0, le=10)] = 0.0
    level_weight: Weight = 0.1
    decoder_weight: Weight = 0.0
    outline_weight: Weight = 0.3
