"""Training of the separator: the predictor (stage 0), the U-Net (1), U-Net and conditioner (2), the post-filter (3)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ldm_sep.checkpoint.writing import save_separator
from ldm_sep.config import Config, SeparatorTrainingConfig, Stage
from ldm_sep.data.items import Item
from ldm_sep.method.model import LatentSeparator
from ldm_sep.training.log import Board
from ldm_sep.training.loop import Session, fit, step_seed
from ldm_sep.training.objectives import PostFilterObjective, PredictorObjective, SeparatorObjective
from ldm_sep.training.pairs import Pairs, PairSource, needed
from ldm_sep.training.provenance import provenance
from ldm_sep.training.start import Runs
from ldm_sep.training.validation import score_separator, validation_plans, write_samples


def draw_predictor_step(
    pairs: PairSource, settings: SeparatorTrainingConfig, speeds: Sequence[float], step: int, rank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Vocals, mixture and one of the speeds of a step: a pure function of (seed, step, rank)."""
    drawn = pairs(step, rank)
    speed = torch.tensor(speeds[step_seed(settings.seed, step, rank) % len(speeds)])
    return needed(drawn.vocals), needed(drawn.mixture), speed


def draw_step(
    pairs: PairSource, settings: SeparatorTrainingConfig, step: int, rank: int
) -> tuple[Pairs, Tensor, Tensor, Tensor]:
    """Pairs, noise, t in (0, latest] and whether the estimate is noised, of one step: a pure function of (seed, step,
    rank).
    """
    drawn = pairs(step, rank)
    z0 = needed(drawn.z0)
    size, device = len(z0), z0.device
    generator = torch.Generator(device).manual_seed(step_seed(settings.seed, step, rank))
    noise = torch.randn(z0.shape, generator=generator, device=device)
    t, terminal, from_estimate = torch.rand(3, size, generator=generator, device=device)
    t = torch.where(terminal < settings.terminal_share, 1.0, 1 - t)
    return drawn, noise, settings.latest * t, from_estimate < settings.estimate_share


def train(
    config: Config, separator: LatentSeparator, before: Runs, pairs: PairSource, items: Sequence[Item], session: Session
) -> Path:
    """Train ``separator``, which `begin_separator` gives with the runs ``before``, on ``pairs``, and write the folder
    ``separator`` in the session's: the averaged weights. Returns that folder.
    """
    settings, device, rank = config.needed_training(), session.accelerator.device, session.accelerator.process_index
    # The post-filter is heard where it is trained, also where the checkpoint's defaults leave it out.
    plans = validation_plans(config.sampling, post_filter=True if settings.stage is Stage.POST_FILTER else None)
    speeds = config.sampling.speeds
    if settings.stage is Stage.PREDICTOR:
        objective: nn.Module = PredictorObjective(separator, settings)
    elif settings.stage is Stage.POST_FILTER:
        objective = PostFilterObjective(separator, settings)
    else:
        objective = SeparatorObjective(separator, settings)
    objective = objective.to(device)
    optimizer = torch.optim.AdamW(
        separator.parameter_groups(settings.learning_rate, settings.conditioner_rate),
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.99),
        fused=True,
    )

    def draw(step: int) -> tuple:
        if settings.stage is Stage.PREDICTOR:
            return draw_predictor_step(pairs, settings, speeds, step, rank)
        if settings.stage is Stage.POST_FILTER:
            drawn = pairs(step, rank)
            return needed(drawn.vocals), needed(drawn.mixture), needed(drawn.estimate)
        return draw_step(pairs, settings, step, rank)

    def validate(step: int, board: Board) -> dict[str, float]:
        folder = session.run / "samples" / f"{step:08d}"
        for name, wave in write_samples(separator, items, plans[config.sampling.steps], device, folder).items():
            board.sound(name, wave, separator.codec.sample_rate, step)
        return score_separator(separator, items, plans, device)

    record = config.model_dump_json(indent=2)
    reached, scores = fit(session, objective, optimizer, draw, settings, record=record, validate=validate)
    folder = session.run / "separator"
    if session.accelerator.is_main_process:
        done = {
            "steps": reached.step,
            "minutes": reached.minutes,
            "parts": ({Stage.PREDICTOR: "predictor", Stage.POST_FILTER: "post_filter"}.get(settings.stage, "unet"),),
            "scores": dict(scores),
            "before": before,
        }
        save_separator(folder, config, separator, provenance(device).model_copy(update=done))
    session.accelerator.wait_for_everyone()
    return folder
