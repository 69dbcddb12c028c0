"""Pairs of vocals and mixture for a step of training: mixed now, or read from a pack.

What frozen networks make of a pair (its latents, the predictor's estimate) is part of it, in full precision.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ldm_sep.build import build_mixer
from ldm_sep.config import Config, Stage
from ldm_sep.data.ahead import Ahead
from ldm_sep.data.decoded import DecodedAudio
from ldm_sep.data.mixer import ItemSource
from ldm_sep.data.pack import LATENTS, WAVES, Pack
from ldm_sep.errors import DataError
from ldm_sep.method.level import normalising_gain, relative_level_db
from ldm_sep.method.model import LatentSeparator


class Pairs(NamedTuple):
    """Waves ``vocals, mixture, estimate (B, C, T)`` at the networks' level, the estimate being the predictor's;
    whitened latents ``z0 (B, D, N)`` of the vocals and the condition ``cond (B, E, N)``; the vocals' ``level_db (B,)``
    relative to the mixture. None for what a training does not need.
    """

    vocals: Tensor | None
    mixture: Tensor | None
    estimate: Tensor | None
    z0: Tensor | None
    cond: Tensor | None
    level_db: Tensor


# A function of (step, rank) that gives the same pairs for the same arguments.
PairSource = Callable[[int, int], Pairs]


def needed(field: Tensor | None) -> Tensor:
    """A field of `Pairs` that a training reads. ValueError where they were made without it."""
    if field is None:
        raise ValueError("the pairs were made without a field that this training reads; see `needed_arrays`")
    return field


def needed_arrays(config: Config) -> tuple[str, ...]:
    """Names of the fields of `Pairs` that the training of ``config`` reads."""
    settings = config.needed_training()
    if settings.stage is Stage.PREDICTOR:
        return ("vocals", "mixture")
    if settings.stage is Stage.POST_FILTER:
        return ("vocals", "mixture", "estimate")
    estimate = () if config.predictor is None else ("estimate",)
    # Where the conditioner is trained, the condition is computed in every step.
    names = {"z0", "cond"} if settings.stage is Stage.UNET else {"z0", "mixture", *estimate}
    if settings.decoder_weight > 0:
        names |= {"vocals", "mixture", *estimate}
    return tuple(name for name in Pairs._fields if name in names)


@torch.no_grad()
def make_pairs(
    separator: LatentSeparator,
    vocals: Tensor,
    mixture: Tensor,
    names: Sequence[str],
    predict: Callable[[Tensor], Tensor] | None,
) -> Pairs:
    """The fields ``names`` for ``vocals, mixture (B, C, T)``. ``predict`` gives the estimate of a mixture at the
    networks' level.
    """
    gain = normalising_gain(mixture)
    vocals, mixture = vocals * gain, mixture * gain
    wanted = "estimate" in names or "cond" in names
    estimate = predict(mixture) if predict is not None and wanted else None
    z0 = separator.encode(vocals) if "z0" in names else None
    cond = separator.conditioning(mixture, estimate) if "cond" in names else None
    made = Pairs(vocals, mixture, estimate, z0, cond, relative_level_db(vocals, mixture))
    kept = {*names, "level_db"}
    return Pairs._make(value if name in kept else None for name, value in zip(made._fields, made, strict=True))


def mix_pairs(
    config: Config, separator: LatentSeparator, decoded: DecodedAudio, device: torch.device, processes: int = 0
) -> PairSource:
    """Pairs on ``device`` that are mixed as they are asked for, as ``config`` says; with ``processes``, these draw the
    same items ahead, and the ``decoded`` audio is on the CPU.
    """
    settings, speeds, names = config.needed_training(), config.sampling.speeds, needed_arrays(config)
    mixer = build_mixer(config.mix, decoded, settings.seconds, separator.codec.hop, device)
    size, seed = settings.batch_size, settings.seed
    items: ItemSource = partial(mixer.draw, size, seed)
    if processes:
        items = Ahead(mixer, size, seed, settings.steps, processes)
    predict = None if separator.predictor is None else lambda mixture: separator.estimate(mixture, speeds)

    def draw(step: int, rank: int) -> Pairs:
        batch = mixer.varied(items(step, rank), step)
        return make_pairs(separator, batch.vocals, batch.mixture, names, predict)

    return draw


def frozen_pairs(pack: Pack, separator: LatentSeparator, config: Config, device: torch.device) -> PairSource:
    """Pairs of a pack for the training of ``config``. DataError if it lacks what that reads."""
    settings, names = config.needed_training(), needed_arrays(config)
    for name in names:
        if name not in pack:
            how = "--waves" if name in WAVES else "this configuration"
            raise DataError(f"{pack.folder}: holds no {name}, which this training needs; freeze with {how}")

    def draw(step: int, rank: int) -> Pairs:
        items = pack.order(settings.batch_size, settings.seed, step, rank)
        arrays = {name: torch.from_numpy(values).to(device) for name, values in pack.read(items, names).items()}
        for name in set(LATENTS) & arrays.keys():
            raw = arrays[name].split(separator.codec.latent_channels, 1)
            arrays[name] = torch.cat([separator.whitening(z) for z in raw], 1)
        return Pairs._make(arrays.get(name) for name in Pairs._fields)

    return draw
