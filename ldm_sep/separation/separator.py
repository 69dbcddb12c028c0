"""Separation of waves, streams and files in memory that does not grow with the duration."""

import math
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

import numpy as np
import torch

from ldm_sep.audio import Subtype, default_subtype
from ldm_sep.audio.samples import as_wave, checked_samples
from ldm_sep.checkpoint.manifest import Manifest
from ldm_sep.checkpoint.names import DEFAULT_CHECKPOINT, find_checkpoint
from ldm_sep.checkpoint.reading import load_separator
from ldm_sep.device import choose_device
from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.method.model import LatentSeparator
from ldm_sep.records import checked
from ldm_sep.separation.engine import WindowEngine
from ldm_sep.separation.naming import STEMS, Place, Stem, Suffix
from ldm_sep.separation.options import Options, Plan, presets, settle
from ldm_sep.separation.progress import Callback, Progress
from ldm_sep.separation.renewal import renewed
from ldm_sep.separation.sidecar import Settings
from ldm_sep.separation.song import BLOCK, separate_song
from ldm_sep.separation.windowed import through_windows
from ldm_sep.signal.windows import Windower

# The grid of 24-bit samples. Vocals on it leave a remainder that is exact wherever the mixture is on it too.
_GRID = 2.0**23
# Seconds. A damaged or crafted file of a few hundred kilobytes can hold weeks of silence.
LONGEST = 12 * 3600.0


@dataclass(frozen=True)
class Stems:
    """``vocals`` and ``instrumental``, float32 (C, T) at the input's rate, length and channels; they sum to the
    input.
    """

    vocals: np.ndarray
    instrumental: np.ndarray


class Separator:
    """A loaded checkpoint, ready to separate. Use `Separator.load`. ``name``: what it was asked for by."""

    def __init__(self, manifest: Manifest, model: LatentSeparator, device: torch.device, name: str = "") -> None:
        self.manifest = manifest
        self.name = name or manifest.config.name
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
        return cls(manifest, model, chosen, str(checkpoint))

    def separate(
        self,
        wave: np.ndarray,
        sample_rate: int,
        options: Options = Options(),
        progress: Callback | None = None,
    ) -> Stems:
        """``wave (C, T)`` or ``(T,)``, C 1 or 2, at ``sample_rate`` Hz; the stems have its shape.

        Integers are scaled by their range to [-1, 1). The same wave, options and machine give the same samples, bit by
        bit. ``progress(fraction, stage, eta)`` is called as it goes, ``eta`` being the seconds left or None; returning
        False raises `Cancelled`. AudioError if the wave has
        no samples, other channels, or values that are not finite or beyond 1e6.
        """
        mixture = as_wave(wave)
        self._check_channels(mixture.shape[0], "the wave")
        mixture = checked_samples(mixture, 0, sample_rate, "the wave")
        total = mixture.shape[1]
        blocks = (mixture[:, i : i + BLOCK] for i in range(0, total, BLOCK))
        parts = []
        done, told = 0, Progress(progress)
        with closing(self.stream(blocks, sample_rate, mixture.shape[0], options)) as stream:
            for part in stream:
                parts.append(part)
                done += part.vocals.shape[1]
                told.tell(done / total)
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
        suffix: Suffix = "wav",
        subtype: Subtype | None = None,
        bit_rate: int | None = None,
        start: float = 0.0,
        duration: float | None = None,
        longest: float | None = LONGEST,
        progress: Callback | None = None,
        notice: Callable[[str], None] = warnings.warn,
    ) -> dict[Stem, Path]:
        """Separate a file into ``out/<stem>.<suffix>`` and return the paths. The files appear together, complete, with
        `separation.json` beside them, the record of how they were made (`separation.sidecar`).

        ``start`` and ``duration`` in seconds choose a part of the song. ``bit_rate`` in kbit/s is for mp3 alone. The
        input is read once to its end before any work: ``notice`` is told of damage that it has, and that more than two
        channels are mixed down to stereo. Integer formats clip a stem that passes full scale, as the remainder of a
        loud song may; it is told of that too. AudioError if the input cannot be read, is longer than ``longest``
        seconds, ends before ``start`` or would be overwritten, or the output cannot be written or does not fit on the
        disk; ConfigError if another process writes there. All before any work.
        """
        place = Place.plain(Path(out), stems, suffix)
        settings = self.settings(
            options, suffix=suffix, subtype=subtype, bit_rate=bit_rate, start=start, duration=duration
        )
        separate_song(self, Path(path), place, settings, longest=longest, progress=Progress(progress), notice=notice)
        return place.targets

    def stream(
        self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int, options: Options = Options()
    ) -> Generator[Stems]:
        """Blocks ``(C, T)`` of one signal in, stems out as they become ready; together they have the input's length.

        What comes out does not depend on how the input is cut. Whoever stops before the end closes the generator, and
        the work that has begun ends with it. AudioError unless ``channels`` is 1 or 2.
        """
        return self.stream_by(self.plan(options), blocks, sample_rate, channels)

    def stream_by(
        self,
        plan: Plan,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        known: Iterator[np.ndarray] | None = None,
    ) -> Generator[Stems]:
        """`stream` by a ``plan`` that is settled already. ``known``: the vocals as an earlier run gave them, in blocks
        ``(C, T)``; then only ``plan.renewed`` is computed, and all else stays as it is, bit by bit.
        """
        self._check_channels(channels, "the input")
        waiting: deque[np.ndarray] = deque()

        def heard() -> Iterator[np.ndarray]:
            for block in blocks:
                waiting.append(np.asarray(block, np.float32))
                yield waiting[-1]

        copies = tee(heard(), len(plan.renewed) + (known is None))
        with ExitStack() as working:

            def vocals_of(
                copy: Iterable[np.ndarray], seed: int, within: tuple[float, float] = (0.0, math.inf)
            ) -> Iterator[np.ndarray]:
                seeded = plan.model_copy(update={"seed": seed})
                return working.enter_context(closing(self._vocals(copy, sample_rate, channels, seeded, within)))

            vocals = known if known is not None else vocals_of(copies[-1], plan.seed)
            if plan.renewed:
                others = [
                    vocals_of(copy, seed, (start, end))
                    for copy, (start, end, seed) in zip(copies, plan.renewed, strict=False)
                ]
                vocals = renewed(vocals, others, plan.renewed, sample_rate)
            # Nobody holds what has been read any more but those who are to read it.
            del copies
            for part in vocals:
                yield from _split(part, waiting)

    def _vocals(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        plan: Plan,
        within: tuple[float, float],
    ) -> Generator[np.ndarray]:
        """Vocals of a stream; ``within``: seconds beyond which zeros will do."""
        codec = self.model.codec
        segment = round(plan.segment * codec.sample_rate)
        # Rounded down, so that it stays within half of the segment.
        windower = Windower(segment, int(segment * plan.overlap), codec.hop, codec.channels)
        with WindowEngine(self.model, plan, self.device, within) as engine:
            yield from through_windows(
                blocks, sample_rate, channels, windower=windower, rate=codec.sample_rate, act=engine.run
            )

    @property
    def presets(self) -> tuple[str, ...]:
        """Names for `Options.preset`: balanced, which is the checkpoint's default, and its others."""
        return presets(self.manifest.config.sampling)

    def plan(self, options: Options) -> Plan:
        """What ``options`` come to with this checkpoint. ConfigError for a preset it does not have, and for values
        out of bounds.
        """
        plan = settle(options, self.manifest.config.sampling)
        if plan.steps == 0 and self.model.predictor is None:
            raise ConfigError("steps = 0 gives the predictor's estimate, and this checkpoint has none; use 1 or more")
        return plan

    def settings(
        self,
        options: Options,
        *,
        suffix: Suffix = "wav",
        subtype: Subtype | None = None,
        bit_rate: int | None = None,
        start: float = 0.0,
        duration: float | None = None,
    ) -> Settings:
        """Everything that decides the bytes of a song's stems, besides the song and the checkpoint, with what was left
        open filled in. ConfigError as for `plan`, and for samples or a bit rate that the files cannot have.
        """
        if bit_rate is not None and suffix != "mp3":
            raise ConfigError(f"a bit rate is for mp3; {suffix} has none, leave it out")
        table = {
            "plan": self.plan(options).model_dump(),
            "suffix": suffix,
            "subtype": subtype or default_subtype(suffix),
            "bit_rate": bit_rate,
            "start": start,
            "duration": duration,
        }
        return checked(Settings, table, "options")

    @staticmethod
    def _check_channels(channels: int, name: str) -> None:
        if channels not in (1, 2):
            raise AudioError(f"{name}: {channels} channels; only mono and stereo can be separated, mix it down first")


def _split(vocals: np.ndarray, waiting: deque[np.ndarray]) -> Iterator[Stems]:
    """Pair ``vocals (C, T)`` with the mixture samples they belong to, taken off the front of ``waiting``."""
    offset = 0
    while offset < vocals.shape[1]:
        mixture = waiting.popleft()
        n = min(mixture.shape[1], vocals.shape[1] - offset)
        if n < mixture.shape[1]:
            waiting.appendleft(mixture[:, n:])
        voice = np.rint(vocals[:, offset : offset + n].astype(np.float64) * _GRID) / _GRID
        voice = voice.astype(np.float32)
        yield Stems(voice, mixture[:, :n] - voice)
        offset += n


def separate_file(
    path: str | Path,
    out: str | Path,
    options: Options = Options(),
    *,
    checkpoint: str | Path = DEFAULT_CHECKPOINT,
    device: str = "auto",
) -> dict[Stem, Path]:
    """Separate one file into ``out/vocals.wav`` and ``out/instrumental.wav`` and return the paths.

    For several files load a `Separator` once. Raises what `Separator.load` and `Separator.separate_file` raise.
    """
    return Separator.load(checkpoint, device=device).separate_file(path, out, options)
