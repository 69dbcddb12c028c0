"""Vocals that another separator made, read in step with the mixture that it made them of."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ldm_sep.audio import AudioReader, probe
from ldm_sep.audio.resample import LENGTH_TOLERANCE, StreamResampler
from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.files import shown
from ldm_sep.separation.windowed import BLOCK

if TYPE_CHECKING:
    from ldm_sep.separation.separator import Separator

# Seconds by which lengths may differ: what conversions of the rate and encoders add or take. More means another song,
# another cut, or vocals that begin at another time.
_TOLERANCE = 0.005
# Seconds by which the length in a lossy file's header may be wrong.
DECLARED_TOLERANCE = 0.2


def require_predictor(separator: "Separator") -> None:
    """ConfigError if the checkpoint has no predictor, beside whose estimate another's could stand."""
    if separator.model.predictor is None:
        raise ConfigError(
            f"{separator.name}: has no predictor, whose estimate others could join; choose a checkpoint with one: open"
        )


def check_length(path: Path, seconds: float, song: Path, wanted: float, tolerance: float = _TOLERANCE) -> None:
    """AudioError unless the estimate at ``path`` is as long as its ``song``, to ``tolerance``; all in seconds."""
    if abs(seconds - wanted) > tolerance:
        raise AudioError(
            f"{shown(path)}: has {seconds:.3f} s and {shown(song)} {wanted:.3f} s; "
            "name vocals that were made of this very file"
        )


def check_declared(estimates: Iterable[Path], songs: Iterable[Path]) -> None:
    """AudioError if an estimate cannot be opened, or by its header is far longer or shorter than its song: a mistake in
    names, told before any work. `check_length` is exact, once both have been read.
    """
    for path, song in zip(estimates, songs, strict=True):
        given = probe(path)
        try:
            info = probe(song)
        except AudioError:
            # One bad song does not stop the rest; it is told of when its turn comes.
            continue
        if info.frames is not None and given.frames is not None:
            check_length(
                path, given.frames / given.sample_rate, song, info.frames / info.sample_rate, DECLARED_TOLERANCE
            )


def read_in_step(reader: AudioReader, rate: int, channels: int, first: int, frames: int) -> Iterator[np.ndarray]:
    """Blocks ``(channels, T)`` at ``rate`` Hz of the estimate that ``reader`` has at its beginning: ``frames`` samples
    from ``first`` on, zeros beyond its end. Mono is doubled, stereo averaged, where ``channels`` are others.
    """
    resampler = StreamResampler(reader.info.sample_rate, rate, channels)

    def converted() -> Iterator[np.ndarray]:
        for block in reader.blocks(BLOCK):
            if block.shape[0] > channels:
                block = block.mean(0, keepdims=True)
            yield resampler.push(block.repeat(channels // block.shape[0], 0))
        yield resampler.flush()

    position = 0
    for block in converted():
        wanted = block[:, max(0, first - position) : max(0, first + frames - position)]
        position += block.shape[1]
        if wanted.shape[1]:
            yield wanted
        if position >= first + frames:
            return
    yield np.zeros((channels, frames - max(0, position - first)), np.float32)


def beside(blocks: Iterable[np.ndarray], estimate: Iterable[np.ndarray], channels: int) -> Iterator[np.ndarray]:
    """Blocks ``(2 C, T)``, the mixture's ``blocks (C, T)`` above the ``estimate``, which may be cut otherwise.

    AudioError unless the estimate has as many channels and samples; up to eight samples at its end do not matter.
    """
    given = iter(estimate)
    pending = np.zeros((channels, 0), np.float32)
    missing = 0
    for block in blocks:
        pieces, there = [pending], pending.shape[1]
        while there < block.shape[1] and (piece := next(given, None)) is not None:
            if piece.shape[0] != channels:
                raise AudioError(f"the estimate: {piece.shape[0]} channels, and the mixture has {channels}")
            pieces.append(piece)
            there += piece.shape[1]
        ready = np.concatenate(pieces, 1)
        lacking = max(0, block.shape[1] - ready.shape[1])
        missing += lacking
        if missing > LENGTH_TOLERANCE:
            raise AudioError("the estimate: ends before the mixture; give the vocals of the same samples")
        ready = np.pad(ready, ((0, 0), (0, lacking)))
        pending = ready[:, block.shape[1] :]
        yield np.concatenate([block, ready[:, : block.shape[1]]])
    if pending.shape[1] + sum(piece.shape[1] for piece in given) > LENGTH_TOLERANCE:
        raise AudioError("the estimate: is longer than the mixture; give the vocals of the same samples")
