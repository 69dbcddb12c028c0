"""Estimates that need no separator: oracles, which know the true vocals, and the simplest things one could do.

All take and give waves float32 ``(C, T)`` at one sample rate, as numpy arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ldm_sep.separation.windowed import through_windows
from ldm_sep.signal.loudness import is_silent
from ldm_sep.signal.windows import Window, Windower

if TYPE_CHECKING:
    from ldm_sep.codec.base import Codec

_FFT, _HOP = 2048, 512


def irm(reference: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """The ideal ratio mask's estimate: M = |V| / (|V| + |A|) on the mixture's STFT, A that of mixture - reference.

    Amplitude ratio, every channel by itself, periodic Hann window of 2048 samples, hop 512; the inverse is the
    least-squares one (Griffin & Lim 1984). ValueError where the shapes differ.
    """
    if reference.shape != mixture.shape or reference.ndim != 2:
        raise ValueError(f"the waves have the shapes {reference.shape} and {mixture.shape}; expected (C, T) twice")
    return np.stack([_mask_channel(v, x) for v, x in zip(reference, mixture, strict=True)])


def _mask_channel(vocals: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    import torch

    from ldm_sep.signal.stft import istft_runs, stft_runs

    window = torch.hann_window(_FFT)
    spectra = (stft_runs(torch.from_numpy(wave), window, _HOP) for wave in (vocals, mixture))
    masked = (
        x * (v.abs() / (v.abs() + (x - v).abs()).clamp_min(torch.finfo(torch.float32).tiny))
        for v, x in zip(*spectra, strict=True)
    )
    return istft_runs(masked, window, _HOP, len(mixture)).numpy()


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

    from ldm_sep.method.level import coding_gain

    channels = reference.shape[0]
    if channels not in (1, codec.channels):
        raise ValueError(f"the codec codes {codec.channels} channels, the wave has {channels}")
    rate = codec.sample_rate
    windower = Windower(round(segment * rate), int(segment * rate * overlap), codec.hop, codec.channels)

    def code(windows: Iterator[Window]) -> Iterator[np.ndarray]:
        for window in windows:
            if is_silent(window.wave):
                yield np.zeros_like(window.wave)
                continue
            piece = torch.from_numpy(window.wave)[None]
            gain = coding_gain(codec, piece)
            yield (codec.decode(codec.encode(piece * gain)) / gain)[0].numpy()

    with torch.inference_mode():
        coded = through_windows([reference], sample_rate, channels, windower=windower, rate=rate, act=code)
        return np.concatenate(list(coded), 1)
