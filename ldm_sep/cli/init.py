"""`ldm-sep init`."""

from pathlib import Path
from typing import Annotated

import typer

from ldm_sep.cli.options import Layout


def init(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Your songs: their folder, or a table of them.")],
    layout: Layout = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="The file to write; default: DATA's name.")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="NAME", help="The separator to fine-tune, or 'nothing'.")
    ] = "open",
    networks: Annotated[
        str,
        typer.Option(metavar="CONFIG", help="Whose networks to train; tiny.toml runs through everything in a minute."),
    ] = "own.toml",
) -> None:
    """Write a commented configuration for your own songs, and say what to run next."""
    from ldm_sep.files import as_file_name, shown
    from ldm_sep.training.recipe import write_recipe

    begin = None if start == "nothing" else start
    file = out or Path(f"{as_file_name(data.resolve().stem if data.is_file() else data.resolve().name)}.toml")
    recipe = write_recipe(data, layout, begin, networks, file)
    songs = recipe.songs
    typer.echo(
        f"{shown(file)}: layout {recipe.layout}; songs: {songs['train']} to train on, {songs['valid']} to validate on"
    )
    if not songs["valid"]:
        typer.echo("warning: without songs to validate on, scores are taken on training songs", err=True)
    typer.echo("next:")
    for command in recipe.commands:
        typer.echo(f"  {command}")
