"""Tables of data and training."""

from enum import IntEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ldm_sep.config.fields import Count, Decibels, DiffusionTime, Line, Rate, Share, Weight
from ldm_sep.records import Record


class DataConfig(Record):
    """What the data is that a training is given; see `ldm_sep.data.tracks`."""

    layout: Literal["musdb18hq", "stems", "pairs", "csv", "roles"]
    """How the folder or table given with --data is laid out; `--layout` wins over it."""
    melodies: Line | None = None
    """Zip of MIDI songs below the first --data, along whose melodies solo voices are led (share: mix.melodic)."""
    speech: bool = False
    """Voices that speak are vocals too (layout roles)."""


class MixConfig(Record):
    """How training items are drawn and varied; see `ldm_sep.data.mixer.Mixer`.

    All shares are probabilities, all spreads standard deviations.
    """

    real: Share = 0.5
    """Share of items that are crops of one song; the others are remixes."""
    silent: Share = 0.05
    """Share of items without vocals."""
    silent_ramp: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Steps over which the share of silent items grows to `silent`. With many of them early on, an untrained mask
    learns to output silence and stops learning.
    """
    solo: Share = 0.0
    """Share of items without accompaniment."""
    collage: Share = 0.7
    """Share of solo singers, whose clips are joined in a new order, among the vocals of remixes."""
    pitch_semitones: Annotated[float, Field(ge=0, le=24)] = 3.0
    """Largest change of speed and pitch together, drawn evenly up and down."""
    balance_db: Decibels = 4.0
    """Spread of vocals against accompaniment around 0 dB in remixes, a third of it in songs."""
    pan: Share = 0.05
    """Spread of the position of vocals and accompaniments of remixes: 0 is the centre, 1 one side only."""
    centred: Share = 0.0
    """Share of vocals, and of accompaniments, of remixes that stay unpanned. Most leads are in the very centre."""
    equaliser_db: Decibels = 0.0
    """Spread of the gains of a smooth random equaliser."""
    reverb: Share = 0.0
    """Share of remixes whose vocals reverberate."""
    compress: Share = 0.0
    """Share of vocals, and of accompaniments, of remixes that are compressed."""
    reflections: Share = 0.0
    """Share of remixes whose vocals have early reflections."""
    width_db: Decibels = 0.0
    """Spread of the level of the accompaniment's side signal."""
    narrow: Share = 0.0
    """Share of accompaniments that are nearly mono."""
    automation_db: Decibels = 0.0
    """Spread of the vocals' level from second to second in remixes."""
    doubling: Share = 0.0
    """Share of solo singers with a second take, a double or a harmony, panned apart."""
    melodic: Share = 0.0
    """Share of takes of solo singers that follow a melody."""
    sustained: Share = 0.0
    """Share of melodic takes at a half to a sixth of the tempo, so that vowels are held."""
    vibrato_cents: Annotated[float, Field(ge=0, le=200)] = 0.0
    """Largest depth of the vibrato of melodic takes, in cents."""
    layering: Share = 0.0
    """Share of remixes with a second accompaniment."""

    @model_validator(mode="after")
    def _something_sounds(self) -> Self:
        if self.silent + self.solo > 1:
            raise ValueError("silent and solo are shares of the same items: together at most 1")
        return self


class OptimiserConfig(Record):
    """AdamW, its schedule, and how often a training speaks and saves."""

    steps: Count
    """Optimiser steps of the whole run; `--steps` wins over it."""
    batch_size: Annotated[int, Field(gt=0, le=65536)]
    """Items of a step, for each process."""
    seconds: Annotated[float, Field(gt=0, le=600)]
    """Length of an item in seconds; rounded to whole latent frames."""
    learning_rate: Rate
    """Of AdamW, after the warm-up."""
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 1e-3
    """Of AdamW."""
    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = 500
    """Steps over which the learning rate rises linearly; then it falls to a twentieth along a cosine."""
    gradient_clip: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Largest norm of the gradients of each group of weights with one learning rate."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Of the exponential moving average of the weights, which is what is validated and saved."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What networks compute in; batches, targets and losses are always fp32."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of everything random: items, noise, new weights."""
    log_every: Count = 20
    """Steps between two lines of train.csv."""
    log_seconds: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    """Seconds between two lines on the terminal; the first comes with the first step."""
    validate_every: Count = 1000
    """Steps between two validations, samples included."""
    save_every: Count = 1000
    """Steps between two states that --resume can go on from."""


class CodecTrainingConfig(OptimiserConfig):
    """Training of a codec; see `ldm_sep.training.codec.CodecObjective`."""

    latent_noise: Annotated[float, Field(ge=0, le=100)] = 0.3
    """Largest standard deviation of the noise on the latents, in units of each channel's own."""
    waveform_weight: Weight = 1.0
    """Of the relative L1 distance between waves."""
    spectral_weight: Weight = 1.0
    """Of the log-mel and complex STFT distances."""
    mdct_start: bool = False
    """New SEANet networks begin as an MDCT (`ldm_sep.codec.mdct_start`) instead of at random."""


class Stage(IntEnum):
    """What a training of a separator changes."""

    PREDICTOR = 0
    UNET = 1
    """And the level head, where there is one."""
    CONDITIONER = 2
    """Together with the U-Net."""
    POST_FILTER = 3


class SeparatorTrainingConfig(OptimiserConfig):
    """Training of a separator; see `ldm_sep.training.objectives`. The largest t is ``latest``."""

    stage: Stage
    """0 trains the predictor, 1 the U-Net, 2 U-Net and conditioner (1 and 2 the level head too), 3 the post-filter."""
    latest: DiffusionTime = 1.0
    """Largest t in training; below 1 only for a separator that refines."""
    estimate_share: Share = 0.0
    """Share of items whose noised latents are the estimate's, not the truth's; only for one that refines."""
    conditioner_rate: Rate = 1.0
    """Learning rate of the conditioner, relative to the others'."""
    terminal_share: Share = 0.0
    """Share of items at the largest t, where the posterior mean is learned."""
    max_snr: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Bound of the v-loss weight (`method.diffusion.truncated_snr_weight`); left out, the paper's plain loss."""
    channel_weight_power: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Each latent channel's error is weighted by its standard deviation to this power."""
    level_weight: Weight = 0.1
    """Of the level head's loss, where the codec loses the level."""
    decoder_weight: Weight = 0.0
    """Of a loss on the decoded posterior mean: its thresholded SNR in bels plus the outline."""
    outline_weight: Weight = 0.3
    """Of the log-mel distance in that loss; at 0.3, 10 dB off in all bands weigh as much as 1.5 dB of distortion."""
