"""Weights of a checkpoint folder into networks: what is read is checked."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ldm_sep.build import build_codec, build_separator, pretrained_codec
from ldm_sep.checkpoint.manifest import Manifest, read_manifest
from ldm_sep.codec.base import Codec
from ldm_sep.codec.encodec_48khz import sha256_of
from ldm_sep.config import Config
from ldm_sep.errors import CheckpointError
from ldm_sep.method.model import LatentSeparator
from ldm_sep.method.whitening import Whitening


def load_strictly(module: nn.Module, path: Path, *, ignore: tuple[str, ...] = (), prefix: str = "") -> None:
    """Load ``path`` into ``module``: same keys (but those beginning with ``ignore``), same shapes, all finite.

    ``prefix``: ``module`` is the part of a larger one whose keys begin so; the file's others are passed over.
    """
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing; fetch the checkpoint again") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); fetch the checkpoint again") from None
    # Earlier versions called the levels of the U-Net stages.
    state = {k.replace("unet.stages.", "unet.levels."): v for k, v in state.items()}
    state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    expected = {k: v for k, v in module.state_dict().items() if not k.startswith(ignore or ("\0",))}
    wrong = sorted(expected.keys() ^ state.keys())
    if wrong:
        which = "missing" if wrong[0] in expected else "not expected"
        raise CheckpointError(
            f"{path}: the weight {wrong[0]} is {which}; weights and config.json do not belong together"
        )
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise CheckpointError(
                f"{path}: {key} has shape {tuple(value.shape)}, the configuration wants {tuple(expected[key].shape)}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {key} holds values that are not finite; fetch the checkpoint again")
    module.load_state_dict({k: v.to(expected[k].dtype) for k, v in state.items()}, strict=False)


def _load_codec_networks(folder: Path, config: Config, codec_weights: Path | None) -> Codec:
    codec = pretrained_codec(config.codec, codec_weights)
    if codec is None:
        codec = build_codec(config.codec)
        load_strictly(codec, folder / "codec.safetensors")
    return codec


def load_codec(folder: Path, codec_weights: Path | None = None) -> tuple[Manifest, Codec, Whitening]:
    """The codec and whitening constants of a codec's folder, or of a separator's."""
    manifest = read_manifest(folder)
    codec = _load_codec_networks(folder, manifest.config, codec_weights)
    whitening = Whitening(codec.latent_channels)
    if manifest.kind == "codec":
        load_strictly(whitening, folder / "whitening.safetensors")
    else:
        load_strictly(whitening, folder / "model.safetensors", prefix="whitening.")
    return manifest, codec.eval(), whitening


def load_separator(folder: Path, codec_weights: Path | None = None) -> tuple[Manifest, LatentSeparator]:
    """A separator's folder, on the CPU, in evaluation mode. CheckpointError if anything does not fit."""
    manifest = read_manifest(folder)
    if manifest.kind != "separator":
        raise CheckpointError(f"{folder}: holds a codec, not a separator; name a separator's folder")
    codec = _load_codec_networks(folder, manifest.config, codec_weights)
    separator = build_separator(manifest.config, codec)
    load_strictly(separator, folder / "model.safetensors", ignore=("codec.",))
    return manifest, separator.eval()


def verify(folder: Path) -> list[str]:
    """Names of the weight files whose SHA-256 equals the recorded one. CheckpointError at the first that differs."""
    manifest = read_manifest(folder)
    for name, wanted in manifest.facts["sha256"].items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != wanted:
            raise CheckpointError(f"{path}: missing or altered; fetch the checkpoint again")
    return list(manifest.facts["sha256"])
