"""Augmentations of waves on any device, as pure functions of the wave and of the drawn parameters.

``wave (B, C, T)``; parameters are one number an item, on the same device. What is drawn, and how often, is decided in
`ldm_sep.data.mixer`; these functions hold no randomness, so that the same change can be made to vocals and mixture.
"""

import math

import torch
from torch import Tensor

from ldm_sep.signal.stereo import mid_side


def polarity(wave: Tensor, flip: Tensor) -> Tensor:
    """Invert the items where ``flip (B,)`` is true."""
    return torch.where(flip[:, None, None], -wave, wave)


def channel_swap(wave: Tensor, flip: Tensor) -> Tensor:
    """Exchange left and right of the items where ``flip (B,)`` is true."""
    return torch.where(flip[:, None, None], wave.flip(1), wave)


def fast_length(length: int) -> int:
    """The least m 2^k >= ``length`` with m <= 32: an FFT of that size is several times faster than one of a prime."""
    step = 1 << max(0, length.bit_length() - 5)
    return -(-length // step) * step


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


def warp(wave: Tensor, cents: Tensor) -> Tensor:
    """``wave (C, T)`` read at a changing speed, 2^(c/1200) for a course c of ``cents (P,)`` spread evenly over it:
    vibrato, scoops and drift.

    Cubic interpolation (Catmull-Rom) of the wave at twice its rate, where it is flat to 0.3 dB up to two thirds of the
    Nyquist frequency. Nothing is read from beyond the ends.
    """
    frames = wave.shape[-1]
    if frames < 2 or not cents.any():
        return wave
    course = torch.nn.functional.interpolate(cents[None, None], size=frames, mode="linear", align_corners=True)[0, 0]
    ahead = torch.cumsum(torch.expm1(course * (math.log(2) / 1200)), 0)
    size = fast_length(frames)
    twice = resample_to(torch.nn.functional.pad(wave, (0, size - frames)), 2 * size)
    # Whole and fractional samples are kept apart: a large float32 number has no digits left for the fraction.
    whole = torch.floor(2 * ahead)
    x = 2 * ahead - whole
    left = 2 * torch.arange(frames, device=wave.device) + whole.long()
    a, b, c, d = (twice[:, (left + k).clamp(0, 2 * frames - 1)] for k in (-1, 0, 1, 2))
    read = b + 0.5 * x * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a)))
    return read * ((left >= 0) & (left < 2 * frames))


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


def compress(wave: Tensor, threshold_db: Tensor, ratio: Tensor, sample_rate: int) -> Tensor:
    """A feed-forward compressor: ``threshold_db (B,)`` relative to the item's `active_rms`, ``ratio (B,)`` to one.

    The level L in dB is that of both channels over 30 ms (Hann window); above the threshold the gain is
    -(L - threshold) (1 - 1 / ratio). Make-up gain restores the item's energy.
    """
    hop = max(1, sample_rate // 400)
    window = torch.hann_window(12, periodic=False, device=wave.device)
    frames = wave.shape[-1]
    power = wave.square().mean(1, keepdim=True)
    power = torch.nn.functional.avg_pool1d(power, hop, ceil_mode=True)
    # The edges are repeated. Zeros there would hide the first and last notes from the compressor.
    padded = torch.nn.functional.pad(power, (6, 5), mode="replicate")
    power = torch.nn.functional.conv1d(padded, (window / window.sum())[None, None])[:, 0]
    level = 10 * torch.log10(power / active_rms(wave, sample_rate).square().clamp_min(1e-12)[:, None] + 1e-9)
    gain_db = -(level - threshold_db[:, None]).clamp_min(0) * (1 - 1 / ratio[:, None])
    gain = torch.nn.functional.interpolate(gain_db[:, None], size=frames, mode="linear")
    squeezed = wave * torch.pow(10.0, gain / 20)
    makeup = wave.square().sum((1, 2)) / squeezed.square().sum((1, 2)).clamp_min(1e-12)
    return squeezed * makeup.sqrt()[:, None, None]


def automate(wave: Tensor, gains_db: Tensor) -> Tensor:
    """Slow level changes: ``gains_db (B, P)`` at P points spread evenly over the wave, linear in dB between them."""
    gain = torch.nn.functional.interpolate(gains_db[:, None], size=wave.shape[-1], mode="linear", align_corners=True)
    return wave * torch.pow(10.0, gain / 20)


def widen(wave: Tensor, side_db: Tensor) -> Tensor:
    """The side signal of ``wave (B, 2, T)`` louder by ``side_db (B,)``; a mono item does not change."""
    mid, side = mid_side(wave).unbind(1)
    return mid_side(torch.stack([mid, side * torch.pow(10.0, side_db / 20)[:, None]], 1))


def reflect(wave: Tensor, delays: Tensor, gains: Tensor, sample_rate: int) -> Tensor:
    """Add early reflections: copies of ``wave (B, C, T)`` after ``delays (B, R)`` seconds, rounded to samples, times
    ``gains (B, C, R)``.
    """
    frames = wave.shape[-1]
    out = wave.clone()
    # There are few reflections, and shifting copies is several times cheaper than a convolution.
    for item, shifts in enumerate((delays * sample_rate).round().long().tolist()):
        for number, shift in enumerate(shifts):
            if shift < frames:
                out[item, :, shift:] += wave[item, :, : frames - shift] * gains[item, :, number, None]
    return out


def _convolve(wave: Tensor, response: Tensor) -> Tensor:
    """Linear convolution along the last axis; as long as both together."""
    length = wave.shape[-1] + response.shape[-1]
    n = fast_length(length)
    return torch.fft.irfft(torch.fft.rfft(wave, n=n) * torch.fft.rfft(response, n=n), n=n)[..., :length]


def reverberate(
    wave: Tensor, noise: Tensor, rt60: Tensor, predelay: Tensor, wet_db: Tensor, sample_rate: int
) -> Tensor:
    """Add late reverberation: convolution with exponentially decaying ``noise (B, C, R)``.

    ``rt60 (B,)`` seconds, ``predelay (B,)`` seconds, ``wet_db (B,)`` level of the reverberation relative to the dry
    wave for a white signal; -inf leaves an item dry. The impulse response is darkened, as air and walls do, by a
    moving average over five samples.
    """
    r = noise.shape[-1]
    t = torch.arange(r, device=wave.device) / sample_rate
    decay = torch.exp(-math.log(1000.0) * (t - predelay[:, None]) / rt60[:, None])
    response = noise * (decay * (t >= predelay[:, None]))[:, None]
    smooth = torch.nn.functional.avg_pool1d(response, 5, 1, 2)
    smooth = smooth / smooth.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-8)
    wet = _convolve(wave, smooth)[..., : wave.shape[-1]]
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
