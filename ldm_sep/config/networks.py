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
    """Which codec."""
    sample_rate: SampleRate = 48000
    """In Hz; audio is resampled to it."""
    hop: Annotated[int, Field(gt=0, le=_LONGEST_HOP)] = 320
    """Samples of a latent frame."""
    mid_bins: Channels = 88
    """MDCT bins of the mid signal that are carried."""
    side_bins: Channels = 20
    """And of the side signal."""
    mid_bands: Channels = 14
    """Bands above them whose levels are carried, mid."""
    side_bands: Channels = 6
    """And side."""
    width: Channels = 192
    """Channels of the residual blocks."""
    blocks: Blocks = 3
    """Residual blocks of encoder and decoder."""
    exponent: Exponent = 0.5
    """Power that compresses the bins' magnitudes."""


class SEANetCodecConfig(Record):
    """`ldm_sep.codec.seanet.SEANetSizes`."""

    kind: Literal["seanet"]
    """Which codec."""
    sample_rate: SampleRate = 48000
    """In Hz; audio is resampled to it."""
    latent_channels: Channels = 128
    """Channels of the latents."""
    filters: Annotated[int, Field(gt=0, le=512)] = 32
    """Channels of the first convolution; they double with every ratio."""
    ratios: Annotated[tuple[Annotated[int, Field(gt=0, le=64)], ...], Field(min_length=1, max_length=8)] = (8, 5, 4, 2)
    """Down-sampling factors, from the latents to the wave; their product is the hop."""
    residual_layers: Annotated[int, Field(gt=0, le=8)] = 1
    """Residual units at every rate."""
    lstm_layers: Annotated[int, Field(ge=0, le=8)] = 2
    """Layers of the LSTM; 0 leaves it out."""

    @model_validator(mode="after")
    def _frames_are_short(self) -> Self:
        if math.prod(self.ratios) > _LONGEST_HOP:
            raise ValueError(f"the ratios make a hop of {math.prod(self.ratios)} samples; at most {_LONGEST_HOP}")
        return self


class Encodec48kHzConfig(Record):
    """Meta's pretrained 48 kHz EnCodec. Its sizes are fixed; the weights come from a file or a download."""

    kind: Literal["encodec_48khz"]
    """Which codec."""


CodecConfig = Annotated[SpectralCodecConfig | SEANetCodecConfig | Encodec48kHzConfig, Field(discriminator="kind")]


class LevelConfig(Record):
    """One level of the U-Net; see `ldm_sep.network.levels.LevelSizes`."""

    channels: Channels
    """Of this level."""
    factor: Annotated[int, Field(gt=0, le=64)] = 1
    """Down-sampling before it."""
    blocks: Blocks = 1
    """Residual blocks on the way down, and as many on the way up."""
    inject: bool = False
    """The condition is concatenated at this level and merged by a convolution, after every block."""
    attention: bool = False
    """Self-attention after every block."""


class UNetConfig(Record):
    """``unet1d`` is this project's network, ``unet_v0`` the one of audio-diffusion-pytorch."""

    kind: Literal["unet1d", "unet_v0"] = "unet1d"
    """unet1d is this project's network, unet_v0 that of audio-diffusion-pytorch."""
    time_features: Channels = 1024
    """Features of the diffusion time."""
    levels: Annotated[tuple[LevelConfig, ...], Field(min_length=1, max_length=16)]
    """Tables, one for each level, from the full rate on."""


class SeparatorConfig(Record):
    """How the parts of a separator work together; see `ldm_sep.method.model.LatentSeparator`."""

    gated_anchor: bool = False
    """A direct path from the estimate's (or the mixture's) latents to the output, through a gate."""
    refines: bool = False
    """Diffusion begins at the predictor's estimate and a small t instead of at noise."""
    texture_above: Annotated[float, Field(gt=0, le=96_000)] | None = None
    """Hz above which the fine structure comes from the mixture; left out, the decoded vocals stay as they are."""
    codec_residual: bool = False
    """What the codec loses of the predictor's estimate is added to what is decoded."""


class PredictorConfig(Record):
    """`ldm_sep.network.predictor.MaskPredictor`; leave the table out for the paper's condition, the mixture alone."""

    window: Samples = 4096
    """Samples of the STFT's window."""
    hop: Samples = 960
    """Samples between two of its frames."""
    channels: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=10)] = (16, 32, 64, 96, 128)
    """Of the 2-D U-Net's levels, multiples of 4."""
    exponent: Exponent = 1.0
    """Power of the mask. Below 1 it opens: unfamiliar voices are otherwise cut too much."""


class PostFilterConfig(Record):
    """`ldm_sep.network.post_filter.PostFilter`; leave the table out for none."""

    window: Samples = 2048
    """Samples of the STFT's window."""
    hop: Samples = 512
    """Samples between two of its frames."""
    channels: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=10)] = (16, 32, 48)
    """Of the 2-D U-Net's levels, multiples of 4."""
