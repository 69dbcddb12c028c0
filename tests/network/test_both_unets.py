"""What both U-Nets promise alike."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_unets import inputs, small_sizes
from torch import nn

from ldm_sep.errors import ConfigError
from ldm_sep.network.levels import LevelSizes, UNetSizes
from ldm_sep.network.unet import UNet1d
from ldm_sep.network.unet_adp import UNetADP

pytestmark = pytest.mark.parametrize("kind", [UNet1d, UNetADP])


def make(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """A small network away from its initial zeros, as if it had been trained."""
    torch.manual_seed(seed)
    net = kind(small_sizes())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def test_weights_pass_through_safetensors_strictly(kind: type[nn.Module], tmp_path: Path) -> None:
    net, other = make(kind, 0), make(kind, 1)
    assert not torch.equal(net(*inputs()), other(*inputs()))
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    other.load_state_dict(load_file(tmp_path / "net.safetensors"), strict=True)
    assert torch.equal(net(*inputs()), other(*inputs()))


@pytest.mark.parametrize(
    ("levels", "message"),
    [((), "has none"), ((LevelSizes(18, 1, 1),), "multiple of 8"), ((LevelSizes(16, 0, 1),), "1 or more")],
)
def test_sizes_that_cannot_be_built_are_named(
    kind: type[nn.Module], levels: tuple[LevelSizes, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(UNetSizes(6, levels))


def test_a_condition_of_another_length_is_refused(kind: type[nn.Module]) -> None:
    z_t, t, cond = inputs()
    with pytest.raises(ValueError, match=r"must be \(B, 6, N\)"):
        make(kind)(z_t, t, cond[..., :-1])
