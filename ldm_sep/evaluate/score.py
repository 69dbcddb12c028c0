"""Scoring one track: its files are read once, its reference is analysed once, every system is measured against it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ldm_sep.audio import AudioReader
from ldm_sep.errors import AudioError, LdmSepError
from ldm_sep.evaluate.baselines import codec_round_trip, irm, karaoke, silence
from ldm_sep.evaluate.rows import Row
from ldm_sep.evaluate.sheet import Excerpt, draw_sheet, loudest_part
from ldm_sep.evaluate.task import CodecFiles, Result, Sheet, Task
from ldm_sep.files import shown
from ldm_sep.metrics import Reference, Score, measure

if TYPE_CHECKING:
    from ldm_sep.codec.base import Codec

# What the metrics take.
_LOWEST_RATE = 8000
# Floats scaled as integers are, which rounding to 16 bits would clip all over.
_HIGHEST_PEAK = 100.0


@dataclass(frozen=True)
class _Undefined:
    """Why there is no estimate, where that is nobody's mistake."""

    reason: str


@dataclass(frozen=True)
class _LoadedCodec:
    codec: Codec
    segment: float
    overlap: float


@dataclass(frozen=True)
class CodecShelf:
    """The codecs of a process, each loaded once."""

    loaded: dict[CodecFiles, _LoadedCodec] = field(default_factory=dict)

    def take(self, files: CodecFiles) -> _LoadedCodec:
        """The codec of a checkpoint, with the windows it is used in. CheckpointError if it cannot be loaded."""
        if files not in self.loaded:
            from ldm_sep.checkpoint.reading import load_codec

            manifest, codec, _ = load_codec(files.folder, files.weights)
            sampling = manifest.config.sampling
            self.loaded[files] = _LoadedCodec(codec, sampling.segment, sampling.overlap)
        return self.loaded[files]


@dataclass(frozen=True)
class _Wave:
    path: Path
    samples: np.ndarray
    rate: int


def _read(path: Path, like: _Wave | None = None) -> _Wave:
    """A whole file; AudioError if it does not have the rate, channels and length of ``like``."""
    with AudioReader(path) as reader:
        info = reader.info
        if like is not None:
            _compare(path, "Hz", info.sample_rate, like, like.rate, "resample it to the rate of the reference")
            _compare(path, "channels", info.channels, like, like.samples.shape[0], "export it with as many channels")
        samples = reader.take(2**62)
    peak = float(np.abs(samples).max(initial=0))
    if peak > _HIGHEST_PEAK:
        raise AudioError(f"{shown(path)}: samples of up to {peak:.3g}, where full scale is 1; export it again")
    if not samples.shape[1]:
        raise AudioError(f"{shown(path)}: holds no samples; fetch or export the file again")
    if like is not None:
        remedy = "export it over the whole length, lossless if a lossy format changed it"
        _compare(path, "samples per channel", samples.shape[1], like, like.samples.shape[1], remedy)
    return _Wave(path, samples, info.sample_rate)


def _compare(path: Path, unit: str, value: int, like: _Wave, wanted: int, remedy: str) -> None:
    if value != wanted:
        raise AudioError(f"{shown(path)}: {value} {unit}, but {shown(like.path)} has {wanted}; {remedy}")


def score_track(task: Task, shelf: CodecShelf) -> Iterator[Result]:
    """A row for each system of ``task.wanted``, in order, then the sheet if one is wanted.

    Never raises: what goes wrong becomes an error of its row.
    """
    started = time.perf_counter()
    mixture_fault: Exception | None = None
    mixture: _Wave | None = None
    try:
        reference = _read(task.track.reference)
        if reference.rate < _LOWEST_RATE:
            raise AudioError(
                f"{shown(reference.path)}: {reference.rate} Hz is too low to score; use {_LOWEST_RATE} Hz or more"
            )
        if task.track.mixture is not None:
            try:
                mixture = _read(task.track.mixture, reference)
            except LdmSepError as error:
                mixture_fault = error
        analysed = Reference.pcm16(reference.samples, reference.rate)
        part = loudest_part(reference.samples, reference.rate)
    except Exception as error:
        for system in task.wanted:
            yield Row(task.track.name, system, task.keys[system], {}, _line(error), 0.0)
        if task.sheet:
            # The rows have said why there is none, unless all of them were there already.
            yield Sheet(task.track.name, None if task.wanted else _line(error))
        return
    track = _Track(task, reference, mixture, mixture_fault, shelf)
    excerpts: dict[str, np.ndarray] = {}
    for system in (*task.wanted, *(s for s in task.systems if task.sheet and s not in task.wanted)):
        wanted = task.wanted.get(system, ())
        scores: dict[str, Score] = {}
        fault: str | None = None
        try:
            estimate = track.estimate(system)
            if isinstance(estimate, _Undefined):
                scores = {key: Score(None, estimate.reason) for key in wanted}
            else:
                if wanted:
                    scores = track.measure(analysed, estimate, wanted)
                if task.sheet:
                    excerpts[system] = estimate[:, part].mean(0)
            del estimate
        except Exception as error:
            fault = _line(error)
        if system in task.wanted:
            seconds = round(time.perf_counter() - started, 3)
            yield Row(task.track.name, system, task.keys[system], {} if fault else scores, fault, seconds)
        started = time.perf_counter()
    if task.sheet:
        waves = {"mixture": mixture.samples[:, part].mean(0)} if mixture else {}
        waves |= {"reference": reference.samples[:, part].mean(0)}
        # The mixture as a baseline is there already.
        waves |= {system: excerpts[system] for system in task.systems if system in excerpts and system != "mixture"}
        try:
            draw_sheet(task.sheet, Excerpt(task.track.name, waves, reference.rate, part.start / reference.rate))
            yield Sheet(task.track.name, None)
        except Exception as error:
            yield Sheet(task.track.name, f"the spectrogram sheet of '{shown(task.track.name)}': {_line(error)}")


@dataclass(frozen=True)
class _Track:
    task: Task
    reference: _Wave
    mixture: _Wave | None
    mixture_fault: Exception | None
    shelf: CodecShelf

    def estimate(self, system: str) -> np.ndarray | _Undefined:
        """The estimate (C, T) of a system: a file, or a baseline."""
        path = self.task.track.estimates.get(system)
        truth = self.reference.samples
        if path is not None:
            return _read(path, self.reference).samples
        if system in self.task.codecs:
            if truth.shape[0] > 2:
                return _Undefined(f"the codec takes one or two channels, not {truth.shape[0]}")
            shelved = self.shelf.take(self.task.codecs[system])
            return codec_round_trip(
                shelved.codec, truth, self.reference.rate, segment=shelved.segment, overlap=shelved.overlap
            )
        if system == "silence":
            return silence(truth)
        if self.mixture is None:
            raise self.mixture_fault or AudioError(f"{shown(self.reference.path)}: has no mixture; add --mixtures")
        mixture = self.mixture.samples
        if system == "irm":
            return irm(truth, mixture)
        if system == "karaoke":
            if mixture.shape[0] != 2:
                return _Undefined(f"the karaoke trick needs two channels, the mixture has {mixture.shape[0]}")
            return karaoke(mixture)
        return mixture

    def measure(self, reference: Reference, estimate: np.ndarray, metrics: tuple[str, ...]) -> dict[str, Score]:
        mixture = None if self.mixture is None else self.mixture.samples
        scores = measure(reference, estimate, self.reference.rate, mixture, metrics)
        for key, score in scores.items():
            if score.value is not None and not np.isfinite(score.value):
                scores[key] = Score(None, f"the value is not finite ({score.value})")
            if key == "bleed" and score.value is None and self.mixture_fault is not None:
                scores[key] = Score(None, f"no mixture: {self.mixture_fault}")
        return {key: Score(None if s.value is None else float(s.value), s.reason) for key, s in scores.items()}


def _line(error: Exception) -> str:
    """An error in one line; what no user can mend is named by its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, LdmSepError) else f"{type(error).__name__}: {text}"
