"""The command `ldm-sep`. Nothing heavy is imported before a command runs, so that help is instant."""

import os
import sys
import warnings
from typing import Annotated

import typer

from ldm_sep.cli import catalogue, data, evaluate, init, models, rerun, separate, serve, study, training, validate
from ldm_sep.errors import ConfigError, LdmSepError


def _say_version(wanted: bool) -> None:
    if wanted:
        import ldm_sep

        typer.echo(f"ldm-sep {ldm_sep.__version__}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Generative singing-voice separation: vocals, and the exact remainder.",
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Say the version.")
    ] = False,
) -> None:
    pass


app.command("separate")(separate.separate)
app.command("rerun")(rerun.rerun)
app.command("catalogue")(catalogue.catalogue)
app.command("evaluate")(evaluate.evaluate)
app.command("init")(init.init)
app.command("train-codec")(training.train_codec)
app.command("whiten")(training.whiten)
app.command("train")(training.train)
app.command("validate")(validate.validate)
app.command("inspect")(models.inspect)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(study.app, name="study")
app.command("serve")(serve.serve)
app.command("doctor")(models.doctor)


def _check_command(words: list[str]) -> None:
    """ConfigError for a file in the place of a command, as other separators have it."""
    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    if words and words[0] not in names and os.path.lexists(words[0]):
        raise ConfigError(f"{words[0]}: is a file or folder, not a command; write: ldm-sep separate {words[0]}")


def main() -> None:
    """Run the command line; what a user can mend is printed as one line, with exit code 1, and so are warnings."""

    def warn(message: Warning | str, *rest: object, **named: object) -> None:
        typer.echo(f"ldm-sep: warning: {message}", err=True)

    warnings.showwarning = warn
    try:
        _check_command(sys.argv[1:])
        app()
    except LdmSepError as error:
        typer.echo(f"ldm-sep: {error}", err=True)
        sys.exit(1)
