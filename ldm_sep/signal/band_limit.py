"""A low-pass filter with a narrow transition."""

import torch
from torch import Tensor


def band_limited(wave: Tensor, limit: float, sample_rate: int) -> Tensor:
    """``wave (..., T)`` without what lies above ``limit`` Hz, by an edge a sixth of an octave wide that ends there."""
    spectrum = torch.fft.rfft(wave)
    frequency = torch.linspace(0, sample_rate / 2, spectrum.shape[-1], device=wave.device)
    gain = (6 * torch.log2(limit / frequency.clamp_min(1.0))).clamp(0, 1)
    return torch.fft.irfft(spectrum * gain, wave.shape[-1])
