"""UNetV0 behind our call: its count, its tied layers, and copies."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_unets import inputs, package_unet, paper_sizes, small_sizes
from torch import Tensor

from ldm_sep.errors import ConfigError
from ldm_sep.network.levels import LevelSizes, UNetSizes
from ldm_sep.network.unet_adp import UNetADP


def make(seed: int = 0, out_channels: int | None = None) -> UNetADP:
    torch.manual_seed(seed)
    return UNetADP(small_sizes(out_channels))


def half_pixel_linear(cond: Tensor, frames: int) -> Tensor:
    """Linear interpolation between frame centres, by numpy."""
    before = np.arange(cond.shape[-1]) + 0.5
    after = (np.arange(frames) + 0.5) * cond.shape[-1] / frames
    rows = [np.interp(after, before, row) for row in cond.flatten(0, 1).numpy()]
    return torch.tensor(np.stack(rows), dtype=cond.dtype).unflatten(0, cond.shape[:2])


def test_paper_size_has_the_package_s_parameter_count() -> None:
    with torch.device("meta"):
        net = UNetADP(paper_sizes())
    assert sum(parameter.numel() for parameter in net.parameters()) == 115_924_096
    assert sum(value.numel() for value in net.state_dict().values()) == 115_924_096


@pytest.mark.parametrize("out_channels", [None, 10])
def test_equals_the_package_s_network_called_directly(out_channels: int | None) -> None:
    torch.manual_seed(7)
    theirs = package_unet(out_channels)
    ours = make(seed=7, out_channels=out_channels)
    z_t, t, cond = inputs(12)
    expected = theirs(z_t, time=t, channels=[None, half_pixel_linear(cond, 6), half_pixel_linear(cond, 2)])
    torch.testing.assert_close(ours(z_t, t, cond), expected, rtol=0, atol=1e-6)
    assert (expected - make(seed=8, out_channels=out_channels)(z_t, t, cond)).abs().max() > 1e-2


@pytest.mark.parametrize("frames", [1, 5, 13])
def test_any_length_is_extended_by_its_mirror_image(frames: int) -> None:
    net = make()
    z_t, t, cond = inputs(frames)
    longer = [
        torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (0, -frames % 6)), mode="symmetric")) for x in (z_t, cond)
    ]
    torch.testing.assert_close(net(z_t, t, cond), net(longer[0], t, longer[1])[..., :frames])


def test_weights_pass_through_safetensors_strictly(tmp_path: Path) -> None:
    net, other = make(seed=0), make(seed=1)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    other.load_state_dict(load_file(tmp_path / "net.safetensors"), strict=True)
    assert torch.equal(net(*inputs()), other(*inputs()))


def test_a_second_network_with_the_same_weights_is_equal_and_independent() -> None:
    net, twin = make(seed=0, out_channels=10), make(seed=1, out_channels=10)
    z_t, t, cond = inputs()
    before = net(z_t, t, cond)
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(z_t, t, cond), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.5)
    assert torch.equal(net(z_t, t, cond), before)
    assert not torch.allclose(twin(z_t, t, cond), before)


def test_a_deep_copy_which_would_share_weights_is_refused() -> None:
    with pytest.raises(TypeError, match="shares its weights"):
        copy.deepcopy(make())


def test_gradients_reach_every_parameter() -> None:
    net = make(out_channels=10)
    z_t, t, cond = inputs()
    net(z_t, t, cond).square().mean().backward()
    untouched = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []


def test_time_and_condition_matter_and_items_of_a_batch_do_not_meet() -> None:
    net = make()
    z_t, t, cond = inputs()
    together = net(z_t, t, cond)
    apart = torch.cat([net(z_t[i : i + 1], t[i : i + 1], cond[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)
    changed = cond.clone()
    changed[:, :, 4] += 1
    assert (net(z_t, t, changed) - together).abs().amax(dim=(1, 2)).min() > 1e-4
    assert (net(z_t, 1 - t, cond) - together).abs().amax(dim=(1, 2)).min() > 1e-4


@pytest.mark.parametrize(
    ("levels", "message"),
    [((), "no|none"), ((LevelSizes(18, 1, 1),), "multiple of 8"), ((LevelSizes(16, 0, 1),), "1 or more")],
)
def test_sizes_that_cannot_be_built_are_named(levels: tuple[LevelSizes, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UNetADP(UNetSizes(6, levels))


def test_a_condition_of_another_length_is_refused() -> None:
    z_t, t, cond = inputs()
    with pytest.raises(ValueError, match=r"must be \(B, 6, N\)"):
        make()(z_t, t, cond[..., :-1])
