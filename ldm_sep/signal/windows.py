"""A stream cut into overlapping windows and put together again.

With segment S, overlap O and step H = S - O, window k starts at k H. Of the overlap, the outer quarters are thrown
away, since there a window lacks context on one side, and the middle half is cross-faded (sin^2 + cos^2 = 1). What is
left at the end is shared by the last two windows, both of one length: together they see nothing more than once but the
overlap, and neither lacks context more than the other. A stream no longer than S is one window.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Shorter windows than this starve the U-Net's deepest level.
_MIN_FRAMES = 32


@dataclass(frozen=True)
class Window:
    """``wave (C, L)`` from absolute sample ``start`` on; its output counts from ``fade`` (cross-faded) up to
    ``end``.
    """

    start: int
    wave: np.ndarray
    fade: int
    end: int


class Windower:
    """Cuts a stream of blocks ``(C, T)`` into windows, holding little more than two segments of it.

    ``segment`` and ``overlap`` in samples; all starts and lengths are multiples of ``hop``. ValueError unless
    0 <= overlap <= segment / 2.
    """

    def __init__(self, segment: int, overlap: int, hop: int, channels: int) -> None:
        self.hop, self.channels = hop, channels
        if not 0 <= overlap <= segment / 2:
            raise ValueError(f"the overlap {overlap} must lie between 0 and half the segment {segment}")
        self.segment = max(_MIN_FRAMES, round(segment / hop)) * hop
        # A multiple of four hops, so that the quarters are whole frames.
        self.overlap = overlap // (4 * hop) * 4 * hop
        self.step = self.segment - self.overlap
        self._blocks: list[np.ndarray] = []
        self._held = self._next = 0

    @property
    def fade_length(self) -> int:
        """Samples of a cross-fade."""
        return self.overlap // 2

    def push(self, block: np.ndarray) -> Iterator[Window]:
        """Take in the next samples; yields the windows they complete, but for those that may be of the last two."""
        self._blocks.append(block)
        self._held += block.shape[1]
        while self._held > self.step + self.segment:
            yield self._cut(self.segment, self.step)

    def flush(self) -> Iterator[Window]:
        """The last windows, if the stream had any samples."""
        frames = -(-self._held // self.hop)
        if frames * self.hop > self.segment:
            shared = max(_MIN_FRAMES, -(-(frames + self.overlap // self.hop) // 2))
            yield self._cut(shared * self.hop, (frames - shared) * self.hop)
            frames = shared
        if frames:
            yield self._cut(max(frames, _MIN_FRAMES) * self.hop)

    def _cut(self, length: int, step: int | None = None) -> Window:
        """The next window; the one after it starts ``step`` samples later, unless this is the last."""
        held = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks, 1)
        # A copy: a view would keep all that is held here in memory for as long as the window is in use.
        wave = held[:, :length].copy()
        if wave.shape[1] < length:
            wave = np.pad(wave, ((0, 0), (0, length - wave.shape[1])))
        start, edge = self._next, self.overlap // 4
        end = start + (self._held if step is None else step + edge)
        self._blocks, self._held, self._next = [held[:, step:]], self._held - (step or 0), start + (step or 0)
        return Window(start, wave, start + edge if start else 0, end)


class CrossFader:
    """Joins what was computed for the windows, in order, into the stream."""

    def __init__(self, fade_length: int) -> None:
        ramp = np.sin(np.pi / 2 * (np.arange(fade_length) + 0.5) / max(1, fade_length)) ** 2
        self._ramp = ramp.astype(np.float32)
        self._tail: np.ndarray | None = None

    def add(self, window: Window, output: np.ndarray) -> np.ndarray:
        """``output (C, L)`` for ``window``; returns the samples from ``window.fade`` to ``window.end`` (C, T)."""
        kept = output[:, window.fade - window.start : window.end - window.start].copy()
        if self._tail is not None:
            n = min(self._tail.shape[1], kept.shape[1])
            ramp = self._ramp[:n]
            # Both halves by one ramp: equal outputs come out unchanged, to the bit for powers of two and zero.
            kept[:, :n] = self._tail[:, :n] + ramp * (kept[:, :n] - self._tail[:, :n])
        after = window.end - window.start
        self._tail = output[:, after : after + len(self._ramp)].copy()
        return kept
