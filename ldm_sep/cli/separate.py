"""`ldm-sep separate`: its arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldm_sep.cli.choices import Choices, Samples, check_samples, chosen_stems, one_of, seconds_of
from ldm_sep.cli.progress import Shown, choose_show
from ldm_sep.cli.run import run
from ldm_sep.errors import ConfigError
from ldm_sep.separation.naming import Suffix

_FILES, _PART, _HOW, _RUN = "Files", "Part of a song", "How to separate", "The run"


def _list_models(wanted: bool) -> None:
    if wanted:
        from ldm_sep.cli.models import list_models

        list_models()
        raise typer.Exit


def separate(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="Audio files, folders of them, or - for standard input."),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", rich_help_panel=_FILES, help="Folder, or - for one stem to standard output."),
    ] = Path("separated"),
    filename: Annotated[
        str,
        typer.Option(rich_help_panel=_FILES, help="Names below OUT, of {track}, {trackext}, {stem} and {ext}."),
    ] = "{track}/{stem}.{ext}",
    stems: Annotated[
        str | None,
        typer.Option(rich_help_panel=_FILES, help="vocals, instrumental, or both joined by a comma (the default)."),
    ] = None,
    two_stems: Annotated[
        str | None, typer.Option(metavar="vocals", rich_help_panel=_FILES, help="As demucs says it: both stems.")
    ] = None,
    format: Annotated[
        Suffix | None, typer.Option("--format", rich_help_panel=_FILES, help="File type; default wav.")
    ] = None,
    flac: Annotated[bool, typer.Option("--flac", rich_help_panel=_FILES, help="--format flac.")] = False,
    mp3: Annotated[bool, typer.Option("--mp3", rich_help_panel=_FILES, help="--format mp3.")] = False,
    mp3_bitrate: Annotated[
        int | None, typer.Option(min=8, max=320, rich_help_panel=_FILES, help="kbit/s; default the most there is.")
    ] = None,
    samples: Annotated[
        Samples | None,
        typer.Option("--samples", rich_help_panel=_FILES, help="Sample type; default float in wav, int24 in flac."),
    ] = None,
    int24: Annotated[bool, typer.Option("--int24", rich_help_panel=_FILES, help="--samples int24.")] = False,
    float32: Annotated[bool, typer.Option("--float32", rich_help_panel=_FILES, help="--samples float.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=_FILES, help="Replace outputs that exist.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            rich_help_panel=_FILES,
            help="Pass over songs that the same checkpoint and settings separated before; replace other results.",
        ),
    ] = False,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", rich_help_panel=_PART, help="Where to begin: 62.5 or 1:02.5.")
    ] = None,
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", rich_help_panel=_PART, help="How much to separate.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", rich_help_panel=_PART, help="30 s around the loudest singing.")
    ] = False,
    name: Annotated[
        str, typer.Option("-n", "--name", rich_help_panel=_HOW, help="Checkpoint: a name, or its folder.")
    ] = "open",
    list_models: Annotated[
        bool,
        typer.Option(
            "--list-models",
            is_eager=True,
            callback=_list_models,
            rich_help_panel=_HOW,
            help="List the checkpoints that have names.",
        ),
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_HOW,
            help="By cost fast, balanced (default), best; by taste clean (less bleed) or full.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, rich_help_panel=_HOW, help="Sampling steps; 0 leaves diffusion out.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=_HOW, help="Of the noise: same seed, same output.")] = 0,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=2, rich_help_panel=_HOW, help="Also write how far this many seeds lie apart each second: CSV, plot."
        ),
    ] = None,
    estimate: Annotated[
        Path | None,
        typer.Option(
            metavar="VOCALS",
            rich_help_panel=_HOW,
            help="Begin at vocals that another separator made: a song's file, or a folder matched by name as by "
            "ldm-sep evaluate.",
        ),
    ] = None,
    estimate_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=_HOW,
            help="Share of them in the mean with the predictor's own; default 0.35.",
        ),
    ] = None,
    segment: Annotated[float | None, typer.Option(rich_help_panel=_HOW, help="Seconds separated at a time.")] = None,
    overlap: Annotated[
        float | None,
        typer.Option(rich_help_panel=_HOW, help="Share of a segment shared with the next, 0 to 0.5."),
    ] = None,
    device: Annotated[
        str, typer.Option("-d", "--device", rich_help_panel=_RUN, help="auto, cpu, cuda, cuda:N or mps.")
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            "-j", "--jobs", "--threads", min=1, rich_help_panel=_RUN, help="CPU cores to use; default all there are."
        ),
    ] = None,
    progress: Annotated[
        Shown,
        typer.Option(
            "--progress", rich_help_panel=_RUN, help="auto is a bar on a terminal and lines elsewhere; on stderr."
        ),
    ] = "auto",
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", rich_help_panel=_RUN, help="Warnings and errors alone.")
    ] = False,
    max_hours: Annotated[float, typer.Option(min=0, rich_help_panel=_RUN, help="Longest song; 0 for any length.")] = 12,
    codec_weights: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_RUN, help="The pretrained EnCodec's weight file, instead of its download."),
    ] = None,
) -> None:
    """Separate songs into vocals and the exact remainder."""
    formats: dict[str, Suffix | None]
    formats = {"--format": format, "--flac": "flac" if flac else None, "--mp3": "mp3" if mp3 else None}
    suffix: Suffix | None = one_of("file types", formats)
    types: dict[str, Samples | None]
    types = {"--samples": samples, "--int24": "int24" if int24 else None, "--float32": "float" if float32 else None}
    subtype: Samples | None = one_of("sample types", types)
    check_samples(suffix or "wav", subtype)
    if mp3_bitrate is not None and suffix != "mp3":
        raise ConfigError("--mp3-bitrate: is for mp3; add --mp3, or leave it out")
    if preview and (start or duration):
        raise ConfigError("--preview chooses start and duration itself; leave --start and --duration out")
    if candidates is not None and estimate is not None:
        raise ConfigError("--candidates: compares what begins at noise alone; leave --estimate out")
    if estimate_weight is not None and estimate is None:
        raise ConfigError("--estimate-weight: is the share of given vocals; name them by --estimate")
    options = {"preset": preset, "steps": steps, "seed": seed, "segment": segment, "overlap": overlap}
    options["estimate_weight"] = estimate_weight
    choices = Choices(
        inputs=inputs,
        out=out,
        filename=filename,
        stems=chosen_stems(stems, two_stems, one=out == Path("-")),
        checkpoint=name,
        device=device,
        codec_weights=codec_weights,
        suffix=suffix or "wav",
        subtype=subtype,
        bit_rate=mp3_bitrate,
        part=(seconds_of(start, "--start") or 0.0, seconds_of(duration, "--duration")),
        preview=preview,
        candidates=candidates,
        estimates=estimate,
        longest=3600 * max_hours or None,
        overwrite=overwrite,
        skip_existing=skip_existing,
        quiet=quiet,
        options={**options, "threads": threads},
    )
    run(choices, choose_show(progress, quiet))
