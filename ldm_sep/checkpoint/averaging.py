"""The mean of the weights of several separators."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ldm_sep.checkpoint.card import joined, trainings
from ldm_sep.checkpoint.manifest import PARTS, Part, Provenance
from ldm_sep.checkpoint.reading import load_separator
from ldm_sep.checkpoint.writing import require_replaceable, save_separator
from ldm_sep.errors import ConfigError


@torch.no_grad()
def average_separators(
    folders: Sequence[Path], out: Path, provenance: Provenance, codec_weights: Path | None = None
) -> None:
    """Write to ``out`` the mean of the weights of separators that were trained from one another or from one start.

    It often generalises better than each of them (model soups, Wortsman et al., arXiv 2203.05482). Its settings are
    those of the first; its card has the data, the limits and the terms of all. ``codec_weights``: the pretrained
    EnCodec's file, instead of its download. ConfigError if there are fewer than two or their codecs or networks differ;
    CheckpointError as of `save_separator`.
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
        # Weights that were trained on different latents cannot be averaged.
        if any(not torch.equal(v, states[0][k]) for k, v in state.items() if k.startswith(("codec.", "whitening."))):
            raise ConfigError(f"{folder}: its codec is another one than that of {folders[0]}")
    mean.load_state_dict({key: torch.stack([s[key].double() for s in states]).mean(0) for key in states[0]})
    before = joined(trainings(manifest.facts) for manifest, _ in loaded)
    cards = [manifest.config.card for manifest, _ in loaded]
    # The mean rests on what each of them was trained on.
    told = {
        "licence": "; ".join(dict.fromkeys(card.licence for card in cards)),
        "training_data": tuple(dict.fromkeys(source for card in cards for source in card.training_data)),
        "limitations": tuple(dict.fromkeys(limit for card in cards for limit in card.limitations)),
    }
    config = first.config.model_copy(update={"card": cards[0].model_copy(update=told)})
    # Equal weights are not a new mean: their makers are the runs before.
    parts = {_part_of(key) for key in states[0] if any(not torch.equal(s[key], states[0][key]) for s in states)}
    said = {"before": before, "parts": tuple(part for part in PARTS if part in parts)}
    save_separator(out, config, mean, provenance.model_copy(update=said))


def _part_of(key: str) -> Part:
    """The part of a separator that a run trains together with the tensor ``key`` of its state."""
    module = key.partition(".")[0]
    return next((part for part in PARTS if part == module), "unet")
