"""Training of the separator: the predictor (stage 0), the U-Net (1), U-Net and conditioner (2)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ldm_sep.audio import AudioWriter
from ldm_sep.build import build_mixer
from ldm_sep.checkpoint.writing import Provenance, save_separator
from ldm_sep.config import Config, SeparatorTrainingConfig
from ldm_sep.data.bank import AudioBank
from ldm_sep.data.items import Item
from ldm_sep.data.mixer import Mixer
from ldm_sep.method.diffusion import add_noise, truncated_snr_weight, v_target, z0_from_v
from ldm_sep.method.level import normalising_gain, relative_level_db
from ldm_sep.method.model import LatentSeparator
from ldm_sep.metrics import as_pcm16, lsd, si_sdr
from ldm_sep.signal.noise import noise_field
from ldm_sep.training.loop import Progress, fit, loop_settings, step_seed
from ldm_sep.training.losses import MultiScaleSpectralLoss, thresholded_snr_loss
from ldm_sep.training.start import Start, begin, check_start


class PredictorObjective(nn.Module):
    """What the predictor is asked for: the vocals' wave, by its thresholded SNR in bels, and its log-mel outline.

    ``forward(vocals, mixture (B, C, T), speed)``: the predictor hears the mixture at the one ``speed``, a scalar.
    """

    def __init__(self, separator: LatentSeparator, outline_weight: float) -> None:
        super().__init__()
        self.separator, self.outline_weight = separator, outline_weight
        self.spectral = MultiScaleSpectralLoss(separator.codec.sample_rate, (1024, 2048), complex_weight=0.0)

    def forward(self, vocals: Tensor, mixture: Tensor, speed: Tensor) -> Mapping[str, Tensor]:
        gain = normalising_gain(mixture)
        wanted, mixture = vocals * gain, mixture * gain
        heard = self.separator.predictor(mixture, (float(speed),))
        distortion = thresholded_snr_loss(heard, wanted, mixture)
        if self.outline_weight == 0:
            return {"loss": distortion}
        outline = self.spectral(heard, wanted)
        return {"loss": distortion + self.outline_weight * outline, "snr_loss": distortion, "outline_loss": outline}


class SeparatorObjective(nn.Module):
    """Eq. (9): E |v_hat - v|^2 over (vocals, mixture) pairs, with the optional weights of `SeparatorTrainingConfig`."""

    def __init__(
        self,
        separator: LatentSeparator,
        max_snr: float | None,
        channel_weight_power: float,
        level_weight: float,
        decoder_weight: float,
        outline_weight: float,
        speeds: Sequence[float],
    ) -> None:
        super().__init__()
        self.separator, self.speeds = separator, speeds
        self.max_snr, self.level_weight = max_snr, level_weight
        self.decoder_weight, self.outline_weight = decoder_weight, outline_weight
        self.spectral = MultiScaleSpectralLoss(separator.codec.sample_rate, (1024, 2048), complex_weight=0.0)
        weight = separator.whitening.std**channel_weight_power
        self.register_buffer("channel_weight", weight / weight.mean(), persistent=False)

    def forward(self, vocals: Tensor, mixture: Tensor, noise: Tensor, t: Tensor) -> Mapping[str, Tensor]:
        gain = normalising_gain(mixture)
        z0 = self.separator.encode(vocals * gain)
        cond, estimate = self.separator.condition(mixture * gain, self.speeds)
        z_t = add_noise(z0, noise, t)
        v_hat = self.separator.predict_v(z_t, t, cond).float()
        error = (v_hat - v_target(z0, noise, t)).square() * self.channel_weight
        weighted = error if self.max_snr is None else error * truncated_snr_weight(t, self.max_snr)
        loss = weighted.mean()
        losses = {"v_loss": loss}
        head = self.separator.level_head
        if head is not None:
            z0_hat = z0_from_v(z_t, v_hat, t).detach()
            losses["level_loss"] = head.loss(z0_hat, cond[:, : z0.shape[1]], relative_level_db(vocals, mixture))
            loss = loss + self.level_weight * losses["level_loss"]
        if self.decoder_weight > 0:
            terminal = t == 1
            # A batch may have none at t = 1; then the term is zero, not the mean of nothing.
            losses["decoder_loss"] = loss.new_zeros(())
            if terminal.any():
                # At t = 1, z0_hat = -v_hat.
                heard = self.separator.decode(-v_hat[terminal], None if estimate is None else estimate[terminal])
                wanted = (vocals * gain)[terminal]
                distortion = thresholded_snr_loss(heard, wanted, (mixture * gain)[terminal])
                losses["decoder_loss"] = distortion + self.outline_weight * self.spectral(heard, wanted)
            loss = loss + self.decoder_weight * losses["decoder_loss"]
        return {"loss": loss, **losses}


def draw_predictor_step(
    mixer: Mixer, settings: SeparatorTrainingConfig, speeds: Sequence[float], step: int, rank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Vocals, mixture and one of the speeds of a step: a pure function of (seed, step, rank)."""
    batch = mixer.batch(settings.batch_size, settings.seed, step, rank)
    return batch.vocals, batch.mixture, torch.tensor(speeds[step_seed(settings.seed, step, rank) % len(speeds)])


def draw_step(
    mixer: Mixer, settings: SeparatorTrainingConfig, separator: LatentSeparator, step: int, rank: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vocals, mixture, noise and t of one step: a pure function of (seed, step, rank)."""
    batch = mixer.batch(settings.batch_size, settings.seed, step, rank)
    size, device = len(batch.vocals), batch.vocals.device
    codec = separator.codec
    generator = torch.Generator(device).manual_seed(step_seed(settings.seed, step, rank))
    shape = (size, codec.latent_channels, batch.vocals.shape[2] // codec.hop)
    noise = torch.randn(shape, generator=generator, device=device)
    t = torch.rand(size, generator=generator, device=device)
    terminal = torch.rand(size, generator=generator, device=device) < settings.terminal_share
    return batch.vocals, batch.mixture, noise, torch.where(terminal, 1.0, t)


@torch.no_grad()
def separate_item(
    separator: LatentSeparator, item: Item, steps: int, speeds: Sequence[float], device: torch.device
) -> np.ndarray:
    """The vocals (2, T) estimated from an item's mixture as one window, with the noise of seed 0."""
    codec = separator.codec
    mixture = torch.from_numpy(item.mixture)[None].to(device)
    noise = noise_field(0, codec.latent_channels, 0, mixture.shape[2] // codec.hop)[None].to(device)
    return separator.separate(mixture, [noise], steps, speeds=speeds)[0].cpu().numpy()


def score_separator(
    separator: LatentSeparator,
    items: Sequence[Item],
    steps: Sequence[int],
    speeds: Sequence[float],
    device: torch.device,
) -> dict[str, float]:
    """By group of items and number of steps: SI-SDR improvement over the mixture (dB), and LSD with the mixture's
    beside it, as 16-bit files.
    """
    values: dict[str, list[float | None]] = {}
    rate = separator.codec.sample_rate
    for item in items:
        reference, mixture = as_pcm16(item.vocals), as_pcm16(item.mixture)
        before = si_sdr(reference, mixture).value
        values.setdefault(f"{item.group}/lsd_mixture", []).append(lsd(reference, mixture, rate).value)
        for count in steps:
            estimate = as_pcm16(separate_item(separator, item, count, speeds, device))
            after = si_sdr(reference, estimate).value
            gain = None if before is None or after is None else after - before
            values.setdefault(f"{item.group}/si_sdr_gain_{count}", []).append(gain)
            values.setdefault(f"{item.group}/lsd_{count}", []).append(lsd(reference, estimate, rate).value)
    means = {key: [v for v in row if v is not None] for key, row in values.items()}
    return {key: float(np.mean(row)) for key, row in means.items() if row}


def write_samples(
    separator: LatentSeparator,
    items: Sequence[Item],
    steps: int,
    speeds: Sequence[float],
    device: torch.device,
    folder: Path,
) -> None:
    """Mixture, reference and estimate of the first item of each group, as float wav, to listen to."""
    rate = separator.codec.sample_rate
    for group in dict.fromkeys(item.group for item in items):
        item = next(i for i in items if i.group == group)
        waves = {"mixture": item.mixture, "vocals": item.vocals}
        if not (folder.parent / f"{item.name}-vocals.wav").exists():
            for name, wave in waves.items():
                with AudioWriter(folder.parent / f"{item.name}-{name}.wav", rate, 2) as writer:
                    writer.write(wave)
        with AudioWriter(folder / f"{item.name}-estimate.wav", rate, 2) as writer:
            writer.write(separate_item(separator, item, steps, speeds, device))


def train(
    config: Config,
    bank: AudioBank,
    items: Sequence[Item],
    run: Path,
    accelerator: Accelerator,
    *,
    start: Start,
    resume: bool,
    max_minutes: float | None,
    provenance: Provenance,
    report: Callable[[Progress], None],
) -> Path:
    """Train the separator of ``config`` and write ``run/separator`` (averaged weights). Returns that folder.

    The optimiser starts afresh from the weights in ``start``: the next stage, or more of the same. ConfigError if the
    tables needed are missing or do not fit together.
    """
    check_start(config, start)
    settings = config.training
    torch.manual_seed(settings.seed)
    separator, before = begin(config, start)
    separator.set_stage(settings.stage)
    codec, device = separator.codec, accelerator.device
    mixer = build_mixer(config.mix, bank, settings.seconds, codec.hop)
    counts, speeds = sorted({1, config.sampling.steps}), config.sampling.speeds
    if settings.stage == 0:
        objective: nn.Module = PredictorObjective(separator, settings.outline_weight)

        def draw(step: int) -> Sequence[Tensor]:
            return draw_predictor_step(mixer, settings, speeds, step, accelerator.process_index)
    else:

        def draw(step: int) -> Sequence[Tensor]:
            return draw_step(mixer, settings, separator, step, accelerator.process_index)

        objective = SeparatorObjective(
            separator,
            settings.max_snr,
            settings.channel_weight_power,
            settings.level_weight,
            settings.decoder_weight,
            settings.outline_weight,
            speeds,
        )
    objective = objective.to(device)
    optimizer = torch.optim.AdamW(
        separator.parameter_groups(settings.learning_rate, settings.conditioner_rate),
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.99),
    )

    def validate(step: int) -> dict[str, float]:
        write_samples(separator, items, config.sampling.steps, speeds, device, run / "samples" / f"{step:08d}")
        return score_separator(separator, items, counts, speeds, device)

    reached = fit(
        accelerator,
        objective,
        optimizer,
        draw,
        loop_settings(settings, max_minutes),
        run,
        resume=resume,
        record=config.model_dump_json(indent=2),
        validate=validate,
        report=report,
    )
    folder = run / "separator"
    if accelerator.is_main_process:
        separator.eval()
        scores = score_separator(separator, items, counts, speeds, device)
        done = replace(
            provenance,
            steps=reached.step,
            minutes=reached.minutes,
            parts=["predictor"] if settings.stage == 0 else ["unet"],
            scores=scores,
            before=before,
        )
        save_separator(folder, config, separator, done)
    accelerator.wait_for_everyone()
    return folder
