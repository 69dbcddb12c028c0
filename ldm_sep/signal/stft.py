"""The short-time Fourier transform and its inverse, a few frames at a time.

All frames of a song's window are many times as large as a processor's cache. When a few frames at a time go through
all steps, what lies between the steps stays in the cache.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

# Frames in a run: few enough that their spectra stay in the cache.
RUN = 32


def stft_runs(wave: Tensor, window: Tensor, hop: int) -> list[Tensor]:
    """The spectra of ``wave (..., T)`` in runs of `RUN` frames, each complex (..., frames, W // 2 + 1).

    The ``window (W,)`` of frame k is centred on the sample k ``hop``, k from 0 to T // hop; beyond its ends the wave is
    taken as zero.
    """
    half = len(window) // 2
    frames = F.pad(wave, (half, half)).unfold(-1, len(window), hop)
    # One piece of memory for all: many small ones would lie between what is freed, which could not be used again.
    spectra = wave.new_empty(*frames.shape[:-1], half + 1, dtype=torch.complex64)
    for i in range(0, frames.shape[-2], RUN):
        spectra[..., i : i + RUN, :] = torch.fft.rfft(frames[..., i : i + RUN, :] * window)
    return list(spectra.split(RUN, -2))


def istft_runs(runs: Iterable[Tensor], window: Tensor, hop: int, length: int) -> Tensor:
    """The wave (..., ``length``) whose frames are closest to ``runs`` of spectra, as `stft_runs` gives them, in the
    sense of least squares (Griffin & Lim 1984). Spectra of a wave give that wave. ``window (W,)``, ``hop``: as there.

    ValueError unless the runs have ``length`` // ``hop`` + 1 frames.
    """
    frames = length // hop + 1
    envelope = window.new_zeros(_blocks(frames, window, hop), hop)
    _overlap_add(envelope, 0, window.square().expand(frames, -1))
    wave, first = None, 0
    for run in runs:
        if wave is None:
            wave = window.new_zeros(*run.shape[:-2], *envelope.shape)
        _overlap_add(wave, first, torch.fft.irfft(run, len(window)) * window)
        first += run.shape[-2]
    if wave is None or first != frames:
        raise ValueError(f"{length} samples have {frames} frames, not {first}")
    inside = slice(len(window) // 2, len(window) // 2 + length)
    return wave.flatten(-2)[..., inside] / envelope.flatten()[inside]


def _blocks(frames: int, window: Tensor, hop: int) -> int:
    """How many hops ``frames`` cover."""
    return frames - 1 + -(-len(window) // hop)


def _overlap_add(wave: Tensor, first: int, frames: Tensor) -> None:
    """Add ``frames (..., n, W)``, the first of which starts at block ``first``, to ``wave (..., blocks, hop)``."""
    for offset, piece in enumerate(frames.split(wave.shape[-1], -1)):
        start = first + offset
        wave[..., start : start + frames.shape[-2], : piece.shape[-1]] += piece
