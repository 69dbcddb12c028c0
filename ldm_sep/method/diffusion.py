"""v-objective diffusion (Salimans & Ho 2022) as pure functions. Equation numbers are those of the LDM-dmx paper.

``t`` in [0, 1] is the angle phi = pi t / 2 in units of a quarter turn: alpha = cos phi, sigma = sin phi, so t = 0 is
the clean latent, t = 1 is pure noise (terminal SNR zero). Tensors ``z_t, z0, noise, v`` have shape (B, D, N); ``t``
is (B,) or a scalar tensor.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2), shaped (B, 1, 1) so that they scale latents."""
    phi = (t * (math.pi / 2)).reshape(-1, 1, 1)
    return torch.cos(phi), torch.sin(phi)


def add_noise(z0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Eq. (1), (7): z_t = alpha z0 + sigma noise."""
    alpha, sigma = alpha_sigma(t)
    return alpha * z0 + sigma * noise


def v_target(z0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Eq. (6): v = alpha noise - sigma z0."""
    alpha, sigma = alpha_sigma(t)
    return alpha * noise - sigma * z0


def z0_from_v(z_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """Eq. (11): z0 = alpha z_t - sigma v."""
    alpha, sigma = alpha_sigma(t)
    return alpha * z_t - sigma * v


def noise_from_v(z_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """Eq. (12): noise = sigma z_t + alpha v."""
    alpha, sigma = alpha_sigma(t)
    return sigma * z_t + alpha * v


def truncated_snr_weight(t: Tensor, max_snr: float) -> Tensor:
    """A weight for the v-loss, min(1, (1 + max_snr) / (1 + SNR)), shaped (B, 1, 1).

    Since |v - v_hat|^2 = (1 + SNR) |z0 - z0_hat|^2, it bounds the pull of almost clean latents, as min-SNR-gamma
    (arXiv 2303.09556) does; unlike that, it leaves the weight at t = 1 alone, where the posterior mean given the
    mixture is learned and where sampling starts.
    """
    alpha2 = alpha_sigma(t)[0] ** 2
    # 1 / (1 + SNR) = sigma^2, which stays finite at t = 0.
    return torch.clamp((1 + max_snr) * (1 - alpha2), max=1.0)


def schedule(steps: int, start: float = 1.0) -> Tensor:
    """The grid linspace(start, 0, steps + 1). ValueError unless steps >= 1 and 0 < start <= 1."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if not 0 < start <= 1:
        raise ValueError(f"start must lie in (0, 1], not {start}")
    return torch.linspace(start, 0.0, steps + 1)


def ddim_step(
    z_t: Tensor, v: Tensor, t: Tensor, t_next: Tensor, eta: float = 0.0, fresh: Tensor | None = None
) -> Tensor:
    """Eq. (13): z_t' = alpha' z0_hat + sigma' noise_hat; with eta > 0 part of the noise is ``fresh``.

    The stochastic form is eq. (12), (16) of DDIM (arXiv 2010.02502) for alpha^2 + sigma^2 = 1:
    s = eta (sigma' / sigma) sqrt(1 - (alpha / alpha')^2), z_t' = alpha' z0_hat + sqrt(sigma'^2 - s^2) noise_hat + s
    fresh. ValueError if eta > 0 and ``fresh`` is missing.
    """
    z0, noise = z0_from_v(z_t, v, t), noise_from_v(z_t, v, t)
    alpha_next, sigma_next = alpha_sigma(t_next)
    if eta == 0:
        return alpha_next * z0 + sigma_next * noise
    if fresh is None:
        raise ValueError("stochastic DDIM (eta > 0) needs fresh noise")
    alpha, sigma = alpha_sigma(t)
    s = eta * (sigma_next / sigma) * torch.sqrt(torch.clamp(1 - (alpha / alpha_next) ** 2, min=0))
    return alpha_next * z0 + torch.sqrt(torch.clamp(sigma_next**2 - s**2, min=0)) * noise + s * fresh


def sample(
    predict_v: Callable[[Tensor, Tensor], Tensor],
    z_start: Tensor,
    grid: Tensor,
    eta: float = 0.0,
    fresh: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """DDIM from ``z_start`` at grid[0] down to z0, ``len(grid) - 1`` calls of ``predict_v(z_t (B, D, N), t (B,))``.

    ``fresh(i)`` gives the noise of step i when eta > 0. The last step returns z0_hat itself (sigma' = 0).
    """
    z = z_start
    grid = grid.to(z.device, z.dtype)
    for i in range(len(grid) - 1):
        t = grid[i].expand(z.shape[0])
        v = predict_v(z, t)
        last = i == len(grid) - 2
        noise = fresh(i) if fresh is not None and eta > 0 and not last else None
        z = ddim_step(z, v, t, grid[i + 1].expand(z.shape[0]), 0.0 if last else eta, noise)
    return z
