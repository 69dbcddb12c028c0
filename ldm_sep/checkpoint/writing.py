"""Writing of checkpoint folders: whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from ldm_sep.build import trained_here
from ldm_sep.checkpoint.card import model_card
from ldm_sep.checkpoint.manifest import FORMAT, Facts, Provenance, read_manifest
from ldm_sep.checkpoint.weights import require_usable
from ldm_sep.codec.base import Codec, module_of
from ldm_sep.config import Config
from ldm_sep.errors import CheckpointError, reason, unwritable
from ldm_sep.files import complete_swap, replacing, sha256_of, write_text
from ldm_sep.method.model import LatentSeparator
from ldm_sep.method.whitening import Whitening
from ldm_sep.records import checked, read_json

_REMEDY = "move it away, or name another folder"
_KINDS = ("codec", "separator")
_FILES = {"config.json", "README.md", "model.safetensors", "codec.safetensors", "whitening.safetensors"}


def parameter_count(module: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in module.parameters())


def require_replaceable(folder: Path) -> None:
    """CheckpointError unless a checkpoint may be written to ``folder``: nothing is there, or a checkpoint and no more.

    For the beginning of a command, so that nothing is computed in vain; the savers look again.
    """
    try:
        complete_swap(folder)
        # Hidden files, such as .DS_Store, are left by file managers.
        names = {p.name for p in folder.iterdir() if not p.name.startswith(".")}
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot hold a checkpoint ({reason(error)}); name another folder") from None
    if others := sorted(names - _FILES):
        raise CheckpointError(f"{folder}: holds {others[0]}, which is no part of a checkpoint; {_REMEDY}")
    try:
        ours = not names or read_json(folder / "config.json", CheckpointError, "")["kind"] in _KINDS
    except (CheckpointError, LookupError, TypeError):
        ours = False
    if not ours:
        raise CheckpointError(f"{folder}: holds something other than a checkpoint; {_REMEDY}")


def save_codec(folder: Path, config: Config, codec: Codec, whitening: Whitening, provenance: Provenance) -> None:
    """Write a codec's folder, whole or not at all; an older one of that name is replaced. CheckpointError if it cannot
    be written, or holds what is no part of a checkpoint.
    """
    weights = {"whitening.safetensors": whitening.state_dict()}
    if trained_here(config.codec):
        weights["codec.safetensors"] = module_of(codec).state_dict()
    counts = {"codec": parameter_count(module_of(codec))}
    _write(folder, "codec", config, weights, counts, provenance.model_copy(update={"parts": ("codec",)}))


def save_separator(folder: Path, config: Config, separator: LatentSeparator, provenance: Provenance) -> None:
    """Write a separator's folder as `save_codec` does a codec's; weights in fp16, whitening constants in fp32."""
    state = separator.state_dict()
    weights = {"model.safetensors": {k: v for k, v in state.items() if not k.startswith("codec.")}}
    if trained_here(config.codec):
        weights["codec.safetensors"] = module_of(separator.codec).state_dict()
    parts = {
        "codec": module_of(separator.codec),
        "conditioner": separator.conditioner,
        "unet": separator.unet,
        "predictor": separator.predictor,
        "level_head": separator.level_head,
        "post_filter": separator.post_filter,
    }
    counts = {name: 0 if part is None else parameter_count(part) for name, part in parts.items()}
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
    with unwritable(CheckpointError, folder, "make room, or name another folder"), replacing(folder) as temporary:
        temporary.mkdir()
        hashes = {}
        for name, state in weights.items():
            # save_file would make a file that only its owner can read.
            (temporary / name).write_bytes(save({k: _stored(folder, k, v) for k, v in state.items()}))
            hashes[name] = sha256_of(temporary / name)
        facts = {
            "format": FORMAT,
            "kind": kind,
            "name": config.name,
            **config.card.model_dump(mode="json", include={"licence", "training_data", "limitations"}),
            "parameters": counts,
            "sha256": hashes,
            **provenance.model_dump(mode="json"),
            "minutes": round(provenance.minutes, 1),
            "config": config.model_dump(mode="json", exclude={"card"}),
        }
        for name, text in _texts(facts).items():
            (temporary / name).write_text(text, encoding="utf-8")


def _texts(facts: dict[str, Any]) -> dict[str, str]:
    """The files of a checkpoint that say what it is. CheckpointError for what could not be read again."""
    try:
        checked(Facts, facts, "config.json", CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; nothing was written") from None
    return {"config.json": json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "README.md": model_card(facts)}


def _stored(folder: Path, key: str, value: Tensor) -> Tensor:
    # The whitening constants scale every latent: their rounding would not average out.
    keep = key.startswith("whitening") or key in ("mean", "std")
    stored = (value if keep else value.half()).detach().cpu().contiguous()
    try:
        require_usable(key, value)
        # fp16 rounds the smallest to zero.
        require_usable(key, stored)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: the weight {error}; nothing was written") from None
    return stored


def add_evaluation(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put measured ``rows`` into a checkpoint's config.json and card, in the place of earlier ones.

    A row has group, system, n, hash (of the list of tracks), ``scores``, label -> [value] or [value, low, high] or
    None, and ``defined``, label -> tracks, where these are fewer than n. CheckpointError if the folder is not a
    checkpoint or cannot be written.
    """
    facts = {**read_manifest(folder).facts, "evaluation": [dict(row) for row in rows]}
    for name, text in _texts(facts).items():
        with unwritable(CheckpointError, folder, "make room"):
            write_text(folder / name, text)
