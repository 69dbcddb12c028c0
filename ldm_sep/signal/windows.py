"""A stream cut into overlapping windows and put together again.

With segment S, overlap O and step H = S - O, window k starts at k H. Of the overlap, the outer quarters are thrown
away, since there a window lacks context on one side, and the middle half is cross-faded (sin^2 + cos^2 = 1). The
last window is moved back to end where the stream ends; it sees more of the past, its cross-fade stays where it was.
(Shorter windows at the end would save a part of its cost, and lose up to a decibel there.) A stream shorter than S is
one short window.
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
    """Cuts a stream of blocks ``(C, T)`` into windows, holding no more than two segments of it and a block.

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
        self._origin = self._total = self._next = 0

    @property
    def fade_length(self) -> int:
        """Samples of a cross-fade."""
        return self.overlap // 2

    def push(self, block: np.ndarray) -> Iterator[Window]:
        """Take in the next samples; yields the windows they complete, but for the one that may turn out to be the
        last.
        """
        self._blocks.append(block)
        self._total += block.shape[1]
        while self._total > self._next + self.segment:
            yield self._cut(self._next, self.segment, self._next + self.step + self.overlap // 4)
            self._next += self.step

    def flush(self) -> Iterator[Window]:
        """The last window, if the stream had any samples."""
        if self._total == 0:
            return
        frames = -(-self._total // self.hop)
        length = min(self.segment, max(frames, _MIN_FRAMES) * self.hop)
        yield self._cut(max(0, frames * self.hop - length), length, self._total)

    def _cut(self, start: int, length: int, end: int) -> Window:
        held = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks, 1)
        # The last window may reach back to the start of this one, and not further.
        held, self._origin = held[:, start - self._origin :], start
        self._blocks = [held]
        # A copy: a view would keep all that is held here in memory for as long as the window is in use.
        wave = held[:, :length].copy()
        if wave.shape[1] < length:
            wave = np.pad(wave, ((0, 0), (0, length - wave.shape[1])))
        fade = self._next + self.overlap // 4 if self._next else 0
        return Window(start, wave, fade, end)


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
