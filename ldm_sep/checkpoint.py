"""Checkpoint folders: what is written is complete, what is read is checked.

    <name>/config.json            format version, the resolved configuration, hashes, sizes, provenance, scores
    <name>/model.safetensors      a separator's averaged weights (conditioner, predictor, U-Net, whitening, ...)
    <name>/codec.safetensors      the codec's weights, where it was trained here
    <name>/whitening.safetensors  in a codec's folder: the constants that separators trained on it start from
    <name>/README.md              the model card

Only safetensors is read: a checkpoint cannot run code.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ldm_sep.build import build_codec, build_separator, codec_sample_rate, pretrained_codec
from ldm_sep.card import PARTS, joined, model_card, trainings
from ldm_sep.codec.base import Codec
from ldm_sep.codec.encodec_48khz import sha256_of
from ldm_sep.config import Config, parse_config
from ldm_sep.errors import CheckpointError, ConfigError
from ldm_sep.model import LatentSeparator, Whitening

FORMAT = 1
_KINDS = ("codec", "separator")
_FILES = {"config.json", "README.md", "model.safetensors", "codec.safetensors", "whitening.safetensors"}


@dataclass(frozen=True)
class Provenance:
    """How a checkpoint came to be: the command, optimiser steps, minutes, hardware, the code's commit, which ``parts``
    were trained (of `card.PARTS`), measured scores; and the runs ``before``, as `trainings` gives them, of what it
    started from.
    """

    command: str = ""
    steps: int = 0
    minutes: float = 0.0
    hardware: str = ""
    commit: str = ""
    parts: Sequence[str] = PARTS
    scores: dict[str, float | None] | None = None
    before: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Manifest:
    """``config.json``, read: the configuration and everything else it says."""

    kind: Literal["codec", "separator"]
    config: Config
    facts: dict[str, Any]


def parameter_count(module: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in module.parameters())


def require_replaceable(folder: Path) -> None:
    """CheckpointError unless a checkpoint may be written to ``folder``: nothing is there, or a checkpoint and no more.

    For the beginning of a command, so that nothing is computed in vain; the savers look again.
    """
    try:
        # Systems leave hidden files of their own wherever somebody looks.
        names = {p.name for p in folder.iterdir() if not p.name.startswith(".")}
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot hold a checkpoint ({error.strerror}); name another folder") from None
    if others := sorted(names - _FILES):
        raise CheckpointError(f"{folder}: holds {others[0]}, which is no part of a checkpoint; move one of them away")
    try:
        ours = not names or json.loads((folder / "config.json").read_text(encoding="utf-8"))["kind"] in _KINDS
    except (OSError, ValueError, LookupError, TypeError):
        ours = False
    if not ours:
        raise CheckpointError(f"{folder}: holds something else than a checkpoint; move one of them away")


def save_codec(folder: Path, config: Config, codec: Codec, whitening: Whitening, provenance: Provenance) -> None:
    """Write a codec's folder, whole or not at all; an older one of that name is replaced. CheckpointError if it cannot
    be written, or holds what is no part of a checkpoint.
    """
    weights = {"whitening.safetensors": whitening.state_dict()}
    if config.codec.kind != "encodec_48khz":
        weights["codec.safetensors"] = codec.state_dict()
    counts = {"codec": parameter_count(codec)}
    _write(folder, "codec", config, weights, counts, replace(provenance, parts=["codec"]))


def save_separator(folder: Path, config: Config, separator: LatentSeparator, provenance: Provenance) -> None:
    """Write a separator's folder as `save_codec` does a codec's; weights in fp16, whitening constants in fp32."""
    state = separator.state_dict()
    weights = {"model.safetensors": {k: v for k, v in state.items() if not k.startswith("codec.")}}
    if config.codec.kind != "encodec_48khz":
        weights["codec.safetensors"] = separator.codec.state_dict()
    counts = {
        "codec": parameter_count(separator.codec),
        "conditioner": parameter_count(separator.conditioner),
        "unet": parameter_count(separator.unet),
        "predictor": parameter_count(separator.predictor) if separator.predictor else 0,
        "level_head": parameter_count(separator.level_head) if separator.level_head else 0,
    }
    _write(folder, "separator", config, weights, counts, provenance)


def _write(
    folder: Path,
    kind: str,
    config: Config,
    weights: dict[str, dict[str, Tensor]],
    counts: dict[str, int],
    provenance: Provenance,
) -> None:
    require_replaceable(folder)
    # A link's target is replaced, and "." has a name.
    place = folder.resolve()
    temporary, retired = (place.with_name(f".{place.name}.{suffix}") for suffix in ("tmp", "old"))
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        hashes = {}
        for name, state in weights.items():
            for key, value in state.items():
                if not torch.isfinite(value).all():
                    raise CheckpointError(f"{folder}: the weight {key} is not finite; nothing was written")
            # save_file would make a file that only its owner can read.
            (temporary / name).write_bytes(save({k: _stored(k, v) for k, v in state.items()}))
            hashes[name] = sha256_of(temporary / name)
        facts = {
            "format": FORMAT,
            "kind": kind,
            "name": config.name,
            "licence": config.card.licence,
            "training_data": list(config.card.training_data),
            "limitations": list(config.card.limitations),
            "parameters": counts,
            "sha256": hashes,
            "command": provenance.command,
            "steps": provenance.steps,
            "minutes": round(provenance.minutes, 1),
            "hardware": provenance.hardware,
            "commit": provenance.commit,
            "parts": list(provenance.parts),
            "before": [dict(run) for run in provenance.before],
            "scores": provenance.scores or {},
            "config": config.model_dump(mode="json", exclude={"card"}),
        }
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        (temporary / "config.json").write_text(text + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(model_card(facts), encoding="utf-8")
        if place.exists():
            # The older goes when the newer stands.
            shutil.rmtree(retired, ignore_errors=True)
            place.rename(retired)
            try:
                temporary.rename(place)
            except OSError:
                retired.rename(place)
                raise
        else:
            temporary.rename(place)
        shutil.rmtree(retired, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot be written ({error.strerror}); make room, or name another folder"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _stored(key: str, value: Tensor) -> Tensor:
    # The whitening constants scale every latent: their rounding would not average out.
    keep = not value.is_floating_point() or key.startswith("whitening") or key in ("mean", "std")
    return (value if keep else value.half()).detach().cpu().contiguous()


def read_manifest(folder: Path) -> Manifest:
    """``config.json`` of a checkpoint folder. CheckpointError if there is none or it cannot be used."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder}: not a checkpoint (it has no config.json); see 'ldm-sep models list'")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        card = {key: facts[key] for key in ("licence", "training_data", "limitations")}
        # Settings of earlier versions that could not be used.
        facts["config"].get("sampling", {}).pop("highpass", None)
        facts["config"]["codec"].pop("channels", None)
        config = parse_config({**facts["config"], "card": card}, str(path))
        version, kind = facts["format"], facts["kind"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); fetch the checkpoint again") from None
    except ConfigError as error:
        raise CheckpointError(f"{error}; the checkpoint was made by another version of ldm-sep") from None
    if version != FORMAT:
        raise CheckpointError(f"{path}: format {version}, this version reads {FORMAT}; update ldm-sep")
    return Manifest(kind, config, facts)


def require_same_codec(folder: Path, manifest: Manifest, config: Config) -> None:
    """ConfigError if the codec in ``folder``, whose manifest this is, is not the one that ``config`` describes."""
    if manifest.config.codec != config.codec:
        raise ConfigError(
            f"{folder}: its codec has other sizes than the [codec] table of {config.name}; make them equal"
        )


def require_same_predictor(folder: Path, manifest: Manifest, config: Config) -> None:
    """ConfigError if the separator in ``folder``, whose manifest this is, has not the predictor that ``config``
    describes, up to the power of its mask.
    """

    def sizes(of: Config) -> tuple:
        return codec_sample_rate(of.codec), of.predictor and of.predictor.model_dump(exclude={"exponent"})

    if manifest.kind != "separator" or manifest.config.predictor is None:
        raise ConfigError(f"{folder}: has no predictor; name a separator that has one")
    if sizes(manifest.config) != sizes(config):
        raise ConfigError(
            f"{folder}: its predictor has another rate or other sizes than the [predictor] table of {config.name}; "
            "make them equal"
        )


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


@torch.no_grad()
def average_separators(
    folders: Sequence[Path], out: Path, provenance: Provenance, codec_weights: Path | None = None
) -> None:
    """Write to ``out`` the mean of the weights of separators that were trained from one another or from one start.

    It often generalises better than each of them (model soups, Wortsman et al., arXiv 2203.05482). Its settings are
    those of the first. ``codec_weights``: the pretrained EnCodec's file, instead of its download. ConfigError if there
    are fewer than two or their codecs or networks differ; CheckpointError as of `save_separator`.
    """
    if len(folders) < 2:
        raise ConfigError("name at least two separators to average")
    require_replaceable(out)
    loaded = [load_separator(folder, codec_weights) for folder in folders]
    (first, mean), states = loaded[0], [separator.state_dict() for _, separator in loaded]
    for folder, state in zip(folders, states, strict=True):
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in states[0].items()}:
            raise ConfigError(
                f"{folder}: its networks have other sizes than those of {folders[0]}; only equals have a mean"
            )
        # Latents of two codecs mean different things.
        if any(not torch.equal(v, states[0][k]) for k, v in state.items() if k.startswith(("codec.", "whitening."))):
            raise ConfigError(f"{folder}: its codec is another one than that of {folders[0]}")
    mean.load_state_dict({key: torch.stack([s[key].double() for s in states]).mean(0) for key in states[0]})
    before = joined(trainings(manifest.facts) for manifest, _ in loaded)
    save_separator(out, first.config, mean, replace(provenance, before=before))


def verify(folder: Path) -> list[str]:
    """Names of the weight files whose SHA-256 equals the recorded one. CheckpointError at the first that differs."""
    manifest = read_manifest(folder)
    for name, wanted in manifest.facts["sha256"].items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != wanted:
            raise CheckpointError(f"{path}: missing or altered; fetch the checkpoint again")
    return list(manifest.facts["sha256"])


def add_evaluation(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put measured ``rows`` into a checkpoint's config.json and card, in the place of earlier ones.

    A row has group, system, n, hash (of the list of tracks), ``scores``, label -> [value] or [value, low, high] or
    None, and ``defined``, label -> tracks, where these are fewer than n. CheckpointError if the folder is not a
    checkpoint or cannot be written.
    """
    facts = {**read_manifest(folder).facts, "evaluation": [dict(row) for row in rows]}
    texts = {"config.json": json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "README.md": model_card(facts)}
    for name, text in texts.items():
        temporary = folder / f".{name}.tmp"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(folder / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise CheckpointError(f"{folder}: cannot be written ({error.strerror})") from None
