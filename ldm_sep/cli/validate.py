"""`ldm-sep validate`."""

from pathlib import Path
from typing import Annotated

import typer

from ldm_sep.cli.options import CodecWeights, Data, Items, Layout, laid_out


def validate(
    checkpoint: Annotated[str, typer.Argument(help="A separator's name or folder.")],
    data: Data,
    layout: Layout = None,
    items: Items = None,
    samples: Annotated[
        Path | None, typer.Option(help="A folder for mixture, vocals and estimate of some items.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or cuda:1.")] = "auto",
    codec_weights: CodecWeights = None,
) -> None:
    """Score a separator as training does at every validation: on fixed items, without training anything."""
    from ldm_sep.separation.separator import Separator
    from ldm_sep.training.sources import Sources
    from ldm_sep.training.validation import score_separator, validation_plans, write_samples

    separator = Separator.load(checkpoint, device=device, codec_weights=codec_weights)
    config = laid_out(separator.manifest.config, layout)
    sources = Sources(config, data, typer.echo, lambda line: typer.echo(f"warning: {line}", err=True))
    validation = sources.items(items)
    plans = validation_plans(config.sampling)
    scores = score_separator(separator.model, validation, plans, separator.device)
    for name, value in scores.items():
        typer.echo(f"{name:<40} {value:8.3f}")
    if samples is not None:
        # The references lie one folder up, as in a training's folder, where every validation adds estimates.
        write_samples(
            separator.model, validation, plans[config.sampling.steps], separator.device, samples / "estimates"
        )
    typer.echo(f"{len(validation)} items; si_sdr_gain_N (dB) and lsd_N (log10) are those of N steps")
