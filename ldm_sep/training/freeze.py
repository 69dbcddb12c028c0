"""Writing of a pack: seeded mixes, the frozen predictor's estimates and the latents of both, computed once.

A step of training on a pack computes none of these, only what its stage trains and the loss needs.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldm_sep.build import build_mixer
from ldm_sep.config import Config, Stage
from ldm_sep.data.decoded import DecodedAudio
from ldm_sep.data.pack import LATENTS, ArrayName, Pack, PackIndex, PackWriter, require_made_with
from ldm_sep.method.model import LatentSeparator
from ldm_sep.training.estimates import varied_estimates
from ldm_sep.training.loop import step_seed
from ldm_sep.training.pairs import PairSource, frozen_pairs, make_pairs, needed_arrays

# Batch size. The items depend on it, because those of a batch share draws.
_BATCH = 8


def weights_digest(separator: LatentSeparator) -> str:
    """SHA-256 of the weights that items of a pack depend on: all but the U-Net's, the level head's and the
    post-filter's.
    """
    digest = hashlib.sha256()
    for name, value in sorted(separator.state_dict().items()):
        if not name.startswith(("unet.", "level_head.", "post_filter.")):
            # Packs keep the digest that they were made with, under the predictor's names of that time.
            stored = name.replace("predictor.net.", "predictor.")
            digest.update(f"{stored} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def settings_of_items(config: Config) -> dict[str, Any]:
    """The settings that items depend on, by their keys in ``config``. `mix.silent_ramp` is not among them: a pack is
    read in any order, so that no item of it belongs to an early step.
    """
    tables = {
        "mix": config.mix.model_dump(mode="json", exclude={"silent_ramp"}),
        "data": config.data.model_dump(mode="json"),
        "codec": config.codec.model_dump(mode="json"),
        "predictor": config.predictor.model_dump(mode="json") if config.predictor is not None else {},
    }
    found = {f"{table}.{key}": value for table, values in tables.items() for key, value in values.items()}
    settings = config.needed_training()
    return found | {"training.seconds": settings.seconds, "sampling.speeds": list(config.sampling.speeds)}


def open_pack(folder: Path, config: Config, separator: LatentSeparator, device: torch.device) -> PairSource:
    """Pairs of the pack in ``folder`` for the training of ``config``. DataError if it was made with other settings, or
    with other weights than those of ``separator``, unless these are to be trained.
    """
    pack = Pack(folder)
    wanted = settings_of_items(config)
    if config.needed_training().stage is not Stage.PREDICTOR:
        wanted["weights"] = weights_digest(separator)
    else:
        wanted = {key: value for key, value in wanted.items() if not key.startswith(("predictor.", "sampling."))}
    require_made_with(folder, pack.index, wanted)
    return frozen_pairs(pack, separator, config, device)


def stored(separator: LatentSeparator, name: str, values: Tensor) -> np.ndarray:
    """A field of `Pairs` as a pack keeps it. Latents are stored raw: silence is then zero, which fp16 holds exactly."""
    if name in LATENTS:
        raw = [separator.whitening.inverse(z) for z in values.split(separator.codec.latent_channels, 1)]
        values = torch.cat(raw, 1)
    return values.cpu().numpy()


@torch.no_grad()
def freeze(
    config: Config,
    separator: LatentSeparator,
    decoded: DecodedAudio,
    out: Path,
    *,
    hours: float,
    seed: int,
    varied: float,
    waves: bool,
    progress: Callable[[int, int], None],
) -> int:
    """Write ``hours`` of items of ``config`` to the pack ``out``, or go on with it; returns how many items it has.

    The estimates are those of the predictor of ``separator``, a share of them ``varied``. ``waves``: keep the waves
    even where the training of ``config`` reads latents alone. An item depends on ``seed`` and its place, not on how
    many there are: a pack that is made longer keeps those it has. DataError if ``out`` holds something else or cannot
    be written.
    """
    device = decoded.device
    separator = separator.to(device).eval()
    mix = config.mix.model_copy(update={"silent_ramp": 0})
    mixer = build_mixer(mix, decoded, config.needed_training().seconds, separator.codec.hop)
    names = list(needed_arrays(config))
    if waves:
        names += ["vocals", "mixture"] + (["estimate"] if separator.predictor is not None else [])
    samples, frames = mixer.frames, mixer.frames // separator.codec.hop
    latents = separator.codec.latent_channels
    shapes: dict[ArrayName, tuple[int, int]] = {
        "vocals": (2, samples),
        "mixture": (2, samples),
        "estimate": (2, samples),
        "z0": (latents, frames),
        "cond": (latents * (1 if separator.predictor is None else 2), frames),
    }
    items = -(-round(hours * 3600 * decoded.sample_rate) // (samples * _BATCH)) * _BATCH
    made_with = settings_of_items(config) | {
        "weights": weights_digest(separator),
        "decoded": decoded.key,
        "seed": seed,
        "varied": varied,
    }
    index = PackIndex(
        items=items, shapes={name: shape for name, shape in shapes.items() if name in names}, made_with=made_with
    )
    writer = PackWriter(out, index)
    writer.rewind(writer.done // _BATCH * _BATCH)
    for step in range(writer.done // _BATCH, items // _BATCH):
        progress(writer.done, items)
        batch = mixer.batch(_BATCH, seed, step)
        rng = np.random.default_rng(step_seed(seed, step, 1))
        predict = None
        if separator.predictor is not None:
            predict = partial(
                varied_estimates,
                separator.predictor,
                speeds=config.sampling.speeds,
                sample_rate=decoded.sample_rate,
                share=varied,
                rng=rng,
            )
        pairs = make_pairs(separator, batch.vocals, batch.mixture, names, predict)
        arrays: dict[str, np.ndarray] = {name: stored(separator, name, getattr(pairs, name)) for name in index.shapes}
        writer.append(arrays, pairs.level_db.tolist())
    progress(items, items)
    return items
