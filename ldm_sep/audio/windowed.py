"""A stream through something that works on windows at a sample rate of its own, in memory that does not grow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from ldm_sep.audio.resample import StreamResampler
from ldm_sep.signal.windows import CrossFader, Window, Windower


def through_windows(
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    channels: int,
    *,
    windower: Windower,
    rate: int,
    act: Callable[[Sequence[Window]], Iterable[np.ndarray]],
    together: int = 1,
) -> Iterator[np.ndarray]:
    """Blocks ``(C, T)`` float32 of one signal in, blocks of what ``act`` makes of it out, as they become ready.

    The signal is converted from ``sample_rate`` to ``rate`` (Hz), mono is doubled where ``windower`` cuts stereo, and
    ``act`` gets up to ``together`` windows at a time and gives an output of each one's shape. These are cross-faded and
    converted back. All output together has the rate, channels and exact length of the input, and does not depend on how
    the input is cut into blocks.
    """
    there, back = StreamResampler(sample_rate, rate, channels), StreamResampler(rate, sample_rate, channels)
    fader = CrossFader(windower.fade_length)
    copies = windower.channels if channels == 1 else 1
    taken = given = 0

    def windows() -> Iterator[Window]:
        nonlocal taken
        for block in blocks:
            taken += block.shape[1]
            yield from windower.push(there.push(block).repeat(copies, 0))
        yield from windower.push(there.flush().repeat(copies, 0))
        yield from windower.flush()

    source = windows()
    while group := list(islice(source, together)):
        for window, output in zip(group, act(group), strict=True):
            faded = fader.add(window, output)
            # The mean of both channels of a doubled mono signal is mono again.
            out = back.push(faded if channels == windower.channels else faded.mean(0, keepdims=True))
            given += out.shape[1]
            yield out
    rest, missing = back.flush(), taken - given
    # Two roundings of the length may leave the way back a sample or two short or long.
    yield np.pad(rest[:, :missing], ((0, 0), (0, max(0, missing - rest.shape[1]))))
