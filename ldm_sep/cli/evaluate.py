"""`ldm-sep evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ldm_sep.cli.options import CodecWeights
from ldm_sep.files import shown
from ldm_sep.separation.naming import Stem

if TYPE_CHECKING:
    from ldm_sep.evaluate import Row, Summary


def evaluate(
    reference: Annotated[
        Path, typer.Option(metavar="DIR", help="True vocals: TRACK/vocals.wav, TRACK_vocals.wav or TRACK.wav.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for scores, tables, plots and report.html.")],
    estimates: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="A system and its folder of estimated vocals; repeat for more."),
    ] = None,
    mixtures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Mixtures, where they are not beside the references.")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD", help="irm, mixture, silence, karaoke or codec:CHECKPOINT, scored as well; repeat for more."
        ),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Add the paper's results in a table of their own.")
    ] = False,
    metrics: Annotated[
        str | None, typer.Option(help="Which, joined by commas; default all but air and visqol.")
    ] = None,
    stem: Annotated[
        Stem, typer.Option(help="instrumental scores what the estimates leave of the mixtures.")
    ] = "vocals",
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Processes, of one thread each.")] = 1,
    spectrograms: Annotated[
        bool, typer.Option("--spectrograms/--no-spectrograms", help="Spectrograms and excerpts to listen to, by track.")
    ] = True,
    codec_weights: CodecWeights = None,
) -> None:
    """Score separated vocals against true ones: tables with intervals and tests, plots, a report.

    Run again, it computes only what is missing or has changed. Exit code 1 if a track could not be scored.
    """
    from ldm_sep.cli.progress import counting
    from ldm_sep.errors import ConfigError
    from ldm_sep.evaluate import BASELINES, extra_files, match_tracks, parse_metrics, unmatched_references
    from ldm_sep.evaluate import evaluate as run
    from ldm_sep.evaluate.match import is_baseline
    from ldm_sep.metrics import DEFAULT_METRICS

    folders = parse_estimates(estimates or [])
    baselines = list(dict.fromkeys(baseline or []))
    for word in baselines:
        if not is_baseline(word):
            raise ConfigError(f"--baseline {word}: choose from {', '.join(BASELINES)} and codec:CHECKPOINT")
    if not folders and not baselines:
        raise ConfigError("nothing to evaluate; name estimates with --estimates NAME=DIR, or a --baseline")
    wanted = DEFAULT_METRICS if metrics is None else parse_metrics(metrics)
    tracks = match_tracks(reference, folders, mixtures)
    if left_out := unmatched_references(tracks, reference):
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        taken = shown(tracks[0].reference)
        typer.echo(f"ldm-sep: warning: {shown(left_out[0])}{more}: taken for no track, as {taken} is", err=True)
    for system, files in extra_files(tracks, folders).items():
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        typer.echo(f"ldm-sep: warning: {shown(files[0])}{more}: no such track to compare {system} with", err=True)

    with counting("scoring") as advance:

        def report(done: int, total: int, row: Row | None) -> None:
            advance(done, total)
            # One bad track does not stop the rest, nor one metric the others.
            for line in row.complaints if row is not None else ():
                typer.echo(f"ldm-sep: {shown(line)}", err=True)

        summary = run(
            tracks,
            [*folders, *baselines],
            out,
            jobs=jobs,
            metrics=wanted,
            stem=stem,
            spectrograms=spectrograms,
            published=published,
            codec_weights=codec_weights,
            report=report,
        )
    _print_table(summary)
    typer.echo(shown(out / "report.html"))
    if summary.failures:
        count = len(summary.failures)
        typer.echo(f"ldm-sep: {count} failed, listed in {shown(out / 'table.md')}; mend and run again", err=True)
        raise typer.Exit(1)


def parse_estimates(words: list[str]) -> dict[str, Path]:
    """Folders by name from words like ``ours=separated``. ConfigError for another form or a name that is taken."""
    from ldm_sep.errors import ConfigError

    folders: dict[str, Path] = {}
    for word in words:
        name, sign, folder = word.partition("=")
        if not sign or not name.strip() or not folder:
            raise ConfigError(f"--estimates {word}: write NAME=DIR, as in --estimates ours=separated")
        if name in folders:
            raise ConfigError(f"--estimates {word}: the name {name} is taken; give each system a name of its own")
        folders[name] = Path(folder)
    return folders


def _print_table(summary: Summary) -> None:
    """Systems as columns, since there are more metrics than a terminal is wide; as many tables as that takes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ldm_sep.evaluate.tables import cell, heading, interval_note, list_note

    console = Console()
    count = len(summary.tracks)
    # A column holds "-12.34 [-12.34, -12.34]" on two lines.
    at_once = max(1, (console.width - 20) // 20)
    for first in range(0, len(summary.systems), at_once):
        systems = summary.systems[first : first + at_once]
        table = Table("metric")
        for system in systems:
            table.add_column(Text(shown(system)))
        for metric in summary.metrics:
            cells = [cell(summary.scores[system][metric.key], metric.key, count) for system in systems]
            table.add_row(heading(metric), *(Text(text.replace(" [", "\n[", 1)) for text in cells))
        console.print(table)
    console.print(f"{list_note(summary)}. {interval_note(summary)}", markup=False, highlight=False)
