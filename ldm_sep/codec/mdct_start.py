"""Weights with which SEANet is an MDCT of the mid and side signals, as a start of its training.

With random weights an hour on a CPU teaches SEANet the outline of sound and nothing of its waveform. Its layers hold an
MDCT as they are: strides that only rearrange samples into channels, then, at the last one, kernels of two hops, which
are the windowed cosines; the decoder mirrors them. The waves in between are so quiet that the ELUs are linear
(ELU(x) = x + x^2 / 2 for small negative x).
"""

import math

import torch
from torch import Tensor, nn

from ldm_sep.codec.base import Codec
from ldm_sep.codec.seanet import SEANetCodec
from ldm_sep.signal.mdct import MDCT

# What waves are multiplied by between the first and the last layer.
_QUIET = 1 / 16
# Share of the latents that carry the side signal, which holds little above a kilohertz or two.
_SIDE = 0.15
# Factor of the random weights that the MDCT does not use: small, but not zero, so that training can grow them.
_REST = 1e-3


def start_as_mdct(codec: Codec) -> None:
    """Set the weights of ``codec`` so that its latents are MDCT bins, from the lowest on.

    ValueError if it is no SEANet, or one that cannot hold them: an LSTM, an odd first ratio, or too few filters.
    """
    if not isinstance(codec, SEANetCodec):
        raise ValueError("mdct_start is for SEANet's networks; leave it out")
    encoder, decoder = _weighted(codec.encoder), _weighted(codec.decoder)
    downward, upward = ([conv for conv in part if conv.stride[0] > 1] for part in (encoder, decoder))
    ratios = [conv.stride[0] for conv in downward]
    depths = [math.prod(ratios[:i]) for i in range(len(ratios))]
    widths = [conv.out_channels for conv in downward]
    rooms = zip(widths, [*(2 * depth for depth in depths[1:]), codec.latent_channels], strict=True)
    small = any(width < needed for width, needed in rooms) or codec.latent_channels > codec.hop
    if _has_lstm(codec) or ratios[-1] % 2 or small:
        raise ValueError(
            f"SEANet of ratios {tuple(reversed(ratios))} and {widths[0] // 2} filters cannot start as an MDCT: that "
            "takes no LSTM, an even first ratio, and as many channels at every stride as samples or latents"
        )
    bins = _bins(codec, ratios[-1])
    with torch.no_grad():
        for conv in (*encoder, *decoder):
            if conv.bias is not None:
                conv.bias.zero_()
            conv.weight = _REST * conv.weight
        # The first convolutions split and join mid and side; all others of stride 1 pass channels on.
        half = 0.5**0.5 * torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        _plant(encoder[0], _QUIET * half)
        _plant(decoder[-1], half / _QUIET)
        for conv in (*encoder[1:], *decoder[:-1]):
            branch = conv.in_channels != conv.out_channels and conv not in (encoder[-1], decoder[0])
            if conv.stride[0] == 1 and not branch:
                _plant(conv, torch.eye(conv.out_channels, conv.in_channels))
        kernels = [*(_rearrangement(r, d) for r, d in zip(ratios[:-1], depths[:-1], strict=True)), bins]
        for kernel, down, up in zip(kernels, downward, reversed(upward), strict=True):
            _plant(down, kernel)
            _plant(up, kernel)
        for conv in (*encoder, *decoder):
            # Its length is free, but 16 bits, in which weights are stored, hold no square of a small number.
            direction = conv.get_parameter("parametrizations.weight.original1")
            direction.div_(direction.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None])


def _weighted(network: nn.Module) -> list[nn.Conv1d | nn.ConvTranspose1d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]


def _has_lstm(codec: SEANetCodec) -> bool:
    return any(isinstance(m, nn.LSTM) for m in (*codec.encoder.modules(), *codec.decoder.modules()))


def _plant(conv: nn.Conv1d | nn.ConvTranspose1d, kernel: Tensor) -> None:
    """Put ``kernel (O, I)`` into the middle tap, or ``(O, I, K)`` into all taps, of the first channels of ``conv``."""
    weight = conv.weight.clone()
    if kernel.ndim == 2:
        weight[: kernel.shape[0], : kernel.shape[1], weight.shape[2] // 2] += kernel
    else:
        weight[: kernel.shape[0], : kernel.shape[1]] += kernel
    conv.weight = weight


def _rearrangement(ratio: int, depth: int) -> Tensor:
    """Kernels (O, I, 2 ratio) that make one frame of ``ratio`` frames, of the ``depth`` samples of mid and of side."""
    kernel = torch.zeros(2, ratio, depth, 2, depth, 2 * ratio)
    first = ratio - ratio // 2
    for side in range(2):
        for tap in range(ratio):
            kernel[side, tap, :, side, :, first + tap] = torch.eye(depth)
    return kernel.flatten(3, 4).flatten(0, 2)


def _bins(codec: SEANetCodec, ratio: int) -> Tensor:
    """Kernels (D, I, 2 ratio) of the last stride, ``ratio``: windowed cosines of two hops, mid's and then side's."""
    hop, count = codec.hop, codec.latent_channels
    # Three frames of bins of single samples, away from both ends, are the windowed cosines themselves.
    basis = MDCT(hop).inverse(torch.eye(hop)[:, :, None] * torch.tensor([0.0, 1.0, 0.0]))[:, hop // 2 : -hop // 2]
    taps = basis.view(hop, 2 * ratio, hop // ratio).transpose(1, 2)
    side = min(round(_SIDE * count), hop)
    kernel = torch.zeros(count, 2 * (hop // ratio), 2 * ratio)
    kernel[: count - side, : hop // ratio] = taps[: count - side]
    kernel[count - side :, hop // ratio :] = taps[:side]
    return kernel
