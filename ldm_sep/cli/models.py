"""`ldm-sep inspect`, `models` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ldm_sep.cli.options import CodecWeights

if TYPE_CHECKING:
    from torch import nn

    from ldm_sep.config import UNetConfig

app = typer.Typer(no_args_is_help=True, help="List, describe and verify checkpoints.")


def _say(line: str) -> None:
    """Print a line that may hold names from files; their control characters are shown, not sent to the terminal."""
    from ldm_sep.files import shown

    typer.echo(shown(line))


@app.command("list")
def list_models() -> None:
    """The separators that can be named with -n."""
    from ldm_sep.checkpoint.manifest import read_manifest
    from ldm_sep.checkpoint.names import list_checkpoints
    from ldm_sep.errors import CheckpointError
    from ldm_sep.files import shown

    for name, folder in list_checkpoints().items():
        try:
            manifest = read_manifest(folder)
            typer.echo("\t".join(map(shown, (name, manifest.kind, manifest.config.description))))
        except CheckpointError as error:
            typer.echo("\t".join(map(shown, (name, "unusable", str(error)))))


@app.command()
def info(name: Annotated[str, typer.Argument(help="A checkpoint's name or folder.")]) -> None:
    """A checkpoint's card: sizes, scores, licence, training data, where it fails."""
    from ldm_sep.checkpoint.card import model_card
    from ldm_sep.checkpoint.manifest import read_manifest
    from ldm_sep.checkpoint.names import find_checkpoint

    for line in model_card(read_manifest(find_checkpoint(name)).facts).splitlines():
        _say(line)


@app.command()
def verify(name: Annotated[str, typer.Argument(help="A checkpoint's name or folder.")]) -> None:
    """Compare the weight files with the hashes in config.json."""
    from ldm_sep.checkpoint.names import find_checkpoint
    from ldm_sep.checkpoint.reading import verify as act

    for file in act(find_checkpoint(name)):
        _say(f"{file}: intact")


@app.command()
def average(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR DIR...", help="Separators of equal networks.")],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    codec_weights: CodecWeights = None,
) -> None:
    """Write the mean of the weights of separators trained from one start, which often generalises better than each."""
    from ldm_sep.checkpoint.averaging import average_separators
    from ldm_sep.training.provenance import provenance

    average_separators(folders, out, provenance(), codec_weights)
    _say(f"separator: {out}")


def inspect(
    target: Annotated[str, typer.Argument(help="A configuration file, or a checkpoint's name or folder.")],
) -> None:
    """Print levels, shapes and parameter counts. Nothing is allocated: the networks are built without memory."""
    import torch

    from ldm_sep.build import build_codec, build_separator
    from ldm_sep.checkpoint.manifest import read_manifest
    from ldm_sep.checkpoint.names import find_checkpoint
    from ldm_sep.config import load_config

    is_config = target.endswith(".toml")
    config = load_config(target) if is_config else read_manifest(find_checkpoint(target)).config
    with torch.device("meta"):
        codec = build_codec(config.codec)
        separator = build_separator(config, codec) if config.unet is not None else None
    _say(f"{config.name}: {config.description}")
    _say(
        f"codec {config.codec.kind}: {codec.sample_rate} Hz, {codec.channels} channels, hop {codec.hop}, "
        f"{codec.latent_channels} x {codec.sample_rate / codec.hop:g} Hz latents, "
        f"{'keeps' if codec.keeps_level else 'loses'} the level"
    )
    _count("encoder", codec.encoder)
    _count("decoder", codec.decoder)
    if separator is not None and config.unet is not None:
        _levels(config.unet, codec.sample_rate / codec.hop)
        _count("conditioner", separator.conditioner)
        if separator.predictor is not None:
            _count("predictor", separator.predictor)
        _count("unet", separator.unet)
        if separator.post_filter is not None:
            _count("post-filter", separator.post_filter)
        if separator.level_head is not None:
            _count("level head", separator.level_head)


def _levels(unet: UNetConfig, frame_rate: float) -> None:
    _say(f"unet {unet.kind}:")
    rate = frame_rate
    for number, level in enumerate(unet.levels, 1):
        rate /= level.factor
        extras = "".join([", condition" if level.inject else "", ", attention" if level.attention else ""])
        _say(f"  level {number}: {level.channels} channels at {rate:g} Hz, {level.blocks} blocks{extras}")


def _count(name: str, module: nn.Module) -> None:
    from ldm_sep.checkpoint.writing import parameter_count

    _say(f"  {name}: {parameter_count(module):,} parameters")


def doctor() -> None:
    """What this installation can do: versions, devices, checkpoints."""
    import platform
    from importlib.metadata import version

    import torch

    from ldm_sep.checkpoint.names import checkpoint_folders, list_checkpoints
    from ldm_sep.device import choose_device

    _say(f"ldm-sep {version('ldm-sep')}, Python {platform.python_version()}, {platform.platform()}")
    for package in ("torch", "soundfile", "soxr", "accelerate", "encodec", "audio-diffusion-pytorch"):
        _say(f"{package} {version(package)}")
    _say(f"device: {choose_device()} ({torch.get_num_threads()} CPU threads)")
    if torch.backends.mps.is_available():
        _say("mps is there, but ldm-sep was never run on it: name it with -d mps to try")
    places = ", ".join(str(p) for p in checkpoint_folders()) or "no folder found"
    _say(f"checkpoints: {', '.join(list_checkpoints()) or 'none'} in {places}")
