"""Augmentations of waves on any device, as pure functions of the wave and of the drawn parameters.

``wave (B, C, T)``; parameters are one number an item, on the same device. What is drawn, and how often, is decided in
`ldm_sep.data.mixer`; these functions hold no randomness, so that the same change can be made to vocals and mixture.
"""

import math

import torch
from torch import Tensor


def polarity(wave: Tensor, flip: Tensor) -> Tensor:
    """Invert the items where ``flip (B,)`` is true."""
    return torch.where(flip[:, None, None], -wave, wave)


def channel_swap(wave: Tensor, flip: Tensor) -> Tensor:
    """Exchange left and right of the items where ``flip (B,)`` is true."""
    return torch.where(flip[:, None, None], wave.flip(1), wave)


def resample_to(wave: Tensor, frames: int) -> Tensor:
    """``wave (..., T)`` squeezed or stretched to ``frames`` samples, band-limited (by the FFT, so periodic at the
    ends).

    Played at the old rate, pitch, formants and tempo all change by T / frames: varispeed, the pitch shift that keeps a
    voice's waveform intact and turns one singer into several.
    """
    length = wave.shape[-1]
    if length == frames:
        return wave
    spectrum = torch.fft.rfft(wave, dim=-1)
    bins = min(length, frames) // 2 + 1
    return torch.fft.irfft(spectrum[..., :bins], n=frames, dim=-1) * (frames / length)


def equalise(wave: Tensor, gains_db: Tensor, sample_rate: int) -> Tensor:
    """A smooth zero-phase equaliser: ``gains_db (B, P)`` at P octave points, the last at the Nyquist frequency."""
    points = gains_db.shape[1]
    t = wave.shape[-1]
    frequencies = torch.fft.rfftfreq(t, 1 / sample_rate, device=wave.device)
    lowest = sample_rate / 2 / 2 ** (points - 1)
    position = torch.log2(frequencies.clamp_min(lowest) / lowest).clamp(0, points - 1 - 1e-4)
    left = position.long()
    fraction = position - left
    db = gains_db[:, left] * (1 - fraction) + gains_db[:, left + 1] * fraction
    gain = torch.pow(10.0, db / 20)[:, None]
    return torch.fft.irfft(torch.fft.rfft(wave, dim=-1) * gain, n=t, dim=-1)


def reverberate(
    wave: Tensor, noise: Tensor, rt60: Tensor, predelay: Tensor, wet_db: Tensor, sample_rate: int
) -> Tensor:
    """Add late reverberation: convolution with exponentially decaying ``noise (B, C, R)``.

    ``rt60 (B,)`` seconds, ``predelay (B,)`` seconds, ``wet_db (B,)`` level of the reverberation relative to the dry
    wave for a white signal; -inf leaves an item dry. The impulse response is darkened as air and walls do (first-order
    low-pass falling from the Nyquist frequency to 3 kHz over the tail, here by one fixed smoothing).
    """
    r = noise.shape[-1]
    t = torch.arange(r, device=wave.device) / sample_rate
    decay = torch.exp(-math.log(1000.0) * (t - predelay[:, None]) / rt60[:, None])
    response = noise * (decay * (t >= predelay[:, None]))[:, None]
    smooth = torch.nn.functional.avg_pool1d(response, 5, 1, 2)
    smooth = smooth / smooth.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-8)
    n = wave.shape[-1] + r
    wet = torch.fft.irfft(torch.fft.rfft(wave, n=n) * torch.fft.rfft(smooth, n=n), n=n)[..., : wave.shape[-1]]
    return wave + wet * torch.pow(10.0, wet_db / 20)[:, None, None]


def pan(wave: Tensor, angle: Tensor) -> Tensor:
    """Constant-power balance: ``angle (B,)`` in [-1, 1] from left to right; 0 leaves the wave alone."""
    theta = (angle + 1) * (math.pi / 4)
    gains = torch.stack([torch.cos(theta), torch.sin(theta)], 1) * math.sqrt(2)
    return wave * gains[:, :, None]


def active_rms(wave: Tensor, sample_rate: int) -> Tensor:
    """RMS (B,) over the 100 ms frames within 30 dB of the loudest one: the level while something sounds."""
    frame = max(1, sample_rate // 10)
    usable = wave.shape[-1] - wave.shape[-1] % frame or wave.shape[-1]
    power = wave[..., :usable].unflatten(-1, (-1, min(frame, usable))).square().mean((1, 3))
    active = power >= power.amax(1, keepdim=True) * 1e-3
    return torch.sqrt((power * active).sum(1) / active.sum(1))
