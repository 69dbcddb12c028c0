"""`ldm-sep train-codec`, `whiten` and `train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from ldm_sep.checkpoint.writing import Provenance
    from ldm_sep.config import Config
    from ldm_sep.data.bank import AudioBank
    from ldm_sep.data.items import Item
    from ldm_sep.training.loop import Progress

ConfigPath = Annotated[Path, typer.Argument(help="An experiment's TOML file, such as configs/open_stage1.toml.")]
Data = Annotated[
    list[Path],
    typer.Option(help="The data set: its folder, or its table for the layouts csv and roles. May be repeated."),
]
Run = Annotated[Path, typer.Option(help="Where states, logs, samples and the result go.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last state in --run.")]
Init = Annotated[Path | None, typer.Option(help="A checkpoint folder whose weights to start from.")]
Changes = Annotated[
    list[str],
    typer.Option("--set", help="TABLE.KEY=VALUE, instead of what the configuration says there. May be repeated."),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Instead of the configuration's number of steps.")]
MaxMinutes = Annotated[float | None, typer.Option(min=0, help="Stop, with everything saved, after this long.")]
Cache = Annotated[Path, typer.Option(help="Where the decoded audio is kept between runs.")]
Items = Annotated[
    Path | None,
    typer.Option(help="Table of validation items, files of the first --data; default: the validation songs."),
]
Cpu = Annotated[bool, typer.Option("--cpu", help="Train on the CPU even where there is a GPU.")]
CodecWeights = Annotated[
    Path | None, typer.Option(help="The pretrained EnCodec's weight file, instead of its download.")
]
_DEFAULT_CACHE = Path(".cache")
_VALIDATION_SONGS = 8


def train_codec(
    config: ConfigPath,
    data: Data,
    run: Run,
    items: Items = None,
    init: Init = None,
    resume: Resume = False,
    changes: Changes = [],  # noqa: B006  (typer copies it)
    steps: Steps = None,
    max_minutes: MaxMinutes = None,
    cache: Cache = _DEFAULT_CACHE,
    cpu: Cpu = False,
) -> None:
    """Train a codec; writes RUN/codec."""
    from ldm_sep.config import load_config
    from ldm_sep.training.codec import check_start
    from ldm_sep.training.codec import train_codec as act

    resolved = _with_steps(load_config(config, changes), "codec_training", steps)
    check_start(resolved, init)
    accelerator = _accelerator(resolved.codec_training.precision, cpu)
    validation = _items(resolved, data, items, accelerator)
    bank = _prepare(run, resume, accelerator, resolved, data, cache)
    folder = act(
        resolved,
        bank,
        validation,
        run,
        accelerator,
        resume=resume,
        init=init,
        max_minutes=max_minutes,
        provenance=provenance(accelerator.device),
        report=_reporter(),
    )
    typer.echo(f"codec: {folder}")


def train(
    config: ConfigPath,
    data: Data,
    run: Run,
    codec: Annotated[
        Path | None, typer.Option(help="A codec's folder, to start from; with --init: whose decoder to take.")
    ] = None,
    predictor: Annotated[
        Path | None, typer.Option(help="A separator's folder, of any codec, whose predictor to take.")
    ] = None,
    codec_weights: CodecWeights = None,
    items: Items = None,
    init: Init = None,
    resume: Resume = False,
    changes: Changes = [],  # noqa: B006  (typer copies it)
    steps: Steps = None,
    max_minutes: MaxMinutes = None,
    cache: Cache = _DEFAULT_CACHE,
    cpu: Cpu = False,
) -> None:
    """Train a separator, stage 0, 1 or 2 as the configuration says; writes RUN/separator."""
    from ldm_sep.config import load_config
    from ldm_sep.training.separator import train as act
    from ldm_sep.training.start import Start, check_start

    resolved = _with_steps(load_config(config, changes), "training", steps)
    # What can be said at once is not said after minutes of decoding.
    start = Start(init, codec, predictor, codec_weights)
    check_start(resolved, start)
    stage = resolved.training.stage
    accelerator = _accelerator(resolved.training.precision, cpu)
    validation = _items(resolved, data, items, accelerator)
    bank = _prepare(run, resume, accelerator, resolved, data, cache)
    if stage > 0 and resolved.predictor is not None and init is None and predictor is None:
        text = f"stage {stage} from --codec leaves the predictor untrained; name a trained one with --predictor"
        _warn(accelerator, text)
    folder = act(
        resolved,
        bank,
        validation,
        run,
        accelerator,
        start=start,
        resume=resume,
        max_minutes=max_minutes,
        provenance=provenance(accelerator.device),
        report=_reporter(),
    )
    typer.echo(f"separator: {folder}")


def whiten(
    config: ConfigPath,
    data: Data,
    out: Annotated[Path, typer.Option(help="The codec folder to write.")],
    codec: Annotated[Path | None, typer.Option(help="A trained codec's folder to measure again.")] = None,
    codec_weights: CodecWeights = None,
    cache: Cache = _DEFAULT_CACHE,
    cpu: Cpu = False,
) -> None:
    """Measure a codec's latents (mean and spread of each channel) and write its folder, ready for `train`."""
    from ldm_sep.build import build_mixer, pretrained_codec
    from ldm_sep.checkpoint.card import trainings
    from ldm_sep.checkpoint.manifest import read_manifest, require_same_codec
    from ldm_sep.checkpoint.reading import load_codec
    from ldm_sep.checkpoint.writing import require_replaceable, save_codec
    from ldm_sep.config import load_config
    from ldm_sep.errors import ConfigError
    from ldm_sep.training.codec import measure_whitening

    resolved = load_config(config)
    require_replaceable(out)
    if codec is not None:
        require_same_codec(codec, read_manifest(codec), resolved)
        manifest, ready, _ = load_codec(codec, codec_weights)
        before = trainings(manifest.facts)
    else:
        ready, before = pretrained_codec(resolved.codec, codec_weights), []
    if ready is None:
        raise ConfigError(f"{config}: its codec is trained here; name the trained one's folder with --codec")
    settings = resolved.training or resolved.codec_training
    if settings is None:
        raise ConfigError(f"{config}: needs a [training] table, whose window the latents are measured in")
    accelerator = _accelerator("fp32", cpu)
    bank = open_bank(resolved, data, cache, accelerator.device)
    ready = ready.to(accelerator.device)
    mixer = build_mixer(resolved.mix, bank, settings.seconds, ready.hop)
    whitening = measure_whitening(ready, mixer, settings.batch_size, settings.seed)
    save_codec(out, resolved, ready, whitening, replace(provenance(accelerator.device), before=before))
    typer.echo(f"codec: {out}")


def _with_steps(config: Config, table: str, steps: int | None) -> Config:
    settings = getattr(config, table)
    if steps is None or settings is None:
        return config
    return config.model_copy(update={table: settings.model_copy(update={"steps": steps})})


def _accelerator(precision: str, cpu: bool) -> Accelerator:
    import torch
    from accelerate import Accelerator

    from ldm_sep.errors import ConfigError

    # Unless told so, accelerate takes each of several processes on a machine without a GPU for the only one.
    cpu = cpu or not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if precision == "bf16" else "no")
    if accelerator.is_main_process:
        typer.echo(f"device: {accelerator.device}, processes: {accelerator.num_processes}, precision: {precision}")
    if accelerator.num_processes > 1 and accelerator.device.type == "mps":
        raise ConfigError("several processes need CUDA or the CPU")
    return accelerator


def _warn(accelerator: Accelerator, text: str) -> None:
    """Once, however many processes there are."""
    if accelerator.is_main_process:
        typer.echo(f"warning: {text}", err=True)


def _prepare(
    run: Path, resume: bool, accelerator: Accelerator, config: Config, data: list[Path], cache: Path
) -> AudioBank:
    from ldm_sep.checkpoint.writing import require_replaceable
    from ldm_sep.errors import ConfigError
    from ldm_sep.files import make_folder
    from ldm_sep.training.state import find_states

    states = find_states(run)
    if states and not resume:
        raise ConfigError(f"{run}: holds the states of an earlier training; add --resume or name another --run")
    if resume and accelerator.is_main_process:
        typer.echo(_resuming(run, config) if states else f"{run}: nothing to resume; this is step 0", err=True)
    if accelerator.is_main_process:
        make_folder(run)
        for result in ("codec", "separator"):
            require_replaceable(run / result)
        # The others find the decoded audio in the cache.
        bank = open_bank(config, data, cache, accelerator.device)
        # Inherited with a configuration, it may be about other data than this run's.
        sources = config.card.training_data
        first = f" ({sources[0][:50]} ...)" if sources else ""
        typer.echo(f"card: names {len(sources)} sources{first}; others: --set 'card.training_data=[\"...\"]'")
    accelerator.wait_for_everyone()
    return bank if accelerator.is_main_process else open_bank(config, data, cache, accelerator.device, quiet=True)


def _resuming(run: Path, config: Config) -> str:
    """Which settings differ from those of the states in ``run``; that is allowed, but not by oversight."""
    import json

    def flat(table: dict, prefix: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in table.items():
            found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return found

    try:
        before = flat(json.loads((run / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return f"{run}: resumed; what it began with is not known"
    now = flat(json.loads(config.model_dump_json()))
    changed = [f"{k} {before.get(k)} -> {now.get(k)}" for k in {**before, **now} if before.get(k) != now.get(k)]
    return f"{run}: resumed" + (f", changed: {', '.join(changed)}" if changed else "")


def open_bank(config: Config, data: list[Path], cache: Path, device: torch.device, *, quiet: bool = False) -> AudioBank:
    """The decoded training split of all ``data``, its hours printed unless ``quiet``. DataError if it is empty."""
    from ldm_sep.build import codec_sample_rate
    from ldm_sep.data.bank import AudioBank
    from ldm_sep.data.synthesis.melody import load_melodies
    from ldm_sep.data.tracks import read_tracks
    from ldm_sep.errors import DataError

    tracks = [t for root in data for t in read_tracks(config.data.layout, root) if t.split == "train"]
    tracks = [t for t in tracks if config.data.speech or not t.spoken]
    if not tracks:
        raise DataError(f"{', '.join(map(str, data))}: no track of the training split")

    def decoded(done: int, total: int) -> None:
        typer.echo(f"\rdecoding {done}/{total}", nl=done == total, err=True)

    melodies = []
    if config.data.melodies is not None and config.mix.melodic > 0:
        first = data[0] if data[0].is_dir() else data[0].parent
        melodies = load_melodies(first / config.data.melodies, cache, lambda line: typer.echo(line, err=True))
    bank = AudioBank(tracks, codec_sample_rate(config.codec), cache, device, decoded, melodies)
    if not quiet:
        tunes = f", {len(melodies)} melodies" if melodies else ""
        vocals, rest = (bank.seconds(role) / 3600 for role in ("vocals", "accompaniment"))
        typer.echo(f"data: {len(tracks)} tracks, {vocals:.2f} h of vocals, {rest:.2f} h of accompaniment{tunes}")
    return bank


def _items(config: Config, data: list[Path], table: Path | None, accelerator: Accelerator) -> list[Item]:
    from ldm_sep.build import codec_hop, codec_sample_rate
    from ldm_sep.data.items import items_of_songs, read_items
    from ldm_sep.data.tracks import read_tracks
    from ldm_sep.errors import DataError

    rate, hop = codec_sample_rate(config.codec), codec_hop(config.codec)
    settings = config.training or config.codec_training
    first = data[0]
    if table is not None:
        return read_items(table, first if first.is_dir() else first.parent, rate, hop)
    tracks = [t for root in data for t in read_tracks(config.data.layout, root)]
    valid = [t for t in tracks if t.split == "valid"]
    if not valid:
        _warn(accelerator, "no track of the validation split; scores are taken on training songs")
        valid = [t for t in tracks if t.split == "train"]
    items = items_of_songs(valid, settings.seconds if settings else 5.0, rate, hop, _VALIDATION_SONGS)
    if not items:
        raise DataError(f"{first}: no song with vocals and accompaniment to validate on; give a table with --items")
    return items


def provenance(device: torch.device | None = None) -> Provenance:
    """Command, hardware and commit of this process, which works on ``device`` (None: the CPU)."""
    import os
    import shlex
    import subprocess
    import sys

    import torch

    from ldm_sep.checkpoint.writing import Provenance

    on_gpu = device is not None and device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"{os.cpu_count()} CPU cores"
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        commit = ""
    processes = os.environ.get("WORLD_SIZE", "1")
    program = ["ldm-sep"] if processes == "1" else ["torchrun", "--nproc-per-node", processes, "-m", "--", "ldm_sep"]
    # Paths of the machine are no part of the recipe: only their last name is kept.
    words = [*program, *(Path(w).name if w.startswith(("/", "..")) else w for w in sys.argv[1:])]
    return Provenance(command=shlex.join(words), hardware=name, commit=commit)


def _reporter():
    import sys
    import time

    started = time.monotonic()

    def report(progress: Progress) -> None:
        numbers = "  ".join(f"{key} {value:.4g}" for key, value in progress.losses.items())
        minutes = (time.monotonic() - started) / 60
        rate = f"  {progress.rate:.2f} steps/s" if progress.rate else ""
        skipped = f"  skipped {progress.skipped}" if progress.skipped else ""
        line = f"{minutes:6.1f} min  step {progress.step}/{progress.steps}  {numbers}{rate}{skipped}"
        typer.echo(line)
        sys.stdout.flush()

    return report
