"""`ldm-sep separate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Container(StrEnum):
    """File types of the outputs."""

    wav = "wav"
    flac = "flac"
    mp3 = "mp3"


class SampleFormat(StrEnum):
    """Sample types of the outputs."""

    float = "float"
    int24 = "int24"
    int16 = "int16"


def separate(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Audio files, or folders of them.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for OUT/<track>/<stem>.wav.")] = Path("separated"),
    name: Annotated[str, typer.Option("-n", "--name", help="Checkpoint: a name, or its folder.")] = "open",
    stems: Annotated[str, typer.Option(help="Which to write, joined by commas.")] = "vocals,instrumental",
    preset: Annotated[str | None, typer.Option(help="fast, balanced (the default) or best.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps; 1 is fastest and smoothest.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise: same seed, same output.")] = 0,
    device: Annotated[str, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    segment: Annotated[float | None, typer.Option(help="Seconds separated at a time.")] = None,
    overlap: Annotated[float | None, typer.Option(help="Share of a segment shared with the next, 0 to 0.5.")] = None,
    format: Annotated[Container, typer.Option(help="File type.")] = Container.wav,
    samples: Annotated[
        SampleFormat | None, typer.Option(help="Sample type; default float in wav, int24 in flac.")
    ] = None,
    codec_weights: Annotated[
        Path | None, typer.Option(help="The pretrained EnCodec's weight file, instead of its download.")
    ] = None,
    max_hours: Annotated[float, typer.Option(min=0, help="Longest song; 0 for any length.")] = 12,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", help="Pass over songs that were separated before, by the same checkpoint and settings."
        ),
    ] = False,
) -> None:
    """Separate songs into vocals and the exact remainder."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TaskID, TimeRemainingColumn

    from ldm_sep.errors import ConfigError, LdmSepError
    from ldm_sep.files import shown
    from ldm_sep.separation.jobs import SIDECAR, parse_stems, plan_jobs

    if format is Container.flac and samples is SampleFormat.float:
        raise ConfigError("--samples float: flac holds whole numbers; choose int24 or int16, or --format wav")
    wanted = parse_stems(stems)
    work = plan_jobs(inputs, out, wanted, format.value, overwrite=overwrite, skip_existing=skip_existing)

    # Only now the heavy imports: mistakes in names and folders are told at once.
    from ldm_sep.separation.separator import Options, Separator
    from ldm_sep.separation.sidecar import is_made
    from ldm_sep.separation.song import key_of, settled

    separator = Separator.load(name, device=device, codec_weights=codec_weights)
    typer.echo(f"device: {separator.device}")
    typer.echo(f"checkpoint: {separator.manifest.config.name}")
    options = Options(preset=preset, steps=steps, seed=seed, segment=segment, overlap=overlap)
    # A mistake in the options is told once, not for every song.
    subtype = samples.value if samples else None
    settings = settled(separator, options, format.value, subtype)
    done = skipped = failures = 0
    console = Console(stderr=True)

    def tell(line: str) -> None:
        console.print(f"ldm-sep: {line}", markup=False, highlight=False, soft_wrap=True)

    for line in work.unreadable:
        tell(line)
    columns = "{task.description}", BarColumn(), "{task.percentage:3.0f} %", TimeRemainingColumn()
    for job in work.jobs:
        bar = Progress(*columns, console=console)
        task = bar.add_task(escape(shown(job.input.name)), total=1.0)

        def progress(fraction: float, stage: str, left: float | None, bar: Progress = bar, task: TaskID = task) -> None:
            if stage == "reading":
                return
            # Shown from the first result on, so that an input that cannot be read leaves one line and no more.
            bar.start()
            bar.update(task, completed=fraction)

        try:
            if skip_existing and not overwrite and (job.folder / SIDECAR).is_file():
                key = key_of(separator, job.input, settings)
                if is_made(job.folder / SIDECAR, key, wanted):
                    skipped += 1
                    continue
            written = separator.separate_file(
                job.input,
                job.folder,
                options,
                stems=wanted,
                suffix=format.value,
                subtype=subtype,
                longest=3600 * max_hours or None,
                progress=progress,
                notice=lambda text: tell(f"warning: {text}"),
            )
            done += 1
        except LdmSepError as error:
            # One bad file does not stop the rest.
            failures += 1
            written = {}
            tell(str(error))
        finally:
            if bar.live.is_started:
                bar.stop()
        for path in written.values():
            typer.echo(shown(path))
    typer.echo(work.summary(done, skipped, failures))
    if failures or work.unreadable:
        raise typer.Exit(1)
