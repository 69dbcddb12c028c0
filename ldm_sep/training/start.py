"""What a training starts from: new weights or those of other checkpoints, and the runs that made them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ldm_sep.build import build_codec, build_separator
from ldm_sep.checkpoint.card import joined, trainings
from ldm_sep.checkpoint.manifest import PARTS, Manifest, read_manifest, require_same_codec, require_same_predictor
from ldm_sep.checkpoint.reading import load_codec, load_separator, load_strictly
from ldm_sep.codec.base import Codec, module_of
from ldm_sep.config import Config, Stage
from ldm_sep.errors import CheckpointError, ConfigError
from ldm_sep.method.model import LatentSeparator

Runs = list[dict[str, Any]]


@dataclass(frozen=True)
class Start:
    """The folders whose weights a separator starts from: another separator (``init``) or a trained ``codec``.

    ``predictor`` is a separator, of any codec, whose predictor to take. ``codec_weights``: the pretrained EnCodec's
    file, instead of its download.
    """

    init: Path | None = None
    codec: Path | None = None
    predictor: Path | None = None
    codec_weights: Path | None = None


def begin_codec(config: Config, init: Path | None) -> tuple[Codec, Runs]:
    """The codec of ``config``, new or with the weights in the folder ``init``, and the runs that made these.

    ConfigError if the configuration does not train a codec or describes another than ``init`` holds; CheckpointError
    if that folder is no checkpoint.
    """
    settings = config.needed_codec_training()
    if config.codec.kind == "encodec_48khz":
        raise ConfigError(f"{config.name}: needs a [codec_training] table and a codec that is trained here")
    torch.manual_seed(settings.seed)
    if init is None:
        codec, runs = build_codec(config.codec, mdct_start=settings.mdct_start), []
    else:
        require_same_codec(init, read_manifest(init), config)
        manifest, codec, _ = load_codec(init)
        runs = _runs_of(config, manifest)
    module_of(codec).requires_grad_(True)
    return codec, runs


def begin_separator(config: Config, start: Start) -> tuple[LatentSeparator, Runs]:
    """The separator of ``config`` with the weights of ``start``, and the runs that made them.

    ConfigError if the tables do not fit together or to the folders; CheckpointError if a folder is no checkpoint.
    """
    settings = config.needed_training()
    if settings.stage is Stage.PREDICTOR and config.predictor is None:
        raise ConfigError(f"{config.name}: stage 0 trains the predictor, and there is none; add a [predictor] table")
    if settings.stage is Stage.POST_FILTER and (config.post_filter is None or config.predictor is None):
        raise ConfigError(f"{config.name}: stage 3 trains the post-filter of a [predictor]; add a [post_filter] table")
    if (settings.estimate_share > 0 or settings.latest < 1) and not config.separator.refines:
        raise ConfigError(f"{config.name}: estimate_share and latest are for a separator that refines; leave them out")
    if start.predictor is not None:
        require_same_predictor(start.predictor, read_manifest(start.predictor), config)
    torch.manual_seed(settings.seed)
    if start.init is not None and start.codec is None:
        separator, runs = _of_separator(config, start.init, start)
    elif start.codec is not None and start.init is None:
        separator, runs = _of_codec(config, start.codec, start.codec_weights)
    else:
        raise ConfigError(
            f"{config.name}: name a trained codec with --codec (from 'ldm-sep train-codec' or 'ldm-sep whiten'), "
            "or a separator to go on from with --init, not both"
        )
    if settings.decoder_weight > 0 and not separator.codec.keeps_level:
        raise ConfigError(f"{config.name}: decoder_weight needs a codec that keeps the level; leave it at 0")
    if start.predictor is not None:
        load_strictly(separator.get_submodule("predictor"), start.predictor / "model.safetensors", prefix="predictor.")
        runs = joined([runs, _runs_of(config, read_manifest(start.predictor), ["predictor"])])
    separator.set_stage(settings.stage)
    return separator, runs


def _of_separator(config: Config, folder: Path, start: Start) -> tuple[LatentSeparator, Runs]:
    manifest = read_manifest(folder)
    if manifest.kind != "separator":
        raise CheckpointError(f"{folder}: holds a codec, not a separator; name it with --codec")
    require_same_codec(folder, manifest, config)
    _, before = load_separator(folder, start.codec_weights)
    separator = build_separator(config, before.codec)
    state = before.state_dict()
    if before.post_filter is None:
        # Separators of earlier versions have no post-filter: it starts as a new one.
        state |= {key: value for key, value in separator.state_dict().items() if key.startswith("post_filter.")}
    try:
        separator.load_state_dict(state)
    except RuntimeError:
        raise ConfigError(
            f"{folder}: its networks have other sizes than those of {config.name}; make them equal"
        ) from None
    kept = ("codec", "unet", "post_filter") if start.predictor is not None else PARTS
    return separator, _runs_of(config, manifest, kept)


def _of_codec(config: Config, folder: Path, weights: Path | None) -> tuple[LatentSeparator, Runs]:
    require_same_codec(folder, read_manifest(folder), config)
    manifest, codec, whitening = load_codec(folder, weights)
    separator = build_separator(config, codec)
    separator.whitening = whitening
    return separator, _runs_of(config, manifest, ["codec"])


def _runs_of(config: Config, manifest: Manifest, parts: Sequence[str] = PARTS) -> Runs:
    """The runs that made these ``parts``; where the card names the checkpoint as its start, that alone."""
    if manifest.config.name != config.card.start:
        return trainings(manifest.facts, parts)
    weights = manifest.facts["sha256"].get(manifest.weight_files[0])
    return [{"checkpoint": manifest.config.name, "weights": weights, "parts": list(parts)}]
