"""The critic of adversarial codec training: real or decoded, judged on complex spectrograms of several sizes.

Multi-scale STFT discriminator with hinge and feature-matching losses, Défossez et al., "High Fidelity Neural Audio
Compression" (arXiv 2210.13438), sections 3.4 and 3.5.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ldm_sep.signal.stereo import mid_side

# Of frames, by layer: later ones see farther in time, while each halves the frequencies.
_DILATIONS = (1, 1, 2, 4)
_SLOPE = 0.2
_FLOOR = 1e-3
# Power of the magnitudes that the layers see.
_COMPRESSION = 0.3


class STFTDiscriminator(nn.Module):
    """Judges one size of spectrogram. ``forward(wave (B, 2, T))`` returns the layers' outputs, the verdict last."""

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        widths = [4, *[channels] * len(_DILATIONS)]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (9, 3), (2, 1), padding=(4, dilation), dilation=(1, dilation)))
            for (a, b), dilation in zip(itertools.pairwise(widths), _DILATIONS, strict=True)
        )
        self.verdict = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> list[Tensor]:
        with torch.autocast(wave.device.type, enabled=False):
            spectrum = torch.stft(
                mid_side(wave.float()).flatten(0, 1),
                self.window,
                self.window // 4,
                window=self.hann,
                return_complex=True,
            )
            x = torch.view_as_real(spectrum / self.window**0.5).unflatten(0, (-1, 2))
            # Highs lie 40 dB and more under the lows; compressed, as ears do it, they count too.
            x = x * (x.square().sum(-1, keepdim=True) + _FLOOR**2) ** ((_COMPRESSION - 1) / 2)
        # (B, mid and side, bins, frames, real and imaginary) to (B, 4, bins, frames)
        x = x.permute(0, 1, 4, 2, 3).flatten(1, 2)
        outputs = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            outputs.append(x)
        return [*outputs, self.verdict(x)]


class Discriminator(nn.Module):
    """Discriminators of several STFT ``windows``, each of ``channels``, and the losses of both players.

    Both are part of one objective: a codec's losses see the discriminators as constants, theirs see the estimate as
    one, so one backward pass and one optimiser train them side by side.
    """

    def __init__(self, channels: int = 16, windows: Sequence[int] = (2048, 1024, 512)) -> None:
        super().__init__()
        self.scales = nn.ModuleList(STFTDiscriminator(window, channels) for window in windows)

    def forward(self, wave: Tensor) -> list[list[Tensor]]:
        """The outputs of every discriminator."""
        return [scale(wave) for scale in self.scales]

    def losses(self, estimate: Tensor, reference: Tensor) -> Mapping[str, Tensor]:
        """``adversarial`` and ``feature`` losses of what made ``estimate (B, 2, T)``; ``discriminator``, their own.

        Waves are brought to the reference's level first, so that quiet music is judged as sharply as loud.
        """
        level = reference.square().mean((1, 2), keepdim=True).sqrt() + _FLOOR
        estimate, reference = estimate / level, reference / level
        constants = {name: p.detach() for name, p in self.named_parameters()}
        judged = functional_call(self, constants, (estimate,))
        real, fake = self(reference), self(estimate.detach())
        feature = [
            (mine - theirs.detach()).abs().mean() / theirs.detach().abs().mean().clamp_min(_FLOOR)
            for mine_all, theirs_all in zip(judged, real, strict=True)
            for mine, theirs in zip(mine_all[:-1], theirs_all[:-1], strict=True)
        ]
        return {
            "adversarial": torch.stack([F.relu(1 - scale[-1]).mean() for scale in judged]).mean(),
            "feature": torch.stack(feature).mean(),
            "discriminator": torch.stack(
                [F.relu(1 - r[-1]).mean() + F.relu(1 + f[-1]).mean() for r, f in zip(real, fake, strict=True)]
            ).mean(),
        }
