"""SEANet, the encoder and decoder of SoundStream (arXiv 2107.03312) and EnCodec (arXiv 2210.13438).

This is the non-causal form: every convolution sees as far ahead as back. Encoder: a convolution; for each
stride r some residual units, an ELU and a convolution of kernel 2 r that divides the rate by r and doubles
the channels; then a residual LSTM, an ELU and a last convolution to the latent. The decoder mirrors it with
transposed convolutions. With the default sizes and ``time_group_norm`` these are the networks of the 48 kHz
EnCodec: 7,428,336 parameters in the encoder, 7,427,958 in the decoder, latents of 128 channels at 150 Hz.

Legend: B batch, C audio channels, T samples, D latent channels, N latent frames.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ldm_sep.codec.base import check_latents, check_wave, unit_gain

Norm = Literal["weight_norm", "time_group_norm"]


class SEANetEncoder(nn.Module):
    """``wave (B, C, T)`` to ``z (B, D, N)``, N = T / hop, with hop the product of ``ratios``.

    ``ratios`` are given in the decoder's order: the encoder strides by the last one first. ``filters`` is the
    width at the full rate. Residual unit j of a stage dilates by ``dilation_base ** j`` and narrows to
    1 / ``compress`` of its width. T must be a multiple of hop (``SEANetCodec.encode`` checks it). Raises
    ``ValueError`` for sizes that make no network.
    """

    def __init__(
        self,
        channels: int = 2,
        latent_channels: int = 128,
        filters: int = 32,
        ratios: Sequence[int] = (8, 5, 4, 2),
        residual_layers: int = 1,
        lstm_layers: int = 2,
        kernel_size: int = 7,
        last_kernel_size: int = 7,
        residual_kernel_size: int = 3,
        dilation_base: int = 2,
        compress: int = 2,
        norm: Norm = "weight_norm",
    ) -> None:
        super().__init__()
        _check_sizes(filters, ratios, compress, norm)
        width = filters
        layers: list[nn.Module] = [_Conv(channels, width, kernel_size, norm)]
        for ratio in reversed(ratios):
            layers += _residual_units(width, residual_layers, residual_kernel_size, dilation_base, compress, norm)
            layers += [nn.ELU(), _Conv(width, 2 * width, 2 * ratio, norm, stride=ratio)]
            width *= 2
        if lstm_layers:
            layers.append(_ResidualLSTM(width, lstm_layers))
        layers += [nn.ELU(), _Conv(width, latent_channels, last_kernel_size, norm)]
        self.layers = nn.Sequential(*layers)

    def forward(self, wave: Tensor) -> Tensor:
        return self.layers(wave)


class SEANetDecoder(nn.Module):
    """``z (B, D, N)`` to ``wave (B, C, N * hop)``: the mirror of ``SEANetEncoder``, with its arguments."""

    def __init__(
        self,
        channels: int = 2,
        latent_channels: int = 128,
        filters: int = 32,
        ratios: Sequence[int] = (8, 5, 4, 2),
        residual_layers: int = 1,
        lstm_layers: int = 2,
        kernel_size: int = 7,
        last_kernel_size: int = 7,
        residual_kernel_size: int = 3,
        dilation_base: int = 2,
        compress: int = 2,
        norm: Norm = "weight_norm",
    ) -> None:
        super().__init__()
        _check_sizes(filters, ratios, compress, norm)
        width = filters * 2 ** len(ratios)
        layers: list[nn.Module] = [_Conv(latent_channels, width, kernel_size, norm)]
        if lstm_layers:
            layers.append(_ResidualLSTM(width, lstm_layers))
        for ratio in ratios:
            layers += [nn.ELU(), _Upsample(width, width // 2, ratio, norm)]
            width //= 2
            layers += _residual_units(width, residual_layers, residual_kernel_size, dilation_base, compress, norm)
        layers += [nn.ELU(), _Conv(width, channels, last_kernel_size, norm)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class SEANetCodec(nn.Module):
    """One ``SEANetEncoder`` and one ``SEANetDecoder``, without a quantiser, as a ``codec.base.Codec``.

    ``norm="weight_norm"`` (arXiv 1602.07868) keeps the level and is local in time, up to the LSTM.
    ``norm="time_group_norm"`` is what the 48 kHz EnCodec uses: a GroupNorm over channels and time after each
    convolution, the last ones included. It gives latents unit variance and the output a constant RMS whatever
    the input's gain, so ``keeps_level`` is False, and latents depend on the length of what is encoded.
    """

    def __init__(
        self,
        sample_rate: int = 48000,
        channels: int = 2,
        latent_channels: int = 128,
        filters: int = 32,
        ratios: Sequence[int] = (8, 5, 4, 2),
        residual_layers: int = 1,
        lstm_layers: int = 2,
        kernel_size: int = 7,
        last_kernel_size: int = 7,
        residual_kernel_size: int = 3,
        dilation_base: int = 2,
        compress: int = 2,
        norm: Norm = "weight_norm",
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.channels = channels
        self.hop = math.prod(ratios)
        self.latent_channels = latent_channels
        self.keeps_level = norm != "time_group_norm"
        sizes = (
            channels,
            latent_channels,
            filters,
            ratios,
            residual_layers,
            lstm_layers,
            kernel_size,
            last_kernel_size,
            residual_kernel_size,
            dilation_base,
            compress,
            norm,
        )
        self.encoder = SEANetEncoder(*sizes)
        self.decoder = SEANetDecoder(*sizes)

    def input_gain(self, wave: Tensor) -> Tensor:
        """One: the latents keep the level."""
        return unit_gain(wave)

    def encode(self, wave: Tensor) -> Tensor:
        """``wave (B, C, T)`` to ``z (B, D, N)`` with N = T / hop; ``ValueError`` as in ``check_wave``."""
        check_wave(wave, self.channels, self.hop)
        return self.encoder(wave)

    def decode(self, z: Tensor) -> Tensor:
        """``z (B, D, N)`` to ``wave (B, C, N * hop)``; ``ValueError`` as in ``check_latents``."""
        check_latents(z, self.latent_channels)
        return self.decoder(z)


class _Conv(nn.Module):
    """Convolution that maps T samples to T / stride, padded by reflection, then the norm."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm: Norm,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        conv = nn.Conv1d(in_channels, out_channels, kernel_size, stride, dilation=dilation)
        self.conv = _with_weight_norm(conv, norm)
        self.norm = _norm_over_time(out_channels, norm)
        padding = (kernel_size - 1) * dilation - (stride - 1)
        self.right = padding // 2
        self.left = padding - self.right

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(_reflect(x, self.left, self.right)))


class _Upsample(nn.Module):
    """Transposed convolution of kernel 2 r and stride r, cut to exactly r times the length, then the norm."""

    def __init__(self, in_channels: int, out_channels: int, ratio: int, norm: Norm) -> None:
        super().__init__()
        conv = nn.ConvTranspose1d(in_channels, out_channels, 2 * ratio, ratio)
        self.conv = _with_weight_norm(conv, norm)
        self.norm = _norm_over_time(out_channels, norm)
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        # The norm comes before the cut: it counts the samples that are thrown away, as EnCodec's does.
        y = self.norm(self.conv(x))
        return y.narrow(2, self.ratio - self.ratio // 2, x.shape[2] * self.ratio)


class _ResidualUnit(nn.Module):
    """A 1x1 convolution beside a narrow branch: ELU, dilated convolution, ELU, 1x1 convolution."""

    def __init__(self, width: int, kernel_size: int, dilation: int, compress: int, norm: Norm) -> None:
        super().__init__()
        self.narrow = nn.Sequential(
            nn.ELU(),
            _Conv(width, width // compress, kernel_size, norm, dilation=dilation),
            nn.ELU(),
            _Conv(width // compress, width, 1, norm),
        )
        self.shortcut = _Conv(width, width, 1, norm)

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


def _residual_units(
    width: int, count: int, kernel_size: int, dilation_base: int, compress: int, norm: Norm
) -> list[nn.Module]:
    return [_ResidualUnit(width, kernel_size, dilation_base**j, compress, norm) for j in range(count)]


def _with_weight_norm(conv: nn.Module, norm: Norm) -> nn.Module:
    return weight_norm(conv) if norm == "weight_norm" else conv


def _norm_over_time(channels: int, norm: Norm) -> nn.Module:
    return nn.GroupNorm(1, channels) if norm == "time_group_norm" else nn.Identity()


def _reflect(x: Tensor, left: int, right: int) -> Tensor:
    """Pad time by reflection; a signal too short to be reflected that far is first continued by zeros."""
    missing = max(left, right) + 1 - x.shape[2]
    if missing <= 0:
        return F.pad(x, (left, right), mode="reflect")
    padded = F.pad(F.pad(x, (0, missing)), (left, right), mode="reflect")
    return padded.narrow(2, 0, left + x.shape[2] + right)


def _check_sizes(filters: int, ratios: Sequence[int], compress: int, norm: Norm) -> None:
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, got {norm!r}")
    if not ratios or min(ratios) < 1:
        raise ValueError(f"ratios must be one or more strides of at least 1, got {tuple(ratios)}")
    if compress < 1 or filters < compress:
        raise ValueError(f"need filters >= compress >= 1, got filters {filters} and compress {compress}")
