"""``UNetV0`` of ``audio_diffusion_pytorch`` behind the call of this package's own U-Net.

For comparison with the network the paper most likely built on. At the paper's size (see ``ldm_sep.network.unet``) it
has 115,924,096 parameters. Three of its habits are mended here: the two tied layers of its time perceptron
appear once in the state dict, so ``safetensors`` takes it; a copy is independent, where the package's own
shares its weights with the original; and it can be pickled.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from ldm_sep.errors import ConfigError
from ldm_sep.network.levels import Level, check_levels, extend, resize
from ldm_sep.thirdparty import import_audio_diffusion_pytorch


class UNetADP(nn.Module):
    """Estimate the velocity of v-objective diffusion (equation 8 of the paper) with ``UNetV0``.

    latent_channels: D of ``z_t``; levels: from the outermost to the bottleneck; time_features:
    width of the time embedding; groups: of every group norm; attention_heads, attention_features: heads and
    features per head, used at levels with ``attention``; out_channels: channels of the output, D when None;
    cond_channels: E of ``cond``, D when None.

    ``copy.deepcopy`` and ``pickle`` rebuild the network from these arguments and its weights; hooks and
    gradients are not carried along. Raises ``ConfigError`` for sizes that cannot be built.
    """

    def __init__(
        self,
        latent_channels: int,
        levels: Sequence[Level],
        *,
        time_features: int = 1024,
        groups: int = 8,
        attention_heads: int = 8,
        attention_features: int = 64,
        out_channels: int | None = None,
        cond_channels: int | None = None,
    ) -> None:
        super().__init__()
        check_levels(levels, groups)
        self.latent_channels = latent_channels
        self.out_channels = latent_channels if out_channels is None else out_channels
        self.cond_channels = latent_channels if cond_channels is None else cond_channels
        self.levels = tuple(levels)
        self.time_features = time_features
        self.groups = groups
        self.attention_heads = attention_heads
        self.attention_features = attention_features
        self.net: nn.Module = import_audio_diffusion_pytorch().UNetV0(
            dim=1,
            in_channels=latent_channels,
            out_channels=self.out_channels,
            channels=[level.channels for level in levels],
            factors=[level.factor for level in levels],
            items=[level.blocks for level in levels],
            attentions=[int(level.attention) for level in levels],
            context_channels=[self.cond_channels if level.inject else 0 for level in levels],
            attention_heads=attention_heads,
            attention_features=attention_features,
            resnet_groups=groups,
            modulation_features=time_features,
        )
        # UNetV0 holds [time embedder, time perceptron, U-Net]; the perceptron lists one layer twice.
        perceptron = self.net.blocks[1]
        first, *others = perceptron.blocks
        if any(layer is not first for layer in others):
            raise ConfigError("audio_diffusion_pytorch: unknown time perceptron; install version 0.1.3")
        perceptron.blocks = nn.ModuleList([_Repeated(first, 1 + len(others))])

    def forward(self, z_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """``z_t (B, D, N)``, ``t (B,)`` in [0, 1] and ``cond (B, E, N)`` to the estimate (B, out_channels, N).

        Any N of 1 or more works: inputs are extended by their mirror image to a multiple of the product of all
        factors, and the result is cropped. Raises ``ValueError`` for other shapes.
        """
        batch, _, frames = z_t.shape
        if z_t.shape[1] != self.latent_channels or cond.shape != (batch, self.cond_channels, frames):
            raise ValueError(
                f"z_t {tuple(z_t.shape)} must be (B, {self.latent_channels}, N) and "
                f"cond {tuple(cond.shape)} (B, {self.cond_channels}, N)"
            )
        multiple = prod(level.factor for level in self.levels)
        z_t, cond = extend(z_t, multiple), extend(cond, multiple)
        channels: list[Tensor | None] = []
        size = z_t.shape[-1]
        for level in self.levels:
            size //= level.factor
            channels.append(resize(cond, size) if level.inject else None)
        return self.net(z_t, time=t, channels=channels)[..., :frames]

    def __reduce__(self) -> tuple[object, ...]:
        trainable = {name: parameter.requires_grad for name, parameter in self.named_parameters()}
        arguments = (
            self.latent_channels,
            self.levels,
            self.time_features,
            self.groups,
            self.attention_heads,
            self.attention_features,
            self.out_channels,
            self.cond_channels,
            self.training,
            trainable,
            dict(self.state_dict()),
        )
        return _rebuild, arguments


class _Repeated(nn.Module):
    def __init__(self, layer: nn.Module, times: int) -> None:
        super().__init__()
        self.layer = layer
        self.times = times

    def forward(self, x: Tensor, *_: object) -> Tensor:
        for _ in range(self.times):
            x = self.layer(x)
        return x


def _rebuild(
    latent_channels: int,
    levels: tuple[Level, ...],
    time_features: int,
    groups: int,
    attention_heads: int,
    attention_features: int,
    out_channels: int,
    cond_channels: int,
    training: bool,
    trainable: dict[str, bool],
    weights: dict[str, Tensor],
) -> UNetADP:
    # On "meta" no weights are drawn: rebuilding is quick and leaves the random state alone.
    with torch.device("meta"):
        net = UNetADP(
            latent_channels,
            levels,
            time_features=time_features,
            groups=groups,
            attention_heads=attention_heads,
            attention_features=attention_features,
            out_channels=out_channels,
            cond_channels=cond_channels,
        )
    net.load_state_dict(weights, assign=True)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(trainable[name])
    return net.train(training)
