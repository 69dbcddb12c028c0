"""`ldm-sep catalogue`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ldm_sep.cli.choices import Samples, check_samples
from ldm_sep.cli.options import CodecWeights, Device
from ldm_sep.separation.naming import Suffix

if TYPE_CHECKING:
    from ldm_sep.catalogue import Row, Tally

# Seconds between two lines about how far it is.
_PERIOD = 10.0


def catalogue(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Audio files, folders, patterns, manifests (.csv, .jsonl, .json), - for stdin, or URIs (s3, gs).",
        ),
    ],
    out: Annotated[str, typer.Option("-o", "--out", help="Folder or URI for NAME-KEY/<stem>.wav and songs.jsonl.")],
    name: Annotated[str, typer.Option("-n", "--name", help="Checkpoint: a name, or its folder.")] = "open",
    workers: Annotated[
        int | None, typer.Option("-j", "--workers", min=1, help="Processes; default: one by GPU, or by core.")
    ] = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only this part of the songs, 1/N to N/N.")] = "1/1",
    engine: Annotated[Literal["local", "ray"], typer.Option(help="local: this machine. ray: a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster; default RAY_ADDRESS, or one started here.")
    ] = None,
    journal: Annotated[Path | None, typer.Option(help="Folder for songs.jsonl, where --out is a URI.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try songs again that failed, though they did not change.")
    ] = False,
    stems: Annotated[str, typer.Option(help="Which to write, joined by commas.")] = "vocals,instrumental",
    preset: Annotated[str | None, typer.Option(help="fast, balanced (the default) or best.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps; 1 is fastest and smoothest.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise: same seed, same output.")] = 0,
    device: Device = "auto",
    segment: Annotated[float | None, typer.Option(help="Seconds separated at a time.")] = None,
    overlap: Annotated[float | None, typer.Option(help="Share of a segment shared with the next, 0 to 0.5.")] = None,
    format: Annotated[Suffix, typer.Option("--format", help="File type.")] = "flac",
    samples: Annotated[Samples | None, typer.Option(help="Sample type; default float in wav, int24 in flac.")] = None,
    codec_weights: CodecWeights = None,
    max_hours: Annotated[float, typer.Option(min=0, help="Longest song; 0 for any length.")] = 12,
) -> None:
    """Separate very many songs, each exactly once, on one machine or many.

    Run again, it goes on with what is missing. Each song becomes a line of OUT/songs.jsonl; those that failed are
    listed in OUT/failed.jsonl, a manifest. Exit code 1 if a song failed.
    """
    from functools import partial

    from ldm_sep.catalogue import Shard, local_engine, make_recipe
    from ldm_sep.catalogue import catalogue as run
    from ldm_sep.errors import ConfigError
    from ldm_sep.separation.options import Options
    from ldm_sep.separation.planning import parse_stems

    check_samples(format, samples)
    if address is not None and engine == "local":
        raise ConfigError("--address: names a Ray cluster; add --engine ray")
    recipe = make_recipe(
        out,
        name,
        Options(preset=preset, steps=steps, seed=seed, segment=segment, overlap=overlap),
        stems=parse_stems(stems),
        suffix=format,
        subtype=samples,
        device=device,
        codec_weights=codec_weights,
        longest=3600 * max_hours or None,
    )
    if engine == "ray":
        from ldm_sep.catalogue.cluster import ray_engine, require_cluster

        require_cluster(address)
        act = partial(ray_engine, workers=workers, address=address)
    else:
        act = partial(local_engine, workers=workers)
    part = Shard.parse(shard)
    tally = run(inputs, recipe, act, journal=journal, shard=part, retry_failed=retry_failed, report=_Reporter())
    typer.echo(tally.line())
    if not tally.complete:
        raise typer.Exit(1)


class _Reporter:
    """Prints what a catalogue reports: failures at once, and from time to time how far it is."""

    def __init__(self) -> None:
        self._told = 0.0

    def __call__(self, tally: Tally, news: Row | str) -> None:
        from ldm_sep.files import shown

        line = news if isinstance(news, str) else news.error
        if line:
            typer.echo(f"ldm-sep: {shown(line)}", err=True)
        if tally.seconds - self._told >= _PERIOD:
            self._told = tally.seconds
            typer.echo(f"ldm-sep: {tally.line()}", err=True)
