"""The identities of v-objective diffusion, and parity with audio-diffusion-pytorch."""

import math

import pytest
import torch

from ldm_sep.method.diffusion import (
    add_noise,
    alpha_sigma,
    ddim_step,
    noise_from_v,
    sample,
    schedule,
    truncated_snr_weight,
    v_target,
    z0_from_v,
)
from ldm_sep.thirdparty import import_audio_diffusion_pytorch


def snr(t: torch.Tensor) -> torch.Tensor:
    """alpha^2 / sigma^2 at the angle pi t / 2, shaped (B, 1, 1)."""
    return torch.tan(math.pi / 2 * t).reshape(-1, 1, 1) ** -2


@pytest.fixture
def latents() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 8, 20, generator=generator), torch.randn(4, 8, 20, generator=generator)


def test_the_ends_of_the_schedule_are_clean_and_pure_noise(latents) -> None:
    z0, noise = latents
    assert torch.allclose(add_noise(z0, noise, torch.zeros(4)), z0)
    assert torch.allclose(add_noise(z0, noise, torch.ones(4)), noise, atol=1e-6)


def test_the_true_v_inverts_to_both_clean_latent_and_noise(latents) -> None:
    z0, noise = latents
    t = torch.tensor([0.0, 0.3, 0.7, 1.0])
    z_t, v = add_noise(z0, noise, t), v_target(z0, noise, t)
    assert torch.allclose(z0_from_v(z_t, v, t), z0, atol=1e-6)
    assert torch.allclose(noise_from_v(z_t, v, t), noise, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_with_the_true_v_any_number_of_steps_gives_the_clean_latent(latents, steps: int) -> None:
    z0, noise = latents
    calls = []

    def truth(z_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        calls.append(float(t[0]))
        return v_target(z0, noise, t)

    assert torch.allclose(sample(truth, noise, schedule(steps)), z0, atol=2e-5)
    assert len(calls) == steps and calls[0] == 1.0


def test_a_ddim_step_is_a_rotation(latents) -> None:
    z_t, v = latents
    t, t_next = torch.tensor(0.8), torch.tensor(0.35)
    d = math.pi / 2 * float(t - t_next)
    assert torch.allclose(ddim_step(z_t, v, t, t_next), math.cos(d) * z_t - math.sin(d) * v, atol=1e-5)


def test_v_error_is_one_plus_snr_times_the_clean_error(latents) -> None:
    z0, noise = latents
    t = torch.tensor([0.2, 0.4, 0.6, 0.9])
    z_t, v = add_noise(z0, noise, t), v_target(z0, noise, t)
    v_hat = v + 0.1 * torch.randn(v.shape, generator=torch.Generator().manual_seed(2))
    left = (v - v_hat).square().mean((1, 2))
    right = (1 + snr(t)).flatten() * (z0 - z0_from_v(z_t, v_hat, t)).square().mean((1, 2))
    assert torch.allclose(left, right, rtol=1e-4)


def test_the_truncated_weight_bounds_the_clean_error(latents) -> None:
    t = torch.linspace(0.01, 1, 50)
    effective = (truncated_snr_weight(t, 5.0) * (1 + snr(t))).flatten()
    assert float(effective.max()) <= 6.01
    assert torch.allclose(truncated_snr_weight(t[-10:], 5.0), torch.ones(10, 1, 1))


def test_stochastic_steps_keep_the_variance(latents) -> None:
    generator = torch.Generator().manual_seed(3)
    z0, noise, fresh = (torch.randn(1, 64, 4000, generator=generator) for _ in range(3))
    t, t_next = torch.tensor(0.8), torch.tensor(0.5)
    z_next = ddim_step(add_noise(z0, noise, t), v_target(z0, noise, t), t, t_next, 0.7, fresh)
    assert abs(float(z_next.std()) - 1) < 0.01
    _, sigma = alpha_sigma(t_next)
    assert abs(float((z_next - alpha_sigma(t_next)[0] * z0).std() - sigma)) < 0.01
    assert float((z_next * fresh).mean()) > 0.1
    with pytest.raises(ValueError, match="fresh noise"):
        ddim_step(z0, noise, t, t_next, 0.5)


@pytest.mark.parametrize(("steps", "start"), [(0, 1.0), (3, 0.0), (3, 1.5)])
def test_impossible_schedules_are_refused(steps: int, start: float) -> None:
    with pytest.raises(ValueError, match="must"):
        schedule(steps, start)


def test_sampler_and_loss_agree_with_audio_diffusion_pytorch(latents) -> None:
    adp = import_audio_diffusion_pytorch()
    z0, noise = latents
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(5)) * 0.3

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            return torch.tanh(weight @ x) * (1 + time[:, None, None])

    net = Net()
    theirs = adp.VSampler(net=net, schedule=adp.LinearSchedule())(noise, num_steps=6)
    ours = sample(lambda z, t: net(z, t), noise, schedule(6))
    # Their last grid value is 0 and their loop of 6 makes 6 calls, as ours does.
    assert torch.allclose(ours, theirs, atol=1e-5)

    torch.manual_seed(7)
    their_loss = adp.VDiffusion(net=net)(z0)
    torch.manual_seed(7)
    t = torch.rand(4)
    drawn = torch.randn_like(z0)
    our_loss = (net(add_noise(z0, drawn, t), t) - v_target(z0, drawn, t)).square().mean()
    assert torch.allclose(our_loss, their_loss, atol=1e-6)
