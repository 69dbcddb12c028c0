"""What every codec is, and the checks that all codecs share.

Legend: B batch, C audio channels, T samples, D latent channels, N latent frames.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Codec(Protocol):
    """A waveform codec with continuous latents and no quantiser.

    ``sample_rate`` in Hz; ``hop`` in samples per latent frame, so latents run at ``sample_rate / hop`` Hz;
    ``latent_exponent`` is the power of the wave's amplitudes that latents are proportional to, 1 where the codec is
    learned throughout. ``keeps_level`` says whether the latents carry the loudness of the input.

    ``encoder`` and ``decoder`` are the bare networks behind ``encode`` and ``decode``: the same maps without the
    checks. None of the four changes the level: what encodes multiplies the wave by ``input_gain`` first. Codecs derive
    from this class for what they have in common.
    """

    sample_rate: int
    channels: int
    hop: int
    latent_channels: int
    keeps_level: bool
    latent_exponent: float
    encoder: nn.Module
    decoder: nn.Module

    def input_gain(self, wave: Tensor) -> Tensor:
        """The gain (B, 1, 1) that brings ``wave (B, C, T)`` to the level the codec was made for; always finite.

        A codec that keeps the level encodes what it is given: its gain is one.
        """
        return wave.new_ones(len(wave), 1, 1)

    def encode(self, wave: Tensor) -> Tensor:
        """``wave (B, C, T)`` to ``z (B, D, N)`` with N = T / hop; ``ValueError`` as in ``check_wave``."""
        check_wave(wave, self.channels, self.hop)
        return self.encoder(wave)

    def decode(self, z: Tensor) -> Tensor:
        """``z (B, D, N)`` to ``wave (B, C, N * hop)``; ``ValueError`` as in ``check_latents``."""
        check_latents(z, self.latent_channels)
        return self.decoder(z)


def module_of(codec: Codec) -> nn.Module:
    """The codec as the module that holds its weights. TypeError if it is none."""
    if not isinstance(codec, nn.Module):
        raise TypeError(f"{type(codec).__name__} holds no weights")
    return codec


def check_wave(wave: Tensor, channels: int, hop: int) -> None:
    """Refuse a ``wave (B, C, T)`` that a codec cannot encode.

    Raises ``ValueError`` where it is not a floating-point tensor of three axes, C is not ``channels``, T is
    zero or no multiple of ``hop`` (the message names the next valid length), or a sample is NaN or infinite:
    one such sample would spread over the whole latent wherever a layer normalises over time. The look at
    every sample costs nothing beside a network: 3 ms for a minute of stereo at 48 kHz on one CPU core.
    """
    if wave.ndim != 3 or not wave.is_floating_point():
        raise ValueError(f"a wave must be a floating-point tensor (B, C, T), got {wave.dtype} {tuple(wave.shape)}")
    if wave.shape[1] != channels:
        raise ValueError(f"the codec takes {channels} audio channel(s), got {wave.shape[1]}")
    samples = wave.shape[2]
    if samples == 0 or samples % hop:
        valid = max(1, -(-samples // hop)) * hop
        raise ValueError(
            f"{samples} samples are not a positive multiple of the hop {hop}: pad the wave to {valid} samples"
        )
    _check_finite(wave, "wave")


def check_latents(z: Tensor, latent_channels: int) -> None:
    """Refuse a ``z (B, D, N)`` that a codec cannot decode.

    Raises ``ValueError`` where it is not a floating-point tensor of three axes, D is not ``latent_channels``,
    N is zero, or a value is NaN or infinite.
    """
    if z.ndim != 3 or not z.is_floating_point():
        raise ValueError(f"latents must be a floating-point tensor (B, D, N), got {z.dtype} {tuple(z.shape)}")
    if z.shape[1] != latent_channels:
        raise ValueError(f"the codec takes {latent_channels} latent channels, got {z.shape[1]}")
    if z.shape[2] == 0:
        raise ValueError("latents without a frame cannot be decoded")
    _check_finite(z, "latents")


def all_finite(x: Tensor) -> bool:
    """Whether no value of a non-empty ``x`` is NaN or infinite; on the meta device, which has none, True."""
    # The extremes are NaN where any value is: one pass, without the temporary tensors of isfinite(x).
    return x.is_meta or bool(torch.stack(torch.aminmax(x.detach())).isfinite().all())


def _check_finite(x: Tensor, what: str) -> None:
    if not all_finite(x):
        count = int((~torch.isfinite(x)).sum())
        raise ValueError(f"{count} of {x.numel()} values of the {what} are NaN or infinite")
