"""``UNetV0`` of ``audio_diffusion_pytorch`` behind the call of this package's own U-Net.

For comparison with the network the paper most likely built on. At the paper's size (see ``ldm_sep.network.unet``) it
has 115,924,096 parameters. The two tied layers of its time perceptron appear once in the state dict here, so
``safetensors`` takes it.
"""

from typing import NoReturn

from torch import Tensor, nn

from ldm_sep.errors import ConfigError
from ldm_sep.network.levels import (
    ATTENTION_FEATURES,
    ATTENTION_HEADS,
    GROUPS,
    UNetSizes,
    resize,
)
from ldm_sep.thirdparty import import_audio_diffusion_pytorch


class UNetADP(nn.Module):
    """Estimate the velocity of v-objective diffusion (equation 8 of the paper) with ``UNetV0``.

    ``copy.deepcopy`` is refused: the package's closures would share the weights with the original. Build a second
    network and load the state dict.
    """

    def __init__(self, sizes: UNetSizes) -> None:
        super().__init__()
        self.sizes, levels = sizes, sizes.levels
        self.net: nn.Module = import_audio_diffusion_pytorch().UNetV0(
            dim=1,
            in_channels=sizes.latent_channels,
            out_channels=sizes.returned,
            channels=[level.channels for level in levels],
            factors=[level.factor for level in levels],
            items=[level.blocks for level in levels],
            attentions=[int(level.attention) for level in levels],
            context_channels=[sizes.heard if level.inject else 0 for level in levels],
            attention_heads=ATTENTION_HEADS,
            attention_features=ATTENTION_FEATURES,
            resnet_groups=GROUPS,
            modulation_features=sizes.time_features,
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
        frames = z_t.shape[-1]
        z_t, cond = self.sizes.fitted(z_t, cond)
        channels: list[Tensor | None] = []
        size = z_t.shape[-1]
        for level in self.sizes.levels:
            size //= level.factor
            channels.append(resize(cond, size) if level.inject else None)
        return self.net(z_t, time=t, channels=channels)[..., :frames]

    def __deepcopy__(self, _: dict) -> NoReturn:
        raise TypeError("a deep copy of UNetV0 shares its weights with the original; build another and load its state")


class _Repeated(nn.Module):
    def __init__(self, layer: nn.Module, times: int) -> None:
        super().__init__()
        self.layer = layer
        self.times = times

    def forward(self, x: Tensor, *rest: object) -> Tensor:
        for _ in range(self.times):
            x = self.layer(x)
        return x
