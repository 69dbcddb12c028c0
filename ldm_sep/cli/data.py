"""`ldm-sep data`."""

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from ldm_sep.cli.options import (
    DEFAULT_CACHE,
    Cache,
    Changes,
    CodecFrom,
    CodecWeights,
    ConfigPath,
    Data,
    Init,
    Layout,
    LayoutName,
    PredictorFrom,
    load_experiment,
)
from ldm_sep.cli.progress import counting
from ldm_sep.cli.training import show_decoding
from ldm_sep.files import shown

app = typer.Typer(no_args_is_help=True, help="Look at training data, and make more.")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The data set, or its table for csv and roles.")],
    layout: Annotated[LayoutName | None, typer.Option(help="How it is laid out; default: as it looks.")] = None,
) -> None:
    """Report songs that training would pass over, unreadable files, misaligned, clipped, silent or very short songs,
    odd levels, stems that do not sum, leakage, recordings that are both trained on and validated on.

    Exit code 1 if anything was found.
    """
    from ldm_sep.data.check import check_complete, check_tracks
    from ldm_sep.data.layouts import guess_layout, read_tracks

    laid_out = layout or guess_layout(folder)
    tracks = read_tracks(laid_out, folder)
    findings = 0
    # A table may leave files out on purpose; a folder should be complete.
    named = laid_out in ("csv", "roles")
    for finding in chain(check_tracks(tracks), () if named else check_complete(laid_out, folder, tracks)):
        findings += 1
        typer.echo(shown(f"{finding.track}: {finding.kind}: {finding.message}"))
    songs = sum(track.is_song for track in tracks)
    typer.echo(f"{len(tracks)} tracks ({songs} songs), {findings} findings")
    if findings:
        raise typer.Exit(1)


@app.command()
def render(
    scores: Annotated[Path, typer.Argument(metavar="ZIP", help="A zip of MIDI songs with tracks MELODY and PIANO.")],
    soundfont: Annotated[Path, typer.Option(help="A General MIDI soundfont (.sf2).")],
    out: Annotated[Path, typer.Option(help="The folder to fill; train with it as a further --data.")],
    pieces: Annotated[int, typer.Option(min=1, help="How many pieces to render.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each.")] = 45.0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses songs, instruments, keys and tempos.")] = 0,
) -> None:
    """Render accompaniments from MIDI songs, orchestrated at random, as training data of layout roles.

    Needs the program fluidsynth. Pieces that are there already are kept.
    """
    from ldm_sep.data.synthesis.render import render as act

    with counting("rendering") as progress:
        unusable = act(scores, soundfont, out, pieces=pieces, seconds=seconds, seed=seed, progress=progress)
    if unusable:
        typer.echo(f"{unusable} songs were passed over: no MIDI files with tracks MELODY and PIANO")
    typer.echo(f"rendered: {shown(out)}")


@app.command()
def intone(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A CSV file with the columns speaker, files.")],
    root: Annotated[Path, typer.Option(help="The folder below which the table's files lie.")],
    out: Annotated[Path, typer.Option(help="The folder to fill; train with it as a further --data.")],
    seconds: Annotated[float, typer.Option(min=1, help="How much to make of each speaker.")] = 90.0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses takes, pitches and lengths of vowels.")] = 0,
    spoken: Annotated[bool, typer.Option("--spoken", help="Leave the speech as it is.")] = False,
) -> None:
    """Make singing voices of recorded speech, on steady pitches, as training data of layout roles.

    Needs pyworld (pip install pyworld-prebuilt). Voices that are there already are kept.
    """
    from ldm_sep.data.synthesis.intone import make_voices, read_speakers

    speakers = read_speakers(table, root)
    with counting("making voices") as progress:
        silent = make_voices(speakers, out, seconds=seconds, seed=seed, spoken=spoken, progress=progress)
    if silent:
        typer.echo(f"passed over, too little speech: {shown(', '.join(silent))}")
    typer.echo(f"voices: {shown(out)}")


@app.command()
def preview(
    config: ConfigPath,
    data: Data,
    out: Annotated[Path, typer.Option(help="The folder to fill.")],
    items: Annotated[int, typer.Option(min=1, max=100, help="How many items.")] = 8,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the training's.")] = None,
    changes: Changes = [],  # noqa: B006  (typer copies it)
    cache: Cache = DEFAULT_CACHE,
    layout: Layout = None,
) -> None:
    """Write training items as mixture and vocals to listen to, and a sheet of their spectrograms."""
    import torch

    from ldm_sep.build import build_mixer, codec_hop
    from ldm_sep.data.preview import preview as act
    from ldm_sep.errors import ConfigError
    from ldm_sep.training.sources import Sources

    resolved = load_experiment(config, changes, layout)
    settings = resolved.training or resolved.codec_training
    if settings is None:
        raise ConfigError(f"{config}: needs a [training] or [codec_training] table, whose window is previewed")
    decoded = Sources(resolved, data, typer.echo, typer.echo).open_decoded(cache, torch.device("cpu"), show_decoding)
    mixer = build_mixer(resolved.mix, decoded, settings.seconds, codec_hop(resolved.codec))
    written = act(mixer, items, settings.batch_size, settings.seed if seed is None else seed, out)
    typer.echo(f"{items} items and {shown(written[-1])}")


@app.command()
def freeze(
    config: Annotated[Path, typer.Argument(help="The TOML file of the training that will read the pack.")],
    data: Data,
    hours: Annotated[float, typer.Option(min=0.0001, help="How much to write; more of it later is added.")],
    out: Annotated[Path, typer.Option(help="The folder to fill.")],
    init: Init = None,
    codec: CodecFrom = None,
    predictor: PredictorFrom = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the mixes, and which estimates are varied.")] = 0,
    varied: Annotated[
        float, typer.Option(min=0, max=1, help="Share of items whose estimate gets errors of other kinds.")
    ] = 0.0,
    waves: Annotated[bool, typer.Option("--waves", help="Keep waves even where training reads latents alone.")] = False,
    changes: Changes = [],  # noqa: B006  (typer copies it)
    cache: Cache = DEFAULT_CACHE,
    layout: Layout = None,
    codec_weights: CodecWeights = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda or cuda:1.")] = "cpu",
) -> None:
    """Write training items once, as memory maps: mixes, the predictor's estimates, latents. `train --pack` reads them.

    Name the folders that the training will start from. An interrupted pack is gone on with by the same command.
    """
    from ldm_sep.device import choose_device
    from ldm_sep.training.freeze import freeze as act
    from ldm_sep.training.sources import Sources
    from ldm_sep.training.start import Start, begin_separator

    chosen = choose_device(device)
    resolved = load_experiment(config, changes, layout)
    model, _ = begin_separator(resolved, Start(init, codec, predictor, codec_weights))
    decoded = Sources(resolved, data, typer.echo, typer.echo).open_decoded(cache, chosen, show_decoding)
    with counting("freezing") as progress:
        items = act(
            resolved, model, decoded, out, hours=hours, seed=seed, varied=varied, waves=waves, progress=progress
        )
    typer.echo(f"pack: {shown(out)}, {items} items of {resolved.needed_training().seconds:g} s")
