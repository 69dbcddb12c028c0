"""Tables of codecs and networks."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ldm_sep.config.fields import Blocks, Channels, Exponent, SampleRate, Samples
from ldm_sep.records import Record

# Samples. Transforms of one frame are matrices of twice its square.
_LONGEST_HOP = 2048


class SpectralCodecConfig(Record):
    """`ldm_sep.codec.spectral.SpectralSizes`."""

    kind: Literal["spectral"]
    sample_rate: SampleRate = 48000
    hop: Annotated[int, Field(gt=0, le=_LONGEST_HOP)] = 320
    mid_bins: Channels = 88
    side_bins: Channels = 20
    mid_bands: Channels = 14
    side_bands: Channels = 6
    width: Channels = 192
    blocks: Blocks = 3
    exponent: Exponent = 0.5


class SEANetCodecConfig(Record):
    """`ldm_sep.codec.seanet.SEANetSizes`."""

    kind: Literal["seanet"]
    sample_rate: SampleRate = 48000
    latent_channels: Channels = 128
    filters: Annotated[int, Field(gt=0, le=512)] = 32
    ratios: Annotated[tuple[Annotated[int, Field(gt=0, le=64)], ...], Field(min_length=1, max_length=8)] = (8, 5, 4, 2)
    residual_layers: Annotated[int, Field(gt=0, le=8)] = 1
    lstm_layers: Annotated[int, Field(ge=0, le=8)] = 2

    @model_validator(mode="after")
    def _frames_are_short(self) -> Self:
        if math.prod(self.ratios) > _LONGEST_HOP:
            raise ValueError(f"the ratios make a hop of {math.prod(self.ratios)} samples; at most {_LONGEST_HOP}")
        return self


class Encodec48kHzConfig(Record):
    """Meta's pretrained 48 kHz EnCodec. Its sizes are fixed; the weights come from a file or a download."""

    kind: Literal["encodec_48khz"]


CodecConfig = Annotated[SpectralCodecConfig | SEANetCodecConfig | Encodec48kHzConfig, Field(discriminator="kind")]


class LevelConfig(Record):
    """One level of the U-Net; see `ldm_sep.network.levels.LevelSizes`."""

    channels: Channels
    factor: Annotated[int, Field(gt=0, le=64)] = 1
    blocks: Blocks = 1
    inject: bool = False
    attention: bool = False


class UNetConfig(Record):
    """``unet1d`` is this project's network, ``unet_v0`` the one of audio-diffusion-pytorch."""

    kind: Literal["unet1d", "unet_v0"] = "unet1d"
    time_features: Channels = 1024
    levels: Annotated[tuple[LevelConfig, ...], Field(min_length=1, max_length=16)]


class SeparatorConfig(Record):
    """``gated_anchor``: a direct path from the mixture's latents; see `ldm_sep.method.model.LatentSeparator`.

    ``texture_above``: Hz above which the fine structure comes from the mixture (`method.refinement`); leave it out for
    the purely generative output. ``codec_residual``: what the codec loses of the predictor's estimate is added to what
    is decoded. ``refines``: diffusion begins at the predictor's estimate and a small t instead of at noise, and the
    network gives the clean latents themselves.
    """

    gated_anchor: bool = False
    refines: bool = False
    texture_above: Annotated[float, Field(gt=0, le=96_000)] | None = None
    codec_residual: bool = False


class PredictorConfig(Record):
    """`ldm_sep.network.predictor.MaskPredictor`; leave the table out for the paper's condition, the mixture alone."""

    window: Samples = 4096
    hop: Samples = 960
    channels: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=10)] = (16, 32, 64, 96, 128)
    exponent: Exponent = 1.0
