"""UNetV0 behind our call: its count, its tied layers, and copies."""

import copy

import numpy as np
import pytest
import torch
from small_unets import half_pixel_linear, inputs, package_unet, paper_sizes, small_sizes

from ldm_sep.network.unet_adp import UNetADP


def make(seed: int = 0, out_channels: int | None = None) -> UNetADP:
    torch.manual_seed(seed)
    return UNetADP(small_sizes(out_channels))


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
