"""Our U-Net against UNetV0 by weight transfer, its count, and what training and shipping need of it."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_unets import LEVELS, half_pixel_linear, inputs, package_unet, paper_sizes, small_sizes
from torch import Tensor, nn

from ldm_sep.network.levels import LevelSizes, UNetSizes
from ldm_sep.network.unet import Level, UNet1d


def make(levels: tuple[LevelSizes, ...] = LEVELS, seed: int = 0, out_channels: int | None = None) -> UNet1d:
    """A small network away from its initial zeros, as if it had been trained."""
    torch.manual_seed(seed)
    net = UNet1d(UNetSizes(6, levels, time_features=32, out_channels=out_channels))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def smallest_change(before: Tensor, after: Tensor) -> float:
    """Of the largest changes within each item of the batch, the smallest."""
    return (after - before).detach().abs().amax(dim=(1, 2)).min().item()


def test_paper_size_has_115_892_352_parameters() -> None:
    with torch.device("meta"):
        net = UNet1d(paper_sizes())
    assert sum(parameter.numel() for parameter in net.parameters()) == 115_892_352


def transfer(ours: UNet1d, theirs: nn.Module) -> None:
    """Copy UNetV0's weights into ours; where the two differ by design, first make UNetV0 do as ours does."""
    embedder, perceptron, unet = theirs.blocks
    ours.time.frequencies.data = embedder.weights.data
    ours.time.mlp[0].load_state_dict(embedder.to_out.state_dict())
    # One layer applied twice there, two layers here.
    for layer in (ours.time.mlp[2], ours.time.mlp[4]):
        layer.load_state_dict(perceptron.blocks[0][0].state_dict())
    block = unet.net
    for level in ours.levels:
        block = transfer_level(level, block)


def transfer_level(level: Level, block: nn.Module) -> nn.Module | None:
    """Fill one level from UNetV0's block and return the block inside it."""
    down, *items, up = block.block.blocks
    level.down.load_state_dict(down.block.state_dict())
    level.gate.load_state_dict(block.skip.blocks[0][1].state_dict())
    # Repetition and a convolution there, a transposed convolution here.
    up.block = copy.deepcopy(level.up)
    half = len(level.enter) * (len(items) // (2 * len(level.enter)))
    inner = items[half] if len(items) > 2 * half else None
    below, above = items[:half], items[len(items) - half :]
    for ours, theirs in ((level.enter, below), (level.leave, above)):
        pending = list(theirs)
        for mine in ours:
            convs = pending.pop(0).block.blocks[0].blocks
            for offset, half_block in ((0, convs[0]), (3, convs[1])):
                mine.convs[offset].load_state_dict(half_block[0].state_dict())
                mine.convs[offset + 2].load_state_dict(half_block[2].state_dict())
            mine.film.to_scale_shift.load_state_dict(pending.pop(0).blocks[0].block.blocks[0][1].state_dict())
            if mine.merge is not None:
                mine.merge.load_state_dict(pending.pop(0).block.blocks[0].state_dict())
            if mine.attention is not None:
                attention = pending.pop(0).blocks[0].block
                # Two layer norms of the same frames there, one here.
                attention.norm_context.load_state_dict(attention.norm.state_dict())
                mine.attention.norm.load_state_dict(attention.norm.state_dict())
                mine.attention.to_qkv.weight.data = torch.cat([attention.to_q.weight, attention.to_kv.weight])
                mine.attention.to_out.load_state_dict(attention.attention.blocks[0].state_dict())
        assert not pending
    return inner


@pytest.mark.parametrize("out_channels", [None, 10])
def test_equals_unet_v0_with_the_same_weights(out_channels: int | None) -> None:
    torch.manual_seed(3)
    theirs = package_unet(out_channels)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            # Open gates let every depth through to the comparison.
            parameter.add_(0.1 * torch.randn_like(parameter) + name.endswith("skip.blocks.0.1.bias"))
    ours = make(out_channels=out_channels)
    transfer(ours, theirs)
    z_t, t, cond = inputs(24)
    expected = theirs(z_t, time=t, channels=[None, half_pixel_linear(cond, 12), half_pixel_linear(cond, 4)])
    # UNetV0 adds its input, through a convolution where the channels differ; ours starts from nothing.
    expected = expected - theirs.blocks[2].net.skip_adapter(z_t)
    assert expected.std() > 0.3
    torch.testing.assert_close(ours(z_t, t, cond), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 5, 13])
def test_any_length_is_extended_by_its_mirror_image(frames: int) -> None:
    net = make()
    z_t, t, cond = inputs(frames)
    longer = [
        torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (0, -frames % 6)), mode="symmetric")) for x in (z_t, cond)
    ]
    torch.testing.assert_close(net(z_t, t, cond), net(longer[0], t, longer[1])[..., :frames])


def test_gradients_reach_every_parameter() -> None:
    net = make(out_channels=10)
    net(*inputs()).square().mean().backward()
    untouched = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []


@pytest.mark.parametrize("out_channels", [None, 12])
def test_a_new_network_returns_zero_and_training_moves_every_parameter(out_channels: int | None) -> None:
    torch.manual_seed(0)
    net = UNet1d(small_sizes(out_channels))
    z_t, t, cond = inputs()
    assert not net(z_t, t, cond).any()
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        loss = (net(z_t, t, cond) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert [name for name, value in net.state_dict().items() if torch.equal(value, before[name])] == []


def test_time_matters_for_each_item() -> None:
    net = make()
    z_t, t, cond = inputs()
    assert smallest_change(net(z_t, t, cond), net(z_t, 1 - t, cond)) > 1e-3


@pytest.mark.parametrize("frame", [0, 4, 11])
def test_every_frame_of_the_condition_is_heard(frame: int) -> None:
    net = make()
    z_t, t, cond = inputs()
    changed = cond.clone()
    changed[:, :, frame] += 1
    difference = (net(z_t, t, changed) - net(z_t, t, cond)).abs()
    assert difference[:, :, frame].amax(dim=1).min() > 1e-4


def test_only_levels_that_inject_hear_the_condition() -> None:
    z_t, t, cond = inputs()
    deaf = make((LevelSizes(16, 1, 1), LevelSizes(16, 2, 1)))
    hearing = make((LevelSizes(16, 1, 1), LevelSizes(16, 2, 1, inject=True)))
    assert torch.equal(deaf(z_t, t, cond), deaf(z_t, t, -cond))
    assert smallest_change(hearing(z_t, t, cond), hearing(z_t, t, -cond)) > 1e-3


def test_attention_makes_far_frames_meet() -> None:
    """Beyond the convolutions' reach only group norm and attention connect frames: silence one of them."""
    levels = (LevelSizes(16, 2, 1, inject=True, attention=True),)
    attending, plain = make(levels), make(levels)
    with torch.no_grad():
        for block in [*plain.levels[0].enter, *plain.levels[0].leave]:
            assert block.attention is not None
            block.attention.to_out.weight.zero_()
    z_t, t, cond = inputs(64)
    changed = cond.clone()
    changed[:, :, :4] += 3

    def far_effect(net: UNet1d) -> float:
        return (net(z_t, t, changed) - net(z_t, t, cond))[..., 40:].detach().square().mean().item()

    assert far_effect(attending) > 1.5 * far_effect(plain)
    without = make((LevelSizes(16, 2, 1, inject=True),))
    names = set(without.state_dict())
    without.load_state_dict({k: v for k, v in plain.state_dict().items() if k in names})
    torch.testing.assert_close(without(z_t, t, cond), plain(z_t, t, cond))


def test_items_of_a_batch_do_not_meet() -> None:
    net = make()
    z_t, t, cond = inputs()
    apart = torch.cat([net(z_t[i : i + 1], t[i : i + 1], cond[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(net(z_t, t, cond), apart, rtol=0, atol=1e-5)


def through_pickle(net: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(net))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle], ids=["deepcopy", "pickle"])
def test_a_copy_is_equal_and_independent(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    net = make()
    before = net(*inputs())
    twin = duplicate(net)
    assert torch.equal(twin(*inputs()), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.5)
    assert torch.equal(net(*inputs()), before)
    assert not torch.allclose(twin(*inputs()), before)
