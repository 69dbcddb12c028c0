"""Estimates that need no separator: oracles, which know the true vocals, and the simplest things one could do.

All take and give waves float32 ``(C, T)`` at one sample rate, as numpy arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ldm_sep.codec.base import Codec

_FFT, _HOP = 2048, 512
# Frames transformed together: bounds the memory of a long track.
_BLOCK = 256
# -100 dBFS: a window whose loudest sample is below it holds nothing to code.
_SILENCE = 1e-5


def irm(reference: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """The ideal ratio mask's estimate: M = |V| / (|V| + |A|) on the mixture's STFT, A that of mixture - reference.

    Amplitude ratio, every channel by itself, periodic Hann window of 2048 samples, hop 512; the inverse is the
    least-squares one (Griffin & Lim 1984). ValueError where the shapes differ.
    """
    if reference.shape != mixture.shape or reference.ndim != 2:
        raise ValueError(f"the waves have the shapes {reference.shape} and {mixture.shape}; expected (C, T) twice")
    return np.stack([_mask_channel(v, x) for v, x in zip(reference, mixture, strict=True)])


def _mask_channel(vocals: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)).astype(np.float32)
    total = len(mixture)
    overlap = _FFT // _HOP
    # With zeros around, every sample lies in as many frames, and the squared windows add up to a constant.
    before = _FFT - _HOP
    frames = -(-(total + before) // _HOP)
    signals = np.zeros((2, (frames + overlap - 1) * _HOP), np.float32)
    signals[0, before : before + total] = vocals
    signals[1, before : before + total] = mixture
    pieces = np.lib.stride_tricks.sliding_window_view(signals, _FFT, axis=1)[:, ::_HOP]
    out = np.zeros((frames + overlap - 1, _HOP), np.float32)
    for first in range(0, frames, _BLOCK):
        v, x = np.fft.rfft(pieces[:, first : first + _BLOCK] * window)
        loud = np.abs(v)
        mask = loud / np.maximum(loud + np.abs(x - v), np.finfo(np.float32).tiny)
        masked = (np.fft.irfft(mask * x, _FFT) * window).reshape(-1, overlap, _HOP)
        for k in range(overlap):
            out[first + k : first + k + len(masked)] += masked[:, k]
    return out.reshape(-1)[before : before + total] / np.square(window[::_HOP]).sum()


def karaoke(mixture: np.ndarray) -> np.ndarray:
    """What the karaoke trick takes away: (L + R) / 2 in both channels.

    The trick cancels the centre: its accompaniment is the side signal ((L - R) / 2, (R - L) / 2), so the vocals it
    implies are the mixture without that. ValueError unless the mixture is stereo.
    """
    if mixture.ndim != 2 or mixture.shape[0] != 2:
        raise ValueError(f"the karaoke trick needs two channels, not a wave of shape {mixture.shape}")
    centre = mixture.mean(0, dtype=np.float32)
    return np.stack([centre, centre])


def silence(reference: np.ndarray) -> np.ndarray:
    """Zeros of the reference's shape."""
    return np.zeros_like(reference)


def codec_round_trip(
    codec: Codec, reference: np.ndarray, sample_rate: int, *, segment: float = 12.0, overlap: float = 0.2
) -> np.ndarray:
    """The true vocals encoded and decoded: the ceiling of everything that ``codec`` decodes.

    ``sample_rate`` in Hz is that of ``reference`` (C, T), C 1 or 2; it is converted to the codec's and back. As in
    separation, the codec sees cross-faded windows of ``segment`` seconds, ``overlap`` of each shared with the next,
    brought to the level it was made for, which is undone after decoding; a window below -100 dBFS stays silent.
    ValueError for other channels.
    """
    import torch

    from ldm_sep.audio import StreamResampler, resample
    from ldm_sep.method.level import coding_gain
    from ldm_sep.signal.windows import CrossFader, Windower

    channels, total = reference.shape
    if channels not in (1, codec.channels):
        raise ValueError(f"the codec codes {codec.channels} channels, the wave has {channels}")
    rate = codec.sample_rate
    windower = Windower(round(segment * rate), round(segment * rate * overlap), codec.hop, codec.channels)
    fader = CrossFader(windower.fade_length)
    back = StreamResampler(rate, sample_rate, channels)
    wave = resample(reference, sample_rate, rate)
    if channels != codec.channels:
        wave = np.repeat(wave, codec.channels, 0)
    parts = []
    with torch.inference_mode():
        for window in (*windower.push(wave), *windower.flush()):
            decoded = np.zeros_like(window.wave)
            if np.abs(window.wave).max() >= _SILENCE:
                piece = torch.from_numpy(window.wave)[None]
                gain = coding_gain(codec, piece)
                decoded = (codec.decode(codec.encode(piece * gain)) / gain)[0].numpy()
            kept = fader.add(window, decoded)
            parts.append(back.push(kept if channels == codec.channels else kept.mean(0, keepdims=True)))
    parts.append(back.flush())
    out = np.concatenate(parts, 1)[:, :total]
    # Two roundings of the length may leave it a sample or two short.
    return np.pad(out, ((0, 0), (0, total - out.shape[1])))
