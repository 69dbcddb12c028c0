"""`ldm-sep study export` and `ldm-sep study analyse`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ldm_sep.cli.progress import print_table
from ldm_sep.files import shown

if TYPE_CHECKING:
    from ldm_sep.study.analysis import Analysis
    from ldm_sep.study.collect import Collected


_Key = Annotated[Path | None, typer.Option(help="The study's key; default beside the folder.")]


def export(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The folder that is or was served.")],
    to: Annotated[
        Literal["webmushra", "csv"],
        typer.Option(help="webmushra: a configuration for each listener; csv: the ratings."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for webmushra, file for csv.")],
    key: _Key = None,
    answers: Annotated[Path | None, typer.Option(metavar="DIR", help="Answers, for csv.")] = None,
    place: Annotated[
        str, typer.Option(help="Where webMUSHRA finds STUDY below its own folder.")
    ] = "configs/resources/study",
) -> None:
    """Write a study for webMUSHRA, or ratings as a table: listener, item, system, question, rating."""
    from ldm_sep.errors import ConfigError, need_package
    from ldm_sep.study import output
    from ldm_sep.study.collect import collect, load_pair

    key_path = _key_of(study, key)
    if to == "webmushra":
        need_package("a configuration of webMUSHRA", "yaml", "PyYAML")
        count = output.write_webmushra(out, *load_pair(study, key_path), place)
        typer.echo(
            f"{count} configurations in {shown(out)}; copy {shown(study)} to {place} of webMUSHRA, and never the key"
        )
        return
    if answers is None:
        raise ConfigError("--to csv: exports ratings; name their folder with --answers")
    output.write_ratings(out, collect(study, key_path, answers))
    typer.echo(shown(out))


def analyse(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for tables, plots and report.html.")],
    study: Annotated[Path | None, typer.Argument(metavar="[STUDY]", help="The folder that was served.")] = None,
    answers: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder that answers were written to.")
    ] = None,
    webmushra: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Instead of answers: mushra.csv or lss.csv of webMUSHRA.")
    ] = None,
    ratings: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Instead of a study: a table listener, item, system, question, rating."),
    ] = None,
    key: _Key = None,
    scores: Annotated[
        Path | None, typer.Option(metavar="FILE", help="scores.jsonl of `ldm-sep evaluate`, to correlate with.")
    ] = None,
    against: Annotated[str | None, typer.Option(metavar="NAME", help="Compare each system with this one only.")] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Leave out nobody; say who breaks a rule.")] = False,
    mixed_model: Annotated[bool, typer.Option(help="Fit a mixed model too; takes up to some minutes.")] = True,
    players: Annotated[int, typer.Option(min=0, help="Songs whose sounds are in the report.")] = 3,
) -> None:
    """Say what listeners found, and how sure it is: means, differences, agreement, in tables, plots and a report."""
    from ldm_sep.errors import need_package
    from ldm_sep.study.analysis import analyse as run
    from ldm_sep.study.correlate import read_scores
    from ldm_sep.study.output import write_all

    for package in ("scipy", "krippendorff", "matplotlib", "jinja2", *(["statsmodels"] if mixed_model else [])):
        need_package("an analysis", package)
    collected = _collect(study, key, answers, webmushra, ratings)
    read = None if scores is None else read_scores(scores)
    done = run(collected, against=against, scores=read, with_model=mixed_model, keep_all=keep_all)
    for note in done.notes:
        typer.echo(f"ldm-sep: note: {note}", err=True)
    report = write_all(out, done, collected, study, players, keep_all)
    for one in done.rejected:
        typer.echo(f"ldm-sep: note: listener {one.listener}: {one.rule}, {one.detail}", err=True)
    _print_means(done)
    typer.echo(shown(report))


def _collect(
    study: Path | None, key: Path | None, answers: Path | None, webmushra: Path | None, ratings: Path | None
) -> Collected:
    """Ratings from the one source that was named."""
    from ldm_sep.errors import ConfigError
    from ldm_sep.study import collect
    from ldm_sep.study.ratings import read_csv
    from ldm_sep.study.webmushra import read_results

    sources = [source for source in (answers, webmushra, ratings) if source is not None]
    if len(sources) == 1:
        if ratings is not None and study is None:
            return collect.collect_table(read_csv(ratings), ratings.stem)
        if answers is not None and study is not None:
            return collect.collect(study, _key_of(study, key), answers)
        if webmushra is not None and study is not None:
            pair = collect.load_pair(study, _key_of(study, key))
            return collect.collect_ratings(*pair, read_results(webmushra, *pair))
    raise ConfigError("name a study with --answers or --webmushra, or a table alone with --ratings")


def _key_of(study: Path, key: Path | None) -> Path:
    """The key named, or the one that `prepare` puts beside the folder."""
    return key if key is not None else study.with_name(f"{study.name}-key.json")


def _print_means(done: Analysis) -> None:
    from ldm_sep.study import tables

    for result in done.questions:
        means = tables.means(result)
        print_table(means.head, means.rows, result.question.id)
    for table in tables.ab(done):
        print_table(table.head, table.rows, "preference")
