"""Scoring one track: its files are read once, its reference is analysed once, every system is measured against it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ldm_sep.errors import AudioError, LdmSepError
from ldm_sep.evaluate.baselines import codec_round_trip, irm, karaoke, silence
from ldm_sep.evaluate.excerpt import Excerpt, draw_sheet, loudest_part, write_players
from ldm_sep.evaluate.rows import Row
from ldm_sep.evaluate.task import CodecFiles, Result, Sheet, SheetFiles, Task
from ldm_sep.evaluate.waves import Wave, read_wave
from ldm_sep.files import shown
from ldm_sep.metrics import Reference, Score, scorers

if TYPE_CHECKING:
    from ldm_sep.codec.base import Codec
    from ldm_sep.config import SamplingConfig

# The lowest rate that the metrics take.
_LOWEST_RATE = 8000


@dataclass(frozen=True)
class _Undefined:
    """Why there is no estimate, where that is nobody's mistake."""

    reason: str


@dataclass(frozen=True)
class CodecCache:
    """The codecs of a process, each loaded once."""

    loaded: dict[CodecFiles, tuple[Codec, SamplingConfig]] = field(default_factory=dict)

    def take(self, files: CodecFiles) -> tuple[Codec, SamplingConfig]:
        """The codec of a checkpoint, and how it is used there. CheckpointError if it cannot be loaded."""
        if files not in self.loaded:
            from ldm_sep.checkpoint.reading import load_codec

            manifest, codec, _ = load_codec(files.folder, files.weights)
            self.loaded[files] = codec, manifest.config.sampling
        return self.loaded[files]


def score_track(task: Task, cache: CodecCache) -> Iterator[Result]:
    """A row for each of ``task.wanted``, in order, then the sheet if one is wanted.

    Never raises: what goes wrong becomes an error of its row.
    """
    started = time.perf_counter()
    try:
        track = _read_track(task, cache)
        excerpt = loudest_part(track.reference.samples, track.reference.rate)
    except Exception as error:
        for system, _ in task.wanted:
            yield Row(task.track.name, system, task.keys[system], {}, _line(error), 0.0)
        if task.sheet:
            # The error is told by the rows, or by the sheet if no row was wanted.
            yield Sheet(task.track.name, None if task.wanted else _line(error))
        return
    excerpts: dict[str, np.ndarray] = {}
    wanted = {system for system, _ in task.wanted}
    only_shown = [(system, ()) for system in task.systems if task.sheet and system not in wanted]
    for system, metrics in (*task.wanted, *only_shown):
        scores: dict[str, Score] = {}
        failed: dict[str, str] = {}
        fault = None
        try:
            estimate = track.estimate(system)
            if isinstance(estimate, _Undefined):
                scores = {key: Score(None, estimate.reason) for key in metrics}
            else:
                if metrics:
                    scores, failed = track.measure(estimate, metrics)
                if task.sheet:
                    excerpts[system] = estimate[:, excerpt]
            del estimate
        except Exception as error:
            fault = _line(error)
        if system in wanted:
            seconds = round(time.perf_counter() - started, 3)
            yield Row(task.track.name, system, task.keys[system], scores, fault, seconds, failed)
        started = time.perf_counter()
    if task.sheet:
        yield _draw(task.sheet, track, excerpt, excerpts)


def _draw(files: SheetFiles, track: _Track, excerpt: slice, excerpts: dict[str, np.ndarray]) -> Sheet:
    task, reference, mixture = track.task, track.reference, track.mixture
    waves = {"mixture": mixture.samples[:, excerpt]} if mixture else {}
    waves |= {"reference": reference.samples[:, excerpt]}
    # The baseline `mixture` would show the mixture twice.
    waves |= {system: excerpts[system] for system in task.systems if system in excerpts and system != "mixture"}
    part = Excerpt(task.track.name, waves, reference.rate, excerpt.start / reference.rate)
    try:
        write_players(files.players, part, task.systems)
        # The sheet is written last: where it exists, the players do too.
        draw_sheet(files.picture, part)
    except Exception as error:
        return Sheet(task.track.name, f"the excerpt of '{shown(task.track.name)}': {_line(error)}")
    return Sheet(task.track.name, None)


def _read_track(task: Task, cache: CodecCache) -> _Track:
    reference = read_wave(task.track.reference)
    if reference.rate < _LOWEST_RATE:
        raise AudioError(f"{reference.path}: {reference.rate} Hz is too low to score; use {_LOWEST_RATE} Hz or more")
    mixture, fault = None, None
    if task.track.mixture is not None:
        try:
            mixture = read_wave(task.track.mixture, reference)
        except LdmSepError as error:
            fault = error
    if task.stem == "vocals":
        return _Track(task, reference, reference, mixture, fault, cache)
    if mixture is None:
        raise fault or _no_mixture(reference.path)
    length = min(mixture.samples.shape[1], reference.samples.shape[1])
    rest = mixture.samples[:, :length] - reference.samples[:, :length]
    return _Track(task, reference, Wave(mixture.path, rest, reference.rate), mixture, fault, cache)


def _no_mixture(path: Path) -> AudioError:
    return AudioError(f"{shown(path)}: has no mixture; add --mixtures")


@dataclass(frozen=True)
class _Track:
    """A track's files. ``reference`` is what is scored: the true ``vocals``, or the mixture without them."""

    task: Task
    vocals: Wave
    reference: Wave
    mixture: Wave | None
    mixture_fault: Exception | None
    cache: CodecCache
    # By length, since an estimate may be some samples shorter.
    analysed: dict[int, Reference] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Samples that reference and mixture both have."""
        return min(wave.samples.shape[1] for wave in (self.reference, self.mixture) if wave is not None)

    def estimate(self, system: str) -> np.ndarray | _Undefined:
        """The estimate (C, T) of the task's stem by a system: of files and baselines that have vocals alone, what they
        leave of the mixture.
        """
        found = self._vocals_by(system)
        if isinstance(found, _Undefined) or self.task.stem == "vocals" or system in ("mixture", "silence"):
            return found
        if self.mixture is None:
            raise _no_mixture(self.vocals.path)
        length = min(found.shape[1], self.length)
        return self.mixture.samples[:, :length] - found[:, :length]

    def _vocals_by(self, system: str) -> np.ndarray | _Undefined:
        path = self.task.track.estimates.get(system)
        truth = self.vocals.samples[:, : self.length]
        if path is not None:
            return read_wave(path, self.vocals).samples
        if system in self.task.codecs:
            if truth.shape[0] > 2:
                return _Undefined(f"the codec takes one or two channels, not {truth.shape[0]}")
            codec, used = self.cache.take(self.task.codecs[system])
            return codec_round_trip(codec, truth, self.reference.rate, segment=used.segment, overlap=used.overlap)
        if system == "silence":
            return silence(truth)
        if self.mixture is None:
            raise self.mixture_fault or _no_mixture(self.vocals.path)
        mixture = self.mixture.samples[:, : self.length]
        if system == "irm":
            return irm(truth, mixture)
        if system == "karaoke":
            if mixture.shape[0] != 2:
                return _Undefined(f"the karaoke trick needs two channels, the mixture has {mixture.shape[0]}")
            return karaoke(mixture)
        return mixture

    def measure(self, estimate: np.ndarray, metrics: tuple[str, ...]) -> tuple[dict[str, Score], dict[str, str]]:
        """Scores by metric, and why other metrics failed: where one does, the others have their values."""
        length = min(estimate.shape[1], self.length)
        if length not in self.analysed:
            wave = self.reference.samples[:, :length]
            self.analysed[length] = Reference.pcm16(wave, self.reference.rate)
        mixture = None if self.mixture is None else self.mixture.samples[:, :length]
        calls = scorers(self.analysed[length], estimate[:, :length], self.reference.rate, mixture)
        scores: dict[str, Score] = {}
        failed: dict[str, str] = {}
        for key in metrics:
            try:
                score = calls[key]()
            except Exception as error:
                failed[key] = _line(error)
                continue
            if score.value is not None and not np.isfinite(score.value):
                score = Score(None, f"the value is not finite ({score.value})")
            if key in ("air", "bleed") and score.value is None and self.mixture_fault is not None:
                score = Score(None, f"no mixture: {self.mixture_fault}")
            scores[key] = Score(None if score.value is None else float(score.value), score.reason)
        return scores, failed


def _line(error: Exception) -> str:
    """An error in one line; what no user can mend is named by its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, LdmSepError) else f"{type(error).__name__}: {text}"
