"""Separation of waves, streams and files in memory that does not grow with the duration."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from ldm_sep.audio import AudioReader, AudioWriter, StreamResampler, Subtype
from ldm_sep.checkpoint.manifest import Manifest
from ldm_sep.checkpoint.names import DEFAULT_CHECKPOINT, find_checkpoint
from ldm_sep.checkpoint.reading import load_separator
from ldm_sep.config import (
    DiffusionTime,
    Overlap,
    Positive,
    PresetConfig,
    Record,
    Segment,
    Share,
    Speeds,
    checked,
)
from ldm_sep.device import choose_device
from ldm_sep.errors import AudioError, ConfigError, LdmSepError
from ldm_sep.method.model import LatentSeparator
from ldm_sep.separation.jobs import STEMS, Stem
from ldm_sep.signal.noise import noise_field
from ldm_sep.signal.windows import CrossFader, Window, Windower

# -100 dBFS: a window whose loudest sample is below it holds nothing to separate.
_SILENCE = 1e-5
# The grid of 24-bit samples. Vocals on it leave a remainder that is exact wherever the mixture is on it too.
_GRID = 2.0**23
# What a checkpoint's own defaults are called among its presets.
_DEFAULT_PRESET = "balanced"
# Bounds the memory of blocks read at any sample rate.
_BLOCK = 65536


class Cancelled(LdmSepError):  # noqa: N818 - it is no error
    """The progress callback returned False."""


@dataclass(frozen=True)
class Stems:
    """``vocals`` and ``instrumental``, float32 (C, T) at the input's rate, length and channels; they sum to the
    input.
    """

    vocals: np.ndarray
    instrumental: np.ndarray


@dataclass(frozen=True)
class Options:
    """How to separate. None takes the value of the preset, or else the checkpoint's own default.

    preset: one of the checkpoint's (`Separator.presets`), such as fast, balanced, best. steps: network calls a window
    (1 gives the posterior mean). start: t at which sampling begins; below 1 it begins from the posterior mean, at one
    more call. seed: of the noise. eta: share of fresh noise (stochastic DDIM). averages: samples whose mean is taken,
    each from noise of its own; fewer artefacts and less detail, at as many times the cost. speeds: 0.5 to 2; at each
    the predictor, where there is one, hears the mixture once, and the mean of what it hears is taken
    (`network.predictor`). segment: seconds of a window. overlap: share of it shared with the next. batch_size: windows
    computed together on a GPU; on the CPU they are computed one by one, which is as fast there and makes the result
    independent of it.
    """

    preset: str | None = None
    steps: int | None = None
    start: float | None = None
    seed: int = 0
    eta: float | None = None
    averages: int | None = None
    speeds: tuple[float, ...] | None = None
    segment: float | None = None
    overlap: float | None = None
    batch_size: int = 4


class Plan(Record):
    """`Options` with everything settled."""

    steps: Positive
    start: DiffusionTime
    seed: Annotated[int, Field(ge=0)]
    eta: Share
    averages: Positive
    speeds: Speeds
    segment: Segment
    overlap: Overlap
    batch_size: Positive


class Separator:
    """A loaded checkpoint, ready to separate. Use `Separator.load`."""

    def __init__(self, manifest: Manifest, model: LatentSeparator, device: torch.device) -> None:
        self.manifest = manifest
        self.device = device
        self.model = model.to(device).eval().requires_grad_(False)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        *,
        device: str = "auto",
        codec_weights: Path | None = None,
    ) -> "Separator":
        """Load a checkpoint by name or folder onto ``device`` (auto, cpu, cuda, cuda:N, mps).

        ``codec_weights``: the pretrained EnCodec's file, for checkpoints made on it, instead of its download.
        CheckpointError or DeviceError if either is not to be had.
        """
        chosen = choose_device(device)
        manifest, model = load_separator(find_checkpoint(checkpoint), codec_weights)
        return cls(manifest, model, chosen)

    def separate(
        self,
        wave: np.ndarray,
        sample_rate: int,
        options: Options = Options(),
        progress: Callable[[float], bool | None] | None = None,
    ) -> Stems:
        """``wave (C, T)`` or ``(T,)`` float, C 1 or 2, at ``sample_rate`` Hz; the stems have its shape.

        The same wave, options and machine give the same samples, bit by bit. ``progress(fraction)`` is called as it
        goes; returning False raises `Cancelled`. AudioError if the wave has no samples, other channels, or values
        that are not finite.
        """
        mixture = np.atleast_2d(np.asarray(wave, np.float32))
        if mixture.ndim != 2 or mixture.shape[1] == 0:
            raise AudioError(
                f"the wave has the shape {np.shape(wave)}; expected (channels, samples), at least one sample"
            )
        if not np.isfinite(mixture).all():
            raise AudioError("the wave holds values that are not finite; repair it first")
        total = mixture.shape[1]
        blocks = (mixture[:, i : i + _BLOCK] for i in range(0, total, _BLOCK))
        parts = []
        done = 0
        for part in self.stream(blocks, sample_rate, mixture.shape[0], options):
            parts.append(part)
            done += part.vocals.shape[1]
            _tell(progress, done / total)
        shape = np.shape(wave)
        return Stems(
            np.concatenate([p.vocals for p in parts], 1).reshape(shape),
            np.concatenate([p.instrumental for p in parts], 1).reshape(shape),
        )

    def separate_file(
        self,
        path: str | Path,
        out: str | Path,
        options: Options = Options(),
        *,
        stems: Sequence[Stem] = STEMS,
        suffix: Literal["wav", "flac", "mp3"] = "wav",
        subtype: Subtype | None = None,
        progress: Callable[[float], bool | None] | None = None,
        notice: Callable[[str], None] = warnings.warn,
    ) -> dict[Stem, Path]:
        """Separate a file into ``out/<stem>.<suffix>`` and return the paths. The files appear when all are complete.

        Integer formats clip a stem that passes full scale, as the remainder of a loud song may; ``notice`` is told.
        AudioError if the input cannot be read or the output cannot be written; the latter before any work.
        """
        with ExitStack() as stack:
            reader = stack.enter_context(AudioReader(path))
            info = reader.info
            self._check_channels(info.channels, str(path))
            writers: dict[Stem, AudioWriter] = {}
            for stem in stems:
                target = Path(out) / f"{stem}.{suffix}"
                writers[stem] = stack.enter_context(
                    AudioWriter(target, info.sample_rate, info.channels, subtype=subtype)
                )
            done = 0
            for part in self.stream(reader.blocks(_BLOCK), info.sample_rate, info.channels, options):
                for stem, writer in writers.items():
                    writer.write(getattr(part, stem))
                done += part.vocals.shape[1]
                _tell(progress, min(1.0, done / info.frames) if info.frames else 0.0)
        for writer in writers.values():
            if writer.clipped:
                notice(f"{writer.path}: {writer.clipped} samples beyond full scale were clipped; float wav keeps them")
        return {stem: writer.path for stem, writer in writers.items()}

    def stream(
        self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int, options: Options = Options()
    ) -> Iterator[Stems]:
        """Blocks ``(C, T)`` of one signal in, stems out as they become ready; together they have the input's length.

        What comes out does not depend on how the input is cut. AudioError unless ``channels`` is 1 or 2.
        """
        self._check_channels(channels, "the input")
        plan = self.plan(options)
        codec = self.model.codec
        rate = codec.sample_rate
        segment = round(plan.segment * rate)
        windower = Windower(segment, round(segment * plan.overlap), codec.hop, codec.channels)
        fader = CrossFader(windower.fade_length)
        there, back = StreamResampler(sample_rate, rate, channels), StreamResampler(rate, sample_rate, channels)
        waiting: list[np.ndarray] = []

        def finish(windows: list[Window]) -> Iterator[Stems]:
            for window, output in zip(windows, self._run(windows, plan), strict=True):
                vocals = fader.add(window, output)
                if channels == 1:
                    vocals = vocals.mean(0, keepdims=True)
                yield from self._remainder(back.push(vocals), waiting)

        pending: list[Window] = []
        for block in blocks:
            waiting.append(np.asarray(block, np.float32))
            for window in windower.push(_to_channels(there.push(block), codec.channels)):
                pending.append(window)
                if len(pending) == plan.batch_size:
                    yield from finish(pending)
                    pending = []
        pending += windower.push(_to_channels(there.flush(), codec.channels))
        pending += windower.flush()
        for first in range(0, len(pending), plan.batch_size):
            yield from finish(pending[first : first + plan.batch_size])
        rest = back.flush()
        # Two roundings of the length may leave the way back a sample or two short or long.
        missing = sum(b.shape[1] for b in waiting) - rest.shape[1]
        yield from self._remainder(np.pad(rest, ((0, 0), (0, max(0, missing)))), waiting)

    @staticmethod
    def _remainder(vocals: np.ndarray, waiting: list[np.ndarray]) -> Iterator[Stems]:
        """Pair vocals with the mixture samples they belong to, taken off the front of ``waiting``."""
        offset = 0
        while offset < vocals.shape[1] and waiting:
            mixture = waiting.pop(0)
            n = min(mixture.shape[1], vocals.shape[1] - offset)
            if n < mixture.shape[1]:
                waiting.insert(0, mixture[:, n:])
            voice = np.rint(vocals[:, offset : offset + n].astype(np.float64) * _GRID) / _GRID
            voice = voice.astype(np.float32)
            yield Stems(voice, mixture[:, :n] - voice)
            offset += n

    @torch.no_grad()
    def _run(self, windows: Sequence[Window], plan: Plan) -> Iterator[np.ndarray]:
        """Vocals (C, L) of each window."""
        groups: list[list[Window]] = []
        for window in windows:
            together = groups and groups[-1][0].wave.shape == window.wave.shape and self.device.type != "cpu"
            if together:
                groups[-1].append(window)
            else:
                groups.append([window])
        for group in groups:
            if all(np.abs(w.wave).max() < _SILENCE for w in group):
                yield from (np.zeros_like(w.wave) for w in group)
                continue
            vocals = self._run_batch(group, plan).cpu().numpy()
            for window, voice in zip(group, vocals, strict=True):
                yield voice if np.abs(window.wave).max() >= _SILENCE else np.zeros_like(voice)

    def _run_batch(self, group: Sequence[Window], plan: Plan) -> torch.Tensor:
        codec = self.model.codec
        starts = [w.start // codec.hop for w in group]
        frames = group[0].wave.shape[1] // codec.hop

        def noise(seed: int) -> torch.Tensor:
            fields = [noise_field(seed, codec.latent_channels, start, frames) for start in starts]
            return torch.stack(fields).to(self.device)

        def fresh(sample: int, step: int) -> torch.Tensor:
            # A field of its own for every sample and step, away from the seeds that users count up.
            return noise((plan.seed + 1) * 2**20 + (sample + 1) * 2**10 + step)

        mixture = torch.from_numpy(np.stack([w.wave for w in group])).to(self.device)
        # Further samples take fields far from those of other seeds.
        noises = [noise(plan.seed), *(noise((plan.seed + 1) * 2**20 + k) for k in range(1, plan.averages))]
        return self.model.separate(
            mixture, noises, plan.steps, start=plan.start, eta=plan.eta, speeds=plan.speeds, fresh=fresh
        )

    @property
    def presets(self) -> tuple[str, ...]:
        """Names for `Options.preset`: balanced, which is the checkpoint's default, and its others."""
        return (_DEFAULT_PRESET, *self.manifest.config.sampling.presets)

    def plan(self, options: Options) -> Plan:
        """What ``options`` come to with this checkpoint. ConfigError for a preset it does not have, and for values
        out of bounds.
        """
        sampling = self.manifest.config.sampling
        if options.preset is not None and options.preset not in self.presets:
            raise ConfigError(f"no preset '{options.preset}'; this checkpoint has: {', '.join(self.presets)}")
        preset = sampling.presets.get(options.preset or _DEFAULT_PRESET, PresetConfig())

        def choose(key: str) -> Any:
            for source in (options, preset, sampling):
                if (value := getattr(source, key)) is not None:
                    return value

        settled = {key: choose(key) for key in ("steps", "start", "eta", "averages", "speeds", "overlap")}
        segment = sampling.segment if options.segment is None else options.segment
        given = {"seed": options.seed, "batch_size": options.batch_size}
        return checked(Plan, {**settled, **given, "segment": segment}, "options")

    @staticmethod
    def _check_channels(channels: int, name: str) -> None:
        if channels not in (1, 2):
            raise AudioError(f"{name}: {channels} channels; only mono and stereo can be separated, mix it down first")


def _to_channels(wave: np.ndarray, channels: int) -> np.ndarray:
    return np.repeat(wave, channels, 0) if wave.shape[0] == 1 and channels > 1 else wave


def _tell(progress: Callable[[float], bool | None] | None, fraction: float) -> None:
    if progress is not None and progress(fraction) is False:
        raise Cancelled("separation cancelled; nothing half-written is left")
