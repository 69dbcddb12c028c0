"""`ldm-sep train-codec`, `whiten` and `train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ldm_sep.cli.options import (
    DEFAULT_CACHE,
    Cache,
    Changes,
    CodecFrom,
    CodecWeights,
    ConfigPath,
    Cpu,
    Data,
    Init,
    Items,
    Layout,
    MaxMinutes,
    PredictorFrom,
    Resume,
    Run,
    Steps,
    load_experiment,
)
from ldm_sep.files import shown

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from ldm_sep.config import Config
    from ldm_sep.data.decoded import DecodedAudio
    from ldm_sep.training.log import Progress
    from ldm_sep.training.loop import Session
    from ldm_sep.training.sources import Sources


def train_codec(
    config: ConfigPath,
    data: Data,
    run: Run,
    layout: Layout = None,
    items: Items = None,
    init: Init = None,
    resume: Resume = False,
    changes: Changes = [],  # noqa: B006  (typer copies it)
    steps: Steps = None,
    max_minutes: MaxMinutes = None,
    cache: Cache = DEFAULT_CACHE,
    cpu: Cpu = False,
) -> None:
    """Train a codec; writes RUN/codec."""
    from ldm_sep.training.codec import train_codec as act
    from ldm_sep.training.start import begin_codec

    resolved = _with_steps(load_experiment(config, changes, layout), "codec_training", steps)
    # Checked first, so that mistakes are not found after minutes of decoding.
    codec, before = begin_codec(resolved, init)
    accelerator = _accelerator(resolved.needed_codec_training().precision, cpu)
    sources = _sources(resolved, data, accelerator)
    validation = sources.items(items)
    batch_size = resolved.needed_codec_training().batch_size
    with _session(run, resume, max_minutes, accelerator, resolved, batch_size) as session:
        decoded = _decoded(sources, cache, accelerator, accelerator.device)
        folder = act(resolved, codec, before, decoded, validation, session)
    typer.echo(f"codec: {shown(folder)}")


def train(
    config: ConfigPath,
    data: Data,
    run: Run,
    layout: Layout = None,
    codec: CodecFrom = None,
    predictor: PredictorFrom = None,
    codec_weights: CodecWeights = None,
    items: Items = None,
    init: Init = None,
    resume: Resume = False,
    changes: Changes = [],  # noqa: B006  (typer copies it)
    steps: Steps = None,
    max_minutes: MaxMinutes = None,
    cache: Cache = DEFAULT_CACHE,
    pack: Annotated[
        Path | None, typer.Option(help="Train on the items that 'ldm-sep data freeze' wrote there, mixing none.")
    ] = None,
    mixers: Annotated[
        int,
        typer.Option(min=0, max=256, help="Processes that draw items ahead of the training."),
    ] = 0,
    cpu: Cpu = False,
) -> None:
    """Train a separator, stage 0 to 3 as the configuration says; writes RUN/separator."""
    import torch

    from ldm_sep.config import Stage
    from ldm_sep.errors import ConfigError
    from ldm_sep.training.freeze import open_pack
    from ldm_sep.training.pairs import mix_pairs
    from ldm_sep.training.separator import train as act
    from ldm_sep.training.start import Start, begin_separator

    if pack is not None and mixers:
        raise ConfigError("--mixers: a pack holds its items already; leave out --mixers or --pack")
    resolved = _with_steps(load_experiment(config, changes, layout), "training", steps)
    # Checked first, so that mistakes are not found after minutes of decoding.
    separator, before = begin_separator(resolved, Start(init, codec, predictor, codec_weights))
    settings = resolved.needed_training()
    accelerator = _accelerator(settings.precision, cpu)
    frozen = open_pack(pack, resolved, separator, accelerator.device) if pack is not None else None
    sources = _sources(resolved, data, accelerator)
    validation = sources.items(items)
    with _session(run, resume, max_minutes, accelerator, resolved, settings.batch_size) as session:
        untrained = init is None and predictor is None and resolved.predictor is not None
        if untrained and settings.stage is not Stage.PREDICTOR:
            sources.warn(
                f"stage {settings.stage} from --codec leaves the predictor untrained; "
                "name a trained one with --predictor"
            )
        pairs = frozen
        if pairs is None:
            decoded = _decoded(sources, cache, accelerator, torch.device("cpu") if mixers else accelerator.device)
            pairs = mix_pairs(resolved, separator, decoded, accelerator.device, mixers)
        folder = act(resolved, separator, before, pairs, validation, session)
    typer.echo(f"separator: {shown(folder)}")


def whiten(
    config: ConfigPath,
    data: Data,
    out: Annotated[Path, typer.Option(help="The codec folder to write.")],
    layout: Layout = None,
    codec: CodecFrom = None,
    codec_weights: CodecWeights = None,
    cache: Cache = DEFAULT_CACHE,
    cpu: Cpu = False,
) -> None:
    """Measure a codec's latents (mean and spread of each channel) and write its folder, ready for `train`."""
    from ldm_sep.build import build_mixer
    from ldm_sep.checkpoint.card import trainings
    from ldm_sep.checkpoint.manifest import read_manifest, require_same_codec
    from ldm_sep.checkpoint.reading import load_codec, trained_codec
    from ldm_sep.checkpoint.writing import require_replaceable, save_codec
    from ldm_sep.codec.base import module_of
    from ldm_sep.errors import ConfigError
    from ldm_sep.training.codec import measure_whitening
    from ldm_sep.training.provenance import provenance

    resolved = load_experiment(config, [], layout)
    require_replaceable(out)
    if codec is not None:
        require_same_codec(codec, read_manifest(codec), resolved)
        manifest, ready, _ = load_codec(codec, codec_weights)
        before = trainings(manifest.facts)
    else:
        ready, before = trained_codec(resolved.codec, weights=codec_weights), []
    settings = resolved.training or resolved.codec_training
    if settings is None:
        raise ConfigError(f"{config}: needs a [training] table, whose window the latents are measured in")
    accelerator = _accelerator("fp32", cpu)
    decoded = _sources(resolved, data, accelerator).open_decoded(cache, accelerator.device, show_decoding)
    module_of(ready).to(accelerator.device)
    mixer = build_mixer(resolved.mix, decoded, settings.seconds, ready.hop)
    whitening = measure_whitening(ready, mixer, settings.batch_size, settings.seed)
    made = provenance(accelerator.device).model_copy(update={"before": before})
    save_codec(out, resolved, ready, whitening, made)
    typer.echo(f"codec: {shown(out)}")


def _with_steps(config: Config, table: str, steps: int | None) -> Config:
    settings = getattr(config, table)
    if steps is None or settings is None:
        return config
    return config.model_copy(update={table: settings.model_copy(update={"steps": steps})})


def _accelerator(precision: str, cpu: bool) -> Accelerator:
    import torch
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    from ldm_sep.errors import ConfigError

    # Unless told so, accelerate takes each of several processes on a machine without a GPU for the only one.
    cpu = cpu or not torch.accelerator.is_available()
    # Objectives choose what runs in mixed precision (`training.loop.in_precision`); accelerate would take everything.
    # While the main process decodes or validates, the others wait; NCCL would end them after 10 minutes.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[patience])
    if accelerator.is_main_process:
        typer.echo(f"device: {accelerator.device}, processes: {accelerator.num_processes}, precision: {precision}")
    if accelerator.num_processes > 1 and accelerator.device.type == "mps":
        raise ConfigError("several processes need CUDA or the CPU")
    return accelerator


def _sources(config: Config, data: list[Path], accelerator: Accelerator) -> Sources:
    """The data sets. Of several processes, only the main one prints what there is to say of them."""
    from ldm_sep.training.sources import Sources

    def tell(line: str, *, warning: bool = False) -> None:
        if accelerator.is_main_process:
            typer.echo(f"warning: {line}" if warning else line, err=warning)

    return Sources(config, data, tell, partial(tell, warning=True))


def _decoded(sources: Sources, cache: Path, accelerator: Accelerator, device: torch.device) -> DecodedAudio:
    """Opened by the main process first: the others find the decoded audio in the cache."""
    decoded = None
    if accelerator.is_main_process:
        decoded = sources.open_decoded(cache, device, show_decoding)
    accelerator.wait_for_everyone()
    return decoded if decoded is not None else sources.open_decoded(cache, device)


def show_decoding(done: int, total: int) -> None:
    """One line on stderr that counts the decoded tracks."""
    typer.echo(f"\rdecoding {done}/{total}", nl=done == total, err=True)


@contextmanager
def _session(
    run: Path,
    resume: bool,
    max_minutes: float | None,
    accelerator: Accelerator,
    config: Config,
    batch_size: int,
) -> Iterator[Session]:
    """Refuse a folder that holds another training, has one running or cannot take the result; make it otherwise, say
    what it is, and keep other processes out.
    """
    from ldm_sep.checkpoint.writing import require_replaceable
    from ldm_sep.errors import ConfigError
    from ldm_sep.files import locked, make_folder
    from ldm_sep.training.loop import Session
    from ldm_sep.training.state import find_states, resumed

    states = find_states(run)
    if states and not resume:
        raise ConfigError(f"{run}: holds the states of an earlier training; add --resume or name another --run")
    session = Session(accelerator, run, resume, max_minutes, _report)
    if not accelerator.is_main_process:
        yield session
        return
    if resume:
        line = resumed(run, config, batch_size, accelerator.num_processes) if states else ""
        typer.echo(line or f"{shown(run)}: nothing to resume; this is step 0", err=True)
    make_folder(run)
    for result in ("codec", "separator"):
        require_replaceable(run / result)
    # A card that came with an inherited configuration may describe other data.
    sources = config.card.training_data
    said = f"names {len(sources)} sources, first: {sources[0][:50]}" if sources else "names no sources"
    typer.echo(f"card: {said}; say others in [card] training_data, and their terms in licence")
    with locked(run):
        yield session


def _report(progress: Progress) -> None:
    numbers = "  ".join(f"{key} {value:.4g}" for key, value in progress.losses.items())
    speed = f"  {progress.rate:.2f} steps/s" if progress.rate is not None else ""
    skipped = f"  skipped {progress.skipped}" if progress.skipped else ""
    minutes = progress.minutes_left
    left = (
        f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min" if minutes >= 2 else f"{60 * minutes:.0f} s"
    )
    typer.echo(f"step {progress.step}/{progress.steps}  {numbers}{speed}{skipped}  {left} left")
