"""Stretches of a song whose vocals come from another seed, all other samples staying as they are, bit by bit."""

from collections.abc import Iterator, Sequence

import numpy as np

# Seconds in which the old passes into the new, inside the stretch.
_FADE = 0.01


def in_step(streams: Sequence[Iterator[np.ndarray]]) -> Iterator[list[np.ndarray]]:
    """Blocks ``(C, T)`` of equal lengths, one of each of several streams of one length in all."""
    pending = [next(stream) for stream in streams]
    while True:
        for number, stream in enumerate(streams):
            while not pending[number].shape[1]:
                block = next(stream, None)
                if block is None:
                    return
                pending[number] = block
        length = min(block.shape[1] for block in pending)
        yield [block[:, :length] for block in pending]
        pending = [block[:, length:] for block in pending]


def renewed(
    vocals: Iterator[np.ndarray],
    others: Sequence[Iterator[np.ndarray]],
    stretches: Sequence[tuple[float, float, int]],
    sample_rate: int,
) -> Iterator[np.ndarray]:
    """``vocals``, blocks ``(C, T)``, with each of the ``stretches`` (from, to in seconds, seed) taken from its own of
    the ``others``, later ones over earlier ones.

    Inside a stretch the first and last 10 ms, at most a half each, are cross-faded; outside nothing is computed.
    """
    position = 0
    for block, *news in in_step([vocals, *others]):
        out = block.copy()
        for (start, end, _), new in zip(stretches, news, strict=True):
            first, last = round(start * sample_rate), round(end * sample_rate)
            inside = slice(max(0, first - position), max(0, last - position))
            place = np.arange(position, position + out.shape[1])[inside]
            fade = max(1.0, min(_FADE * sample_rate, (last - first) / 2))
            share = np.clip(np.minimum(place + 1 - first, last - place) / fade, 0, 1).astype(np.float32)
            faded = out[:, inside] + share * (new[:, inside] - out[:, inside])
            # The sum of a difference is not always what was taken off.
            out[:, inside] = np.where(share < 1, faded, new[:, inside])
        position += out.shape[1]
        yield out
