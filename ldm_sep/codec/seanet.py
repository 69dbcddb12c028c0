"""SEANet, the encoder and decoder of SoundStream (arXiv 2107.03312) and EnCodec (arXiv 2210.13438).

This is the non-causal form: every convolution sees as far ahead as back. Encoder: a convolution; for each
stride r some residual units, an ELU and a convolution of kernel 2 r that divides the rate by r and doubles
the channels; then a residual LSTM, an ELU and a last convolution to the latent. The decoder mirrors it with
transposed convolutions. At the default sizes these have the shapes of the 48 kHz EnCodec's networks, latents of
128 channels at 150 Hz, but for the norm: EnCodec's GroupNorm over time loses the level, the weight norm here
(arXiv 1602.07868) keeps it and, up to the LSTM, is local in time.

Legend: B batch, C audio channels, T samples, D latent channels, N latent frames.
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ldm_sep.codec.base import Codec

_CHANNELS = 2
# Of the first and last convolutions, and of the residual units' dilated ones.
_KERNEL, _RESIDUAL_KERNEL = 7, 3
# Residual unit j of a stride dilates by this to the power j, and its branch is this many times narrower.
_DILATION_BASE, _COMPRESS = 2, 2


@dataclass(frozen=True)
class SEANetSizes:
    """Sizes of both networks.

    ratios: strides in the decoder's order; the encoder begins with the last one. filters: width at the full rate.
    residual_layers: residual units at each stride. Raises ``ValueError`` for sizes that make no network.
    """

    latent_channels: int = 128
    filters: int = 32
    ratios: tuple[int, ...] = (8, 5, 4, 2)
    residual_layers: int = 1
    lstm_layers: int = 2

    def __post_init__(self) -> None:
        if not self.ratios or min(self.ratios) < 1:
            raise ValueError(f"ratios must be one or more strides of at least 1, got {self.ratios}")
        if self.filters < _COMPRESS:
            raise ValueError(f"filters must be at least {_COMPRESS}, got {self.filters}")

    @property
    def hop(self) -> int:
        """Samples of one latent frame."""
        return math.prod(self.ratios)


class SEANetEncoder(nn.Module):
    """``wave (B, C, T)`` to ``z (B, D, N)``, N = T / hop; ``SEANetCodec.encode`` checks that hop divides T."""

    def __init__(self, sizes: SEANetSizes) -> None:
        super().__init__()
        width = sizes.filters
        layers: list[nn.Module] = [_Conv(_CHANNELS, width, _KERNEL)]
        for ratio in reversed(sizes.ratios):
            layers += [_ResidualUnit(width, _DILATION_BASE**j) for j in range(sizes.residual_layers)]
            layers += [nn.ELU(), _Conv(width, 2 * width, 2 * ratio, stride=ratio)]
            width *= 2
        if sizes.lstm_layers:
            layers.append(_ResidualLSTM(width, sizes.lstm_layers))
        layers += [nn.ELU(), _Conv(width, sizes.latent_channels, _KERNEL)]
        self.layers = nn.Sequential(*layers)

    def forward(self, wave: Tensor) -> Tensor:
        return self.layers(wave)


class SEANetDecoder(nn.Module):
    """``z (B, D, N)`` to ``wave (B, C, N * hop)``: the mirror of ``SEANetEncoder``."""

    def __init__(self, sizes: SEANetSizes) -> None:
        super().__init__()
        width = sizes.filters * 2 ** len(sizes.ratios)
        layers: list[nn.Module] = [_Conv(sizes.latent_channels, width, _KERNEL)]
        if sizes.lstm_layers:
            layers.append(_ResidualLSTM(width, sizes.lstm_layers))
        for ratio in sizes.ratios:
            layers += [nn.ELU(), _Upsample(width, width // 2, ratio)]
            width //= 2
            layers += [_ResidualUnit(width, _DILATION_BASE**j) for j in range(sizes.residual_layers)]
        layers += [nn.ELU(), _Conv(width, _CHANNELS, _KERNEL)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class SEANetCodec(nn.Module, Codec):
    """One ``SEANetEncoder`` and one ``SEANetDecoder``, without a quantiser, as a ``codec.base.Codec``.

    ``sample_rate`` in Hz.
    """

    keeps_level = True
    channels = _CHANNELS
    latent_exponent = 1.0

    def __init__(self, sample_rate: int = 48000, sizes: SEANetSizes = SEANetSizes()) -> None:
        super().__init__()
        self.sample_rate, self.hop, self.latent_channels = sample_rate, sizes.hop, sizes.latent_channels
        self.encoder = SEANetEncoder(sizes)
        self.decoder = SEANetDecoder(sizes)


class _Conv(nn.Module):
    """Weight-normalised convolution that maps T samples to T / stride, padded by reflection."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        conv = nn.Conv1d(in_channels, out_channels, kernel_size, stride, dilation=dilation)
        self.conv = weight_norm(conv)
        padding = (kernel_size - 1) * dilation - (stride - 1)
        self.right = padding // 2
        self.left = padding - self.right

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(_reflect(x, self.left, self.right))


class _Upsample(nn.Module):
    """Weight-normalised transposed convolution of kernel 2 r and stride r, cut to exactly r times the length."""

    def __init__(self, in_channels: int, out_channels: int, ratio: int) -> None:
        super().__init__()
        conv = nn.ConvTranspose1d(in_channels, out_channels, 2 * ratio, ratio)
        self.conv = weight_norm(conv)
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).narrow(2, self.ratio - self.ratio // 2, x.shape[2] * self.ratio)


class _ResidualUnit(nn.Module):
    """A 1x1 convolution beside a narrow branch: ELU, dilated convolution, ELU, 1x1 convolution."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        inner = width // _COMPRESS
        self.narrow = nn.Sequential(
            nn.ELU(), _Conv(width, inner, _RESIDUAL_KERNEL, dilation=dilation), nn.ELU(), _Conv(inner, width, 1)
        )
        self.shortcut = _Conv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.narrow(x)


class _ResidualLSTM(nn.Module):
    """``x + LSTM(x)`` along time, for ``x (B, width, N)``."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.permute(2, 0, 1)
        return (steps + self.lstm(steps)[0]).permute(1, 2, 0)


def _reflect(x: Tensor, left: int, right: int) -> Tensor:
    """Pad time by reflection; a signal too short to be reflected that far is first continued by zeros."""
    missing = max(left, right) + 1 - x.shape[2]
    if missing <= 0:
        return F.pad(x, (left, right), mode="reflect")
    padded = F.pad(F.pad(x, (0, missing)), (left, right), mode="reflect")
    return padded.narrow(2, 0, left + x.shape[2] + right)
