"""A stream through something that works on windows at a sample rate of its own, in memory that does not grow."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from ldm_sep.audio.resample import StreamResampler, of_length
from ldm_sep.signal.windows import CrossFader, Window, Windower

# Samples. Bounds the memory of blocks read at any sample rate.
BLOCK = 65536


def through_windows(
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    channels: int,
    *,
    windower: Windower,
    rate: int,
    act: Callable[[Iterator[Window]], Iterable[np.ndarray]],
    signals: int = 1,
    outputs: int = 1,
) -> Iterator[np.ndarray]:
    """Blocks ``(C, T)`` float32 of one signal in, blocks of what ``act`` makes of it out, as they become ready.

    The signal is converted from ``sample_rate`` to ``rate`` (Hz), mono is doubled where ``windower`` cuts stereo, and
    ``act`` gives an output for each window, in order; it may take several windows before the first. Outputs are
    cross-faded and converted back. All output together has the rate, channels and exact length of the input, and does
    not depend on how the input is cut into blocks. With several ``signals`` blocks and windows hold one above the
    other. So do outputs and what is given, which are ``outputs`` signals.
    """
    there = StreamResampler(sample_rate, rate, signals * channels)
    back = StreamResampler(rate, sample_rate, outputs * channels)
    fader = CrossFader(windower.fade_length)
    copies = windower.channels // signals if channels == 1 else 1
    taken = given = 0

    waiting: deque[Window] = deque()

    def windows() -> Iterator[Window]:
        nonlocal taken
        for block in blocks:
            taken += block.shape[1]
            yield from windower.push(there.push(block).repeat(copies, 0))
        yield from windower.push(there.flush().repeat(copies, 0))
        yield from windower.flush()

    def kept() -> Iterator[Window]:
        for window in windows():
            # Where it belongs; its samples are of no use any more once its output is there.
            waiting.append(replace(window, wave=np.empty((windower.channels, 0), np.float32)))
            yield window

    for output in act(kept()):
        faded = fader.add(waiting.popleft(), output)
        # The mean of both channels of a doubled mono signal is mono again.
        out = back.push(faded if copies == 1 else faded.reshape(outputs, copies, -1).mean(1))
        given += out.shape[1]
        yield out
    # Two roundings of the length may leave the way back a sample or two short or long.
    yield of_length(back.flush(), taken - given)
