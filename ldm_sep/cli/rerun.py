"""`ldm-sep rerun`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ldm_sep.cli.choices import stretch_of
from ldm_sep.cli.options import CodecWeights, Device
from ldm_sep.cli.progress import Shown, choose_show
from ldm_sep.errors import AudioError, CheckpointError, ConfigError

if TYPE_CHECKING:
    from ldm_sep.separation.sidecar import InputFacts


def rerun(
    sidecar: Annotated[Path, typer.Argument(metavar="SIDECAR", help="separation.json beside the stems of a song.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder; default where the sidecar is.")] = None,
    song: Annotated[Path | None, typer.Option("--input", help="The song, where it is not where it was.")] = None,
    estimate: Annotated[Path | None, typer.Option(help="The given vocals, where they are not where they were.")] = None,
    resample: Annotated[
        str | None,
        typer.Option(
            metavar="A-B", help="Renew this stretch alone, as 62-66.5 or 1:02-1:06.5 of the stems; needs --seed."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the noise in the stretch that --resample names.")] = None,
    name: Annotated[
        str | None, typer.Option("-n", "--name", help="The checkpoint, where it is not where it was.")
    ] = None,
    device: Device = "auto",
    codec_weights: CodecWeights = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    progress: Annotated[Shown, typer.Option("--progress", help="As of ldm-sep separate.")] = "auto",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Warnings and errors alone.")] = False,
) -> None:
    """Make the stems of a sidecar again: the same bytes, on the same machine. Or all but one stretch of them.

    Exit code 1 if the bytes are others than they were, which another processor or version of torch may cause.
    """
    from ldm_sep.files import shown
    from ldm_sep.separation.naming import Place
    from ldm_sep.separation.progress import Progress
    from ldm_sep.separation.sidecar import checkpoint_hash, read_sidecar
    from ldm_sep.separation.song import hash_of, separate_song

    if (resample is None) != (seed is None):
        raise ConfigError("--resample and --seed belong together: a stretch, and the seed that renews it")
    was = read_sidecar(sidecar)

    def source(named: Path | None, facts: InputFacts, what: str, option: str) -> Path:
        path = named or sidecar.parent / facts.file
        if named is None and not path.is_file():
            raise AudioError(f"{shown(path)}: {what} is not where it was; name it by {option}")
        if hash_of(path) != facts.sha256:
            raise AudioError(f"{shown(path)}: is not {what} of {shown(sidecar)}; name that by {option}")
        return path

    path = source(song, was.input, "the song", "--input")
    given = None if was.estimate is None else source(estimate, was.estimate, "the estimate", "--estimate")
    place = Place(out or sidecar.parent, {stem: facts.file for stem, facts in was.stems.items()}, sidecar.name)
    there = [target for target in place.targets.values() if target.exists()]
    if there and not overwrite:
        raise AudioError(f"{shown(there[0])}: exists already; add --overwrite, or name another --out")
    stretch = None if resample is None or seed is None else (*stretch_of(resample, "--resample"), seed)
    # Only now the heavy imports: mistakes in names and places are told at once.
    from ldm_sep.separation.separator import Separator

    separator = Separator.load(name or was.checkpoint.name, device=device, codec_weights=codec_weights)
    if checkpoint_hash(separator.manifest) != was.checkpoint.sha256:
        raise CheckpointError(
            f"{shown(name or was.checkpoint.name)}: is not the checkpoint of {shown(sidecar)}; name that by -n"
        )
    settings = was.settings
    if stretch is not None:
        plan = settings.plan.model_copy(update={"renewed": (*settings.plan.renewed, stretch)})
        settings = settings.model_copy(update={"plan": plan})
    show = choose_show(progress, quiet)
    show.begin(1, 1, shown(path.name))
    try:
        made = separate_song(
            separator,
            path,
            place,
            settings,
            longest=None,
            progress=Progress(show.at),
            notice=lambda text: show.line("warning", shown(text)),
            sha256=was.input.sha256,
            estimate=given,
            estimate_sha256=None if was.estimate is None else was.estimate.sha256,
        )
    except BaseException:
        show.end("failed")
        raise
    show.end("separated")
    others = [stem for stem, facts in made.stems.items() if facts.sha256 != was.stems[stem].sha256]
    for stem, target in place.targets.items():
        if not quiet:
            typer.echo(f"{shown(target)}: {'other bytes' if stem in others else 'the same bytes'}")
    if others and stretch is None:
        theirs, ours = was.versions, made.versions
        show.line(
            "error",
            f"{shown(sidecar)}: the stems came out otherwise; they were made by ldm-sep {theirs.ldm_sep} with torch "
            f"{theirs.torch} on {was.device}, now by {ours.ldm_sep} with {ours.torch} on {made.device}",
        )
        raise typer.Exit(1)
