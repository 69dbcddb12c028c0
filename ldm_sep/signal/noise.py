"""The noise that belongs to each place of a stream."""

import numpy as np
import torch
from torch import Tensor

# Frames drawn together; part of the definition of the noise field, so changing it changes every output.
_NOISE_BLOCK = 256


def noise_field(seed: int, channels: int, start: int, frames: int) -> Tensor:
    """Standard normal noise ``(channels, frames)`` of the latent frames ``start`` to ``start + frames``, on the CPU.

    A pure function of (seed, channels, absolute frame): any cut of the stream sees the same noise at the same place.
    """
    first, last = start // _NOISE_BLOCK, (start + frames - 1) // _NOISE_BLOCK
    blocks = []
    for block in range(first, last + 1):
        key = int(np.random.SeedSequence((seed, block)).generate_state(1, np.uint64)[0] >> 1)
        generator = torch.Generator().manual_seed(key)
        blocks.append(torch.randn(channels, _NOISE_BLOCK, generator=generator))
    offset = start - first * _NOISE_BLOCK
    return torch.cat(blocks, 1)[:, offset : offset + frames]
