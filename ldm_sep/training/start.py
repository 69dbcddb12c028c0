"""What the training of a separator starts from: the weights of other checkpoints, and the runs that made them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ldm_sep.build import build_separator
from ldm_sep.checkpoint.card import PARTS, joined, trainings
from ldm_sep.checkpoint.manifest import read_manifest, require_same_codec, require_same_predictor
from ldm_sep.checkpoint.reading import load_codec, load_separator, load_strictly
from ldm_sep.config import Config
from ldm_sep.errors import CheckpointError, ConfigError
from ldm_sep.method.model import LatentSeparator


@dataclass(frozen=True)
class Start:
    """The folders whose weights a training starts from: a separator (``init``), or a codec alone.

    With ``init``, ``codec`` names one whose decoder to take over. ``predictor`` is a separator, of any codec, whose
    predictor to take. ``codec_weights``: the pretrained EnCodec's file, instead of its download.
    """

    init: Path | None = None
    codec: Path | None = None
    predictor: Path | None = None
    codec_weights: Path | None = None


def check_start(config: Config, start: Start) -> None:
    """What can be said of a training before its data is decoded: ConfigError if tables or folders do not fit together,
    CheckpointError if a folder is no checkpoint.
    """
    if config.training is None:
        raise ConfigError(f"{config.name}: needs a [training] table to train a separator")
    if config.training.stage == 0 and config.predictor is None:
        raise ConfigError(f"{config.name}: stage 0 trains the predictor, and there is none; add a [predictor] table")
    folders = [folder for folder in (start.init, start.codec) if folder is not None]
    if not folders:
        raise ConfigError(
            f"{config.name}: name a trained codec with --codec (from 'ldm-sep train-codec' or 'ldm-sep whiten'), "
            "or a separator to go on from with --init"
        )
    for folder in folders:
        manifest = read_manifest(folder)
        if folder == start.init and manifest.kind != "separator":
            raise CheckpointError(f"{folder}: holds a codec, not a separator; name it with --codec")
        require_same_codec(folder, manifest, config)
    # Sizes that do not go together are found without memory for them.
    with torch.device("meta"):
        keeps_level = build_separator(config).codec.keeps_level
    if config.training.decoder_weight > 0 and not keeps_level:
        raise ConfigError(f"{config.name}: decoder_weight needs a codec that keeps the level; leave it at 0")
    if start.predictor is not None:
        require_same_predictor(start.predictor, read_manifest(start.predictor), config)


def begin(config: Config, start: Start) -> tuple[LatentSeparator, list[dict[str, Any]]]:
    """The separator of ``config`` with the weights of ``start``, which `check_start` has passed, and the runs that made
    them. ConfigError if its networks have other sizes.
    """
    if start.init is not None:
        manifest, before = load_separator(start.init, start.codec_weights)
        kept = ("codec", "unet") if start.predictor is not None else PARTS
        runs = trainings(manifest.facts, kept)
        if start.codec is not None:
            runs = joined([runs, _exchange_decoder(before, start.init, start.codec, start.codec_weights)])
        separator = build_separator(config, before.codec)
        try:
            separator.load_state_dict(before.state_dict())
        except RuntimeError:
            raise ConfigError(
                f"{start.init}: its networks have other sizes than those of {config.name}; make them equal"
            ) from None
    else:
        manifest, codec, whitening = load_codec(start.codec, start.codec_weights)
        separator = build_separator(config, codec)
        separator.whitening = whitening
        runs = trainings(manifest.facts, ["codec"])
    if start.predictor is not None:
        load_strictly(separator.predictor, start.predictor / "model.safetensors", prefix="predictor.")
        runs = joined([runs, trainings(read_manifest(start.predictor).facts, ["predictor"])])
    return separator, runs


def _exchange_decoder(
    separator: LatentSeparator, init: Path, codec_folder: Path, codec_weights: Path | None
) -> list[dict[str, Any]]:
    """Give the separator of ``init`` the decoder in ``codec_folder``; returns the runs that made it.

    ConfigError if the two codecs encode differently: the separator's latents would mean something else.
    """
    manifest, codec, whitening = load_codec(codec_folder, codec_weights)
    encoding = nn.ModuleList([codec.encoder, whitening]).state_dict()
    known = nn.ModuleList([separator.codec.encoder, separator.whitening]).state_dict()
    if any(not torch.equal(v, known[k]) for k, v in encoding.items()):
        raise ConfigError(
            f"{codec_folder}: encodes otherwise than the codec that {init} was trained on; leave --codec out, or train "
            "the codec with codec_training.decoder_only"
        )
    separator.codec.load_state_dict(codec.state_dict())
    return trainings(manifest.facts, ["codec"])
