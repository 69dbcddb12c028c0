"""`ldm-sep separate`: its arguments."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ldm_sep.cli.choices import Choices, Samples, check_samples, chosen_stems, one_of, seconds_of
from ldm_sep.cli.progress import Shown, choose_show
from ldm_sep.cli.run import run
from ldm_sep.errors import ConfigError
from ldm_sep.separation.naming import Suffix

# Options under the headings of the help.
_files = partial(typer.Option, rich_help_panel="Files")
_part = partial(typer.Option, rich_help_panel="Part of a song")
_how = partial(typer.Option, rich_help_panel="How to separate")
_run = partial(typer.Option, rich_help_panel="The run")


def _list_models(wanted: bool) -> None:
    if wanted:
        from ldm_sep.cli.models import list_models

        list_models()
        raise typer.Exit


def separate(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Audio files, folders of them, or - for standard input.")
    ],
    out: Annotated[Path, _files("-o", "--out", help="Folder, or - for one stem to standard output.")] = Path(
        "separated"
    ),
    filename: Annotated[
        str, _files(help="Names below OUT, of {track}, {trackext}, {stem} and {ext}.")
    ] = "{track}/{stem}.{ext}",
    stems: Annotated[str | None, _files(help="vocals, instrumental, or both joined by a comma (the default).")] = None,
    two_stems: Annotated[str | None, _files(metavar="vocals", help="As demucs says it: both stems.")] = None,
    format: Annotated[Suffix | None, _files("--format", help="File type; default wav.")] = None,
    flac: Annotated[bool, _files("--flac", help="--format flac.")] = False,
    mp3: Annotated[bool, _files("--mp3", help="--format mp3.")] = False,
    mp3_bitrate: Annotated[int | None, _files(min=8, max=320, help="kbit/s; default the most there is.")] = None,
    samples: Annotated[
        Samples | None, _files("--samples", help="Sample type; default float in wav, int24 in flac.")
    ] = None,
    int24: Annotated[bool, _files("--int24", help="--samples int24.")] = False,
    float32: Annotated[bool, _files("--float32", help="--samples float.")] = False,
    overwrite: Annotated[bool, _files("--overwrite", help="Replace outputs that exist.")] = False,
    skip_existing: Annotated[
        bool,
        _files(
            "--skip-existing",
            help="Pass over songs that the same checkpoint and settings separated before; replace other results.",
        ),
    ] = False,
    start: Annotated[str | None, _part(metavar="TIME", help="Where to begin: 62.5 or 1:02.5.")] = None,
    duration: Annotated[str | None, _part(metavar="TIME", help="How much to separate.")] = None,
    preview: Annotated[bool, _part("--preview", help="30 s around the loudest singing.")] = False,
    name: Annotated[str, _how("-n", "--name", help="Checkpoint: a name, or its folder.")] = "open",
    list_models: Annotated[
        bool, _how("--list-models", is_eager=True, callback=_list_models, help="List the checkpoints that have names.")
    ] = False,
    preset: Annotated[
        str | None, _how(help="By cost fast, balanced (default), best; by taste clean (less bleed), full or natural.")
    ] = None,
    steps: Annotated[int | None, _how(min=0, help="Sampling steps; 0 leaves diffusion out.")] = None,
    seed: Annotated[int, _how(min=0, help="Of the noise: same seed, same output.")] = 0,
    candidates: Annotated[
        int | None, _how(min=2, help="Also write how far this many seeds lie apart each second: CSV, plot.")
    ] = None,
    estimate: Annotated[
        Path | None,
        _how(
            metavar="VOCALS",
            help="Begin at vocals that another separator made: a song's file, or a folder matched by name as by "
            "ldm-sep evaluate.",
        ),
    ] = None,
    estimate_weight: Annotated[
        float | None,
        _how(min=0, max=1, help="Share of them in the mean with our own; default 0.35. 0.75 suits those of HTDemucs."),
    ] = None,
    segment: Annotated[float | None, _how(help="Seconds separated at a time.")] = None,
    overlap: Annotated[float | None, _how(help="Share of a segment shared with the next, 0 to 0.5.")] = None,
    device: Annotated[str, _run("-d", "--device", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    threads: Annotated[
        int | None, _run("-j", "--jobs", "--threads", min=1, help="CPU cores to use; default all there are.")
    ] = None,
    progress: Annotated[
        Shown, _run("--progress", help="auto is a bar on a terminal and lines elsewhere; on stderr.")
    ] = "auto",
    quiet: Annotated[bool, _run("-q", "--quiet", help="Warnings and errors alone.")] = False,
    max_hours: Annotated[float, _run(min=0, help="Longest song; 0 for any length.")] = 12,
    codec_weights: Annotated[
        Path | None, _run(help="The pretrained EnCodec's weight file, instead of its download.")
    ] = None,
) -> None:
    """Separate songs into vocals and the exact remainder."""
    from ldm_sep.separation.options import Options

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
    if candidates is not None and out == Path("-"):
        raise ConfigError("--candidates: writes a table and a plot beside the stems; name a folder by -o")
    if estimate_weight is not None and estimate is None:
        raise ConfigError("--estimate-weight: is the share of given vocals; name them by --estimate")
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
        options=Options(
            preset=preset,
            steps=steps,
            seed=seed,
            estimate_weight=estimate_weight,
            segment=segment,
            overlap=overlap,
            threads=threads,
        ),
    )
    run(choices, choose_show(progress, quiet))
