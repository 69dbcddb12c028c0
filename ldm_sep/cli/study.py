"""`ldm-sep study`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from ldm_sep.cli import study_results
from ldm_sep.cli.progress import counting, print_table
from ldm_sep.files import shown

app = typer.Typer(no_args_is_help=True, help="Listening studies: plan, prepare, serve, analyse.")

# Those whose ratings have a scale, so that their precision can be planned.
_Rated = Literal["p835", "mushra", "bs2132"]
_Method = Literal["p835", "mushra", "bs2132", "ab"]


class RoleName(StrEnum):
    """What can be rated beside the systems. Of a list of literals the command line cannot be made."""

    reference = "reference"
    low_anchor = "low_anchor"
    mid_anchor = "mid_anchor"
    mixture = "mixture"
    codec = "codec"


@app.command()
def plan(
    songs: Annotated[int, typer.Option(min=2, help="Songs rated in the whole study.")] = 24,
    systems: Annotated[int, typer.Option(min=2, help="Versions of each song, with reference and anchors.")] = 4,
    listeners: Annotated[int, typer.Option(min=2, help="People who take part.")] = 15,
    per_listener: Annotated[
        int | None, typer.Option(min=1, help="Songs that each listener hears; default all of them.")
    ] = None,
    method: Annotated[_Rated, typer.Option(help="How it is rated; sets the scale.")] = "p835",
    seconds: Annotated[float, typer.Option(min=1, max=120, help="Length of an excerpt.")] = 10.0,
    pilot: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Ratings of a pilot (listener, item, system, rating), for its own variances."),
    ] = None,
    question: Annotated[str | None, typer.Option(help="The pilot's question, where it has several.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for plan.md and plan.png.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 0,
) -> None:
    """Say how small a difference a study can show, before anybody listens.

    Studies are simulated and analysed as `ldm-sep study analyse` will do it. Without a pilot the variances are those of
    3,000 public ratings of separated vocals.
    """
    from ldm_sep.errors import ConfigError, need_package
    from ldm_sep.files import make_folder, write_text
    from ldm_sep.study import plan as planning
    from ldm_sep.study.methods import questions
    from ldm_sep.study.power import Design
    from ldm_sep.study.ratings import columns, only_question, read_csv
    from ldm_sep.study.variance import PUBLIC_ORIGIN, PUBLIC_RATINGS, estimate_components

    need_package("a plan", "scipy")
    each = songs if per_listener is None else per_listener
    if each > songs:
        raise ConfigError(f"--per-listener {each}: there are {songs} songs; name fewer")
    if pilot is not None:
        rows = read_csv(pilot)
        wanted = only_question(rows, question)
        components = estimate_components(columns(rows, wanted))
        origin = f"REML of the {len(rows)} ratings in {pilot.name}, question '{wanted}'"
    else:
        components, origin = planning.components_for(method, PUBLIC_RATINGS), PUBLIC_ORIGIN
    design = Design(listeners, songs, systems, each)
    made = planning.make_plan(design, components, len(questions(method)), seconds, origin, seed)
    print_table(planning.HEAD, planning.table(made))
    for line in planning.words(made):
        typer.echo(line)
    if out is not None:
        need_package("a plot", "matplotlib")
        make_folder(out)
        write_text(out / "plan.md", planning.markdown(made))
        planning.draw(out / "plan.png", design, components, origin, seed)
        typer.echo(shown(out / "plan.md"))


@app.command()
def prepare(
    estimates: Annotated[
        list[str],
        typer.Option(metavar="NAME=DIR", help="A system and its folder of estimated vocals; repeat for more."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder, which can be served as it is.")],
    reference: Annotated[
        Path | None, typer.Option(metavar="DIR", help="True vocals, where there are any: as for `ldm-sep evaluate`.")
    ] = None,
    mixtures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Songs, where they are not beside the references.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="New file that says what each sound is; default beside the folder.")
    ] = None,
    method: Annotated[_Method, typer.Option(help="ITU-T P.835, BS.1534, BS.2132 or A/B.")] = "p835",
    title: Annotated[str, typer.Option(help="Shown on top of the page.")] = "Listening study",
    texts: Annotated[
        Path | None,
        typer.Option(metavar="TOML", help="Own words for consent, instructions, training, thanks, reference."),
    ] = None,
    listeners: Annotated[int, typer.Option(min=1, help="Listeners to make orders for.")] = 15,
    songs: Annotated[
        int | None, typer.Option(min=1, help="Songs to draw; default all that are not practised on.")
    ] = None,
    per_listener: Annotated[
        int | None, typer.Option(min=1, help="Songs that each listener hears; default all.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=120, help="Length of an excerpt.")] = 10.0,
    sung: Annotated[float, typer.Option(min=0, max=1, help="Least share of an excerpt in which somebody sings.")] = 0.5,
    training: Annotated[int, typer.Option(min=0, help="Songs to practise on, not among those rated.")] = 1,
    repeats: Annotated[int, typer.Option(min=0, help="Trials that each listener hears twice.")] = 0,
    add: Annotated[
        list[RoleName] | None,
        typer.Option(help="Rated beside the systems; mushra has the first three. Repeat for more."),
    ] = None,
    loudness: Annotated[float, typer.Option(min=-60, max=-5, help="Of everything, in LUFS (ITU-R BS.1770).")] = -23.0,
    rate: Annotated[int | None, typer.Option(min=8000, max=192000, help="Sample rate; default the highest.")] = None,
    headphones: Annotated[bool, typer.Option(help="Begin with a check for headphones.")] = True,
    licence: Annotated[str, typer.Option(help="Terms of the sources, for the key.")] = "unstated",
    seed: Annotated[int, typer.Option(min=0, help="Of excerpts, names and orders.")] = 0,
) -> None:
    """Make a study from folders of stems: excerpts where somebody sings, equally loud, unnamed, in balanced orders."""
    from ldm_sep.cli.evaluate import parse_estimates
    from ldm_sep.study import methods
    from ldm_sep.study.prepare import Settings
    from ldm_sep.study.prepare import prepare as run

    settings = Settings(
        method=method,
        title=title,
        texts=methods.texts(method) if texts is None else methods.read_texts(texts, method),
        listeners=listeners,
        songs=songs,
        per_listener=per_listener,
        seconds=seconds,
        least_sung=sung,
        training=training,
        repeats=repeats,
        add=tuple(role.value for role in add or ()),
        loudness_lufs=loudness,
        sample_rate=rate,
        headphones=headphones,
        licence=licence,
        seed=seed,
    )
    key_path = key if key is not None else out.with_name(f"{out.name}-key.json")
    with counting("excerpts") as report:
        made = run(reference, parse_estimates(estimates), mixtures, out, key_path, settings, report)
    for note in made.notes:
        typer.echo(f"ldm-sep: note: {note}", err=True)
    shares = [trial.sung for trial in made.key.trials if not trial.training and trial.sung is not None]
    songs_rated = len({trial.item for trial in made.key.trials if not trial.training})
    people, trials = len(made.study.listeners), len(made.study.listeners[0].trials)
    words = f"{min(shares):.0%} to {max(shares):.0%} of each excerpt sung"
    typer.echo(f"{people} listeners, {songs_rated} songs, {trials} trials each, {words}")
    typer.echo(f"to serve: {shown(out)}")
    typer.echo(f"the key, never to be served: {shown(key_path)}")


@app.command()
def serve(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A folder that `ldm-sep study prepare` made.")],
    answers: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the answers, outside STUDY.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 for a network, with links for each.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    listeners: Annotated[int | None, typer.Option(min=1, help="How many take part; default all with an order.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Another name of this server, behind a proxy; repeat.")
    ] = None,
) -> None:
    """Serve a study to listeners' browsers; every answer is on the disk before the next page shows."""
    from ldm_sep.study.server import serve as run

    run(study, answers, host=host, port=port, listeners=listeners, names=name or (), report=typer.echo)


app.command("export")(study_results.export)
app.command("analyse")(study_results.analyse)
