"""`ldm-sep data`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look at training data.")


class LayoutName(StrEnum):
    """Layouts of a data set; the README describes each."""

    musdb18hq = "musdb18hq"
    stems = "stems"
    pairs = "pairs"
    csv = "csv"
    roles = "roles"


@app.callback()
def group() -> None:
    """Look at training data."""


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The data set, or its table for csv and roles.")],
    layout: Annotated[LayoutName, typer.Option(help="How it is laid out.")] = LayoutName.stems,
) -> None:
    """Report unreadable files, misaligned or clipped songs, odd levels, silence, stems that do not sum, leakage.

    Exit code 1 if anything was found.
    """
    from ldm_sep.data.check import check_tracks
    from ldm_sep.data.tracks import read_tracks

    tracks = read_tracks(layout.value, folder)
    findings = 0
    for finding in check_tracks(tracks):
        findings += 1
        typer.echo(f"{finding.track}: {finding.kind}: {finding.message}")
    songs = sum(track.is_song for track in tracks)
    typer.echo(f"{len(tracks)} tracks ({songs} songs), {findings} findings")
    if findings:
        raise typer.Exit(1)
