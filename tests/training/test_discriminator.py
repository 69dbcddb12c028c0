"""Adversarial training of the codec: who learns from which loss, and that the critic learns to tell."""

import torch

from ldm_sep.training.discriminator import Discriminator


def waves() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and the same noise dulled."""
    noise = 0.1 * torch.randn(4, 2, 8192, generator=torch.Generator().manual_seed(0))
    return noise, torch.nn.functional.avg_pool1d(noise, 5, 1, 2)


def small() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(8, (256, 512))


def test_each_player_learns_from_its_own_losses_only() -> None:
    critic = small()
    real, dull = waves()
    estimate = dull.clone().requires_grad_(True)
    losses = critic.losses(estimate, real)
    (losses["adversarial"] + losses["feature"]).backward(retain_graph=True)
    assert estimate.grad.abs().max() > 0
    assert all(p.grad is None for p in critic.parameters())
    estimate.grad = None
    losses["discriminator"].backward()
    assert estimate.grad is None
    # The two halves of the hinge cancel in the last bias while the critic has no opinion.
    assert all(p.grad.abs().max() > 0 for p in critic.parameters() if p.ndim > 1)


def test_the_critic_learns_to_tell_dull_from_bright_at_any_level() -> None:
    critic = small()
    real, dull = waves()
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        critic.losses(dull, real)["discriminator"].backward()
        optimizer.step()
    for gain in (1.0, 0.3):
        told = critic.losses(gain * dull, gain * real)
        # 2 is what a critic without an opinion pays; the maker of what it sees through pays more than 1.
        assert told["discriminator"] < 0.5 and told["adversarial"] > 1
    assert critic.losses(real, real)["feature"] == 0


def test_silence_is_judged_without_accidents() -> None:
    critic = small()
    estimate = torch.zeros(2, 2, 4096, requires_grad=True)
    losses = critic.losses(estimate, torch.zeros(2, 2, 4096))
    sum(losses.values()).backward()
    assert torch.isfinite(estimate.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in critic.parameters())
