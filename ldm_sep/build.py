"""Configurations to objects: the only module that looks at a ``kind``."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ldm_sep.codec.base import Codec
from ldm_sep.config import CodecConfig, Config, MixConfig, UNetConfig
from ldm_sep.data.decoded import DecodedAudio
from ldm_sep.data.mixer import Mixer
from ldm_sep.errors import ConfigError
from ldm_sep.method.level import LevelHead
from ldm_sep.method.model import LatentSeparator
from ldm_sep.method.refinement import TextureFromMixture
from ldm_sep.network.levels import LevelSizes, UNetSizes
from ldm_sep.network.post_filter import PostFilter
from ldm_sep.network.predictor import MaskPredictor
from ldm_sep.network.unet import UNet1d

# The paper's separator has 0.14 billion parameters.
_MOST_VALUES = 1_000_000_000
_FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn)


class AtMost(TorchFunctionMode):
    """Within the block, ConfigError before tensors are made that together hold more than ``values`` numbers.

    A configuration may ask for any size, and memory that is asked for is taken before anything can be compared.
    """

    def __init__(self, values: int, name: str) -> None:
        super().__init__()
        self.values, self.left, self.name = values, values, name

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            size = kwargs.get("size", args)
            self.left -= math.prod(size if not size or isinstance(size[0], int) else size[0])
            if self.left < 0:
                raise ConfigError(f"{self.name}: its networks would have more than {self.values:,} weights")
        return func(*args, **kwargs)


def build_codec(config: CodecConfig, *, mdct_start: bool = False) -> Codec:
    """A codec with fresh weights, random ones unless SEANet's are to begin as an MDCT (``mdct_start``). ConfigError for
    sizes that do not go together or fit no memory.
    """
    try:
        with AtMost(_MOST_VALUES, "[codec]"):
            codec = _codec(config)
            if mdct_start:
                from ldm_sep.codec.mdct_start import start_as_mdct

                start_as_mdct(codec)
            return codec
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"[codec]: {' '.join(str(error).split())}") from None


def _codec(config: CodecConfig) -> Codec:
    sizes = config.model_dump(exclude={"kind", "sample_rate"})
    match config.kind:
        case "spectral":
            from ldm_sep.codec.spectral import SpectralCodec, SpectralSizes

            return SpectralCodec(config.sample_rate, SpectralSizes(**sizes))
        case "seanet":
            from ldm_sep.codec.seanet import SEANetCodec, SEANetSizes

            return SEANetCodec(config.sample_rate, SEANetSizes(**sizes))
        case "encodec_48khz":
            from ldm_sep.codec.encodec_48khz import Encodec48kHz

            return Encodec48kHz()


def codec_sample_rate(config: CodecConfig) -> int:
    """The rate (Hz) audio must have for this codec."""
    return 48000 if config.kind == "encodec_48khz" else config.sample_rate


def codec_hop(config: CodecConfig) -> int:
    """Samples of one latent frame."""
    match config.kind:
        case "spectral":
            return config.hop
        case "seanet":
            return math.prod(config.ratios)
        case "encodec_48khz":
            return 320


def trained_here(config: CodecConfig) -> bool:
    """Whether a checkpoint holds the codec's weights; those of Meta's EnCodec stay in a file of their own."""
    return config.kind != "encodec_48khz"


def build_unet(config: UNetConfig, latent_channels: int, cond_channels: int, *, gated_anchor: bool) -> nn.Module:
    """The denoiser; twice the output channels where a gate is needed."""
    sizes = UNetSizes(
        latent_channels,
        [LevelSizes(**level.model_dump()) for level in config.levels],
        config.time_features,
        2 * latent_channels if gated_anchor else latent_channels,
        cond_channels,
    )
    if config.kind == "unet_v0":
        from ldm_sep.network.unet_adp import UNetADP

        return UNetADP(sizes)
    return UNet1d(sizes)


def build_separator(config: Config, codec: Codec | None = None) -> LatentSeparator:
    """The separator of ``config``, around ``codec`` or a fresh one.

    ConfigError without a ``[unet]`` table, and for sizes that do not go together or fit no memory.
    """
    codec = codec if codec is not None else build_codec(config.codec)
    try:
        with AtMost(_MOST_VALUES, config.name):
            return _separator(config, codec)
    except RuntimeError as error:
        raise ConfigError(f"{config.name}: {' '.join(str(error).split())}") from None


def _require_stereo(codec: Codec, part: str) -> None:
    if codec.channels != 2:
        raise ConfigError(f"{part} hears stereo; the codec has {codec.channels} channel")


def _separator(config: Config, codec: Codec) -> LatentSeparator:
    if config.unet is None:
        raise ConfigError(f"{config.name}: a separator needs a [unet] table; this configuration is for a codec")
    gated = config.separator.gated_anchor
    predictor = None
    if config.separator.codec_residual and (config.predictor is None or not codec.keeps_level):
        raise ConfigError(f"{config.name}: codec_residual needs a [predictor] and a codec that keeps the level")
    if config.separator.refines and not (gated and config.predictor is not None):
        raise ConfigError(f"{config.name}: refines needs a [predictor] and gated_anchor")
    if config.predictor is not None:
        _require_stereo(codec, f"{config.name}: a predictor")
        predictor = MaskPredictor(codec.sample_rate, **config.predictor.model_dump())
    post_filter = None
    if config.post_filter is not None:
        _require_stereo(codec, f"{config.name}: a post-filter")
        post_filter = PostFilter(codec.sample_rate, **config.post_filter.model_dump())
    cond_channels = codec.latent_channels * (1 if predictor is None else 2)
    unet = build_unet(config.unet, codec.latent_channels, cond_channels, gated_anchor=gated)
    head = None if codec.keeps_level else LevelHead(codec.latent_channels)
    crossover = config.separator.texture_above
    try:
        refiner = TextureFromMixture(crossover, codec.sample_rate, codec.hop) if crossover is not None else None
    except ValueError as error:
        raise ConfigError(f"{config.name}: texture_above: {error}") from None
    return LatentSeparator(
        codec,
        unet,
        gated_anchor=gated,
        refines=config.separator.refines,
        predictor=predictor,
        level_head=head,
        refiner=refiner,
        post_filter=post_filter,
        codec_residual=config.separator.codec_residual,
    )


def build_mixer(
    config: MixConfig, decoded: DecodedAudio, seconds: float, hop: int, device: torch.device | None = None
) -> Mixer:
    """The source of training batches of about ``seconds``, whole frames of ``hop`` samples, varied on ``device``."""
    return Mixer(decoded, round(seconds * decoded.sample_rate / hop) * hop, config, device)
