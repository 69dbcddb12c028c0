"""Options that several commands share, and what they come to."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ldm_sep.data.tracks import Layout as LayoutName

if TYPE_CHECKING:
    from ldm_sep.config import Config


ConfigPath = Annotated[Path, typer.Argument(help="An experiment's TOML file, such as configs/open_stage1.toml.")]
Data = Annotated[
    list[Path],
    typer.Option(help="The data set: its folder, or its table for the layouts csv and roles. May be repeated."),
]
Run = Annotated[Path, typer.Option(help="Where states, logs, samples and the result go.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last state in --run.")]


def _checkpoint(name: str) -> Path:
    from ldm_sep.checkpoint.names import find_checkpoint

    return find_checkpoint(name)


_named = partial(typer.Option, parser=_checkpoint, metavar="NAME")
Init = Annotated[Path | None, _named(help="A checkpoint's name or folder, whose weights to start from.")]
CodecFrom = Annotated[
    Path | None, _named("--codec", help="A trained codec's folder, or a separator whose codec to take.")
]
PredictorFrom = Annotated[
    Path | None,
    _named("--predictor", help="A separator's name or folder, of any codec, whose predictor to take."),
]
Changes = Annotated[
    list[str],
    typer.Option("--set", help="TABLE.KEY=VALUE, instead of what the configuration says there. May be repeated."),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Instead of the configuration's number of steps.")]
MaxMinutes = Annotated[float | None, typer.Option(min=0, help="Stop, with everything saved, after this long.")]
Cache = Annotated[Path, typer.Option(help="Where the decoded audio is kept between runs.")]
Items = Annotated[
    Path | None,
    typer.Option(help="Table of validation items, files of the first --data; default: the validation songs."),
]
Cpu = Annotated[bool, typer.Option("--cpu", help="Train on the CPU even where there is a GPU.")]
CodecWeights = Annotated[
    Path | None, typer.Option(help="The pretrained EnCodec's weight file, instead of its download.")
]
Device = Annotated[str, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:N or mps.")]
DEFAULT_CACHE = Path(".cache")
Layout = Annotated[
    LayoutName | None, typer.Option(help="How --data is laid out, where it is not as the configuration says.")
]


def load_experiment(path: Path, changes: list[str], layout: LayoutName | None) -> Config:
    """The configuration in ``path`` with what the command line has otherwise."""
    from ldm_sep.config import load_config

    return laid_out(load_config(path, changes), layout)


def laid_out(config: Config, layout: LayoutName | None) -> Config:
    """``config`` for data of another ``layout``, unless that is None."""
    if layout is None:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"layout": layout})})
