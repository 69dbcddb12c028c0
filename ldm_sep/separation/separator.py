"""Separation of waves, streams and files in memory that does not grow with the duration."""

import math
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import tee
from pathlib import Path

import numpy as np
import torch

from ldm_sep.audio import Subtype
from ldm_sep.audio.samples import as_wave, checked_samples
from ldm_sep.checkpoint.manifest import Manifest
from ldm_sep.checkpoint.names import DEFAULT_CHECKPOINT, find_checkpoint
from ldm_sep.checkpoint.reading import load_separator
from ldm_sep.device import choose_device
from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.method.model import LatentSeparator
from ldm_sep.records import checked
from ldm_sep.separation.engine import WindowEngine
from ldm_sep.separation.given import beside, require_predictor
from ldm_sep.separation.naming import STEMS, Place, Stem, Suffix
from ldm_sep.separation.options import Options, Plan, presets, settle
from ldm_sep.separation.progress import Callback, Progress
from ldm_sep.separation.renewal import renewed
from ldm_sep.separation.sidecar import Settings, settled_subtype
from ldm_sep.separation.song import separate_song
from ldm_sep.separation.stems import Stems, split
from ldm_sep.separation.windowed import BLOCK, through_windows
from ldm_sep.signal.windows import Windower

# Seconds. A damaged or crafted file of a few hundred kilobytes can hold weeks of silence.
LONGEST = 12 * 3600.0


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
        *,
        estimate: np.ndarray | None = None,
    ) -> Stems:
        """``wave (C, T)`` or ``(T,)``, C 1 or 2, at ``sample_rate`` Hz; the stems have its shape.

        Integers are scaled by their range to [-1, 1). The same wave, options and machine give the same samples, bit by
        bit. ``progress(fraction, stage, eta)`` is called as it goes, ``eta`` being the seconds left or None; returning
        False raises `Cancelled`. ``estimate``: vocals of the wave's shape that another separator made, averaged with
        the predictor's (`Options.estimate_weight`). AudioError if the wave or the estimate has no samples, other
        channels, or values that are not finite or beyond 1e6; ConfigError for an estimate without a predictor.
        """
        mixture, given = as_wave(wave), None
        self._check_channels(mixture.shape[0], "the wave")
        mixture = checked_samples(mixture, 0, sample_rate, "the wave")
        if estimate is not None:
            given = [checked_samples(as_wave(estimate), 0, sample_rate, "the estimate")]
        total = mixture.shape[1]
        blocks = (mixture[:, i : i + BLOCK] for i in range(0, total, BLOCK))
        parts = []
        done, told = 0, Progress(progress)
        with closing(self.stream(blocks, sample_rate, mixture.shape[0], options, given)) as stream:
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
        estimate: str | Path | None = None,
        longest: float | None = LONGEST,
        progress: Callback | None = None,
        notice: Callable[[str], None] = warnings.warn,
    ) -> dict[Stem, Path]:
        """Separate a file into ``out/<stem>.<suffix>`` and return the paths. The files appear together, complete, with
        `separation.json` beside them, the record of how they were made (`separation.sidecar`).

        ``estimate``: a file of the song's vocals that another separator made, of any rate, mono or stereo, to begin
        with (`Options.estimate_weight`). ``start`` and ``duration`` in seconds choose a part of the song. ``bit_rate``
        in kbit/s is for mp3 alone. The input is read once to its end before any work: ``notice`` is told of damage that
        it has, and that more than two channels are mixed down to stereo. Integer formats clip a stem that passes full
        scale, as the remainder of a loud song may; it is told of that too. AudioError if the input or the estimate
        cannot be read, is longer than ``longest`` seconds, ends before ``start`` or would be overwritten, they are not
        equally long (to 5 ms), or the output cannot be written or does not fit on the disk; ConfigError if another
        process writes there, and for an estimate without a predictor. All before any work.
        """
        place = Place.plain(Path(out), stems, suffix)
        settings = self.settings(
            options, suffix=suffix, subtype=subtype, bit_rate=bit_rate, start=start, duration=duration
        )
        separate_song(
            self,
            Path(path),
            place,
            settings,
            longest=longest,
            progress=Progress(progress),
            notice=notice,
            estimate=None if estimate is None else Path(estimate),
        )
        return place.targets

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        options: Options = Options(),
        estimate: Iterable[np.ndarray] | None = None,
    ) -> Generator[Stems]:
        """Blocks ``(C, T)`` of one signal in, stems out as they become ready; together they have the input's length.

        What comes out does not depend on how the input is cut. Whoever stops before the end closes the generator, and
        the work that has begun ends with it. ``estimate``: blocks of the vocals as another separator made them, of the
        same samples, cut in any way. AudioError unless ``channels`` is 1 or 2 and the estimate fits; ConfigError for an
        estimate without a predictor.
        """
        return self.stream_by(self.plan(options), blocks, sample_rate, channels, estimate=estimate)

    def stream_by(
        self,
        plan: Plan,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        known: Iterator[np.ndarray] | None = None,
        estimate: Iterable[np.ndarray] | None = None,
    ) -> Generator[Stems]:
        """`stream` by a ``plan`` that is settled already. ``known``: the vocals as `_vocals` gave them earlier; then
        only ``plan.renewed`` is computed, and all else stays as it is, bit by bit.
        """
        self._check_channels(channels, "the input")
        if known is not None and not plan.renewed:
            raise ValueError("known vocals are for a plan with stretches to renew, and this one has none")
        waiting: deque[np.ndarray] = deque()

        def heard() -> Iterator[np.ndarray]:
            for block in blocks:
                waiting.append(np.asarray(block, np.float32))
                yield waiting[-1]

        signals = 1
        read = heard()
        if estimate is not None:
            require_predictor(self)
            signals, read = 2, beside(read, estimate, channels)
        copies = tee(read, len(plan.renewed) + (known is None))
        with ExitStack() as working:

            def vocals_of(
                copy: Iterable[np.ndarray], seed: int, within: tuple[float, float] = (0.0, math.inf)
            ) -> Iterator[np.ndarray]:
                seeded = plan.model_copy(update={"seed": seed})
                return working.enter_context(
                    closing(self._vocals(copy, sample_rate, channels, seeded, within, signals))
                )

            vocals = known if known is not None else vocals_of(copies[-1], plan.seed)
            if plan.renewed:
                others = [
                    vocals_of(copy, seed, (start, end))
                    for copy, (start, end, seed) in zip(copies, plan.renewed, strict=False)
                ]
                vocals = renewed(vocals, others, plan.renewed, sample_rate)
            # A copy that is kept here would make tee hold every block that has been read.
            del copies
            for part in vocals:
                yield from split(part, waiting)

    def _vocals(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        plan: Plan,
        within: tuple[float, float],
        signals: int,
    ) -> Generator[np.ndarray]:
        """Vocals of a stream, with a post-filter those without it below them; ``within``: seconds beyond which zeros
        will do. Two ``signals``: the estimate is below the mixture in its blocks.
        """
        codec = self.model.codec
        segment = round(plan.segment * codec.sample_rate)
        # Rounded down, so that it stays within half of the segment.
        windower = Windower(segment, int(segment * plan.overlap), codec.hop, signals * codec.channels)
        with WindowEngine(self.model, plan, self.device, within) as engine:
            yield from through_windows(
                *(blocks, sample_rate, channels),
                windower=windower,
                rate=codec.sample_rate,
                act=engine.run,
                signals=signals,
                outputs=engine.outputs,
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
        if plan.post_filter and self.model.post_filter is None:
            raise ConfigError("this checkpoint has no post-filter; leave it out")
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
        open filled in. ConfigError as for `plan`, and for a format, samples or a bit rate that no file can have.
        """
        table = {
            "plan": self.plan(options).model_dump(),
            "suffix": suffix,
            "subtype": settled_subtype(suffix, subtype, bit_rate),
            "bit_rate": bit_rate,
            "start": start,
            "duration": duration,
        }
        return checked(Settings, table, "options")

    @staticmethod
    def _check_channels(channels: int, name: str) -> None:
        if channels not in (1, 2):
            raise AudioError(f"{name}: {channels} channels; only mono and stereo can be separated, mix it down first")


def separate_file(
    path: str | Path,
    out: str | Path,
    options: Options = Options(),
    *,
    checkpoint: str | Path = DEFAULT_CHECKPOINT,
    device: str = "auto",
    estimate: str | Path | None = None,
) -> dict[Stem, Path]:
    """Separate one file into ``out/vocals.wav`` and ``out/instrumental.wav`` and return the paths; ``estimate`` as of
    `Separator.separate_file`.

    For several files load a `Separator` once. Raises what `Separator.load` and `Separator.separate_file` raise.
    """
    return Separator.load(checkpoint, device=device).separate_file(path, out, options, estimate=estimate)
