"""Training of the separator: the predictor (stage 0), the U-Net (1), U-Net and conditioner (2)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ldm_sep.audio import AudioWriter
from ldm_sep.build import build_mixer, build_separator
from ldm_sep.card import PARTS, joined, trainings
from ldm_sep.checkpoint import (
    Provenance,
    load_codec,
    load_separator,
    load_strictly,
    read_manifest,
    require_same_codec,
    require_same_predictor,
    save_separator,
)
from ldm_sep.config import Config, SeparatorTrainingConfig
from ldm_sep.data.bank import AudioBank
from ldm_sep.data.items import Item
from ldm_sep.data.mixer import Mixer
from ldm_sep.diffusion import add_noise, truncated_snr_weight, v_target, z0_from_v
from ldm_sep.errors import ConfigError
from ldm_sep.level import normalising_gain, relative_level_db
from ldm_sep.loop import Progress, fit, loop_settings, step_seed
from ldm_sep.losses import MultiScaleSpectralLoss, thresholded_snr_loss
from ldm_sep.metrics import as_pcm16, lsd, si_sdr
from ldm_sep.model import LatentSeparator
from ldm_sep.windows import noise_field


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
    CheckpointError if a folder is no checkpoint. `train` begins with it.
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
        require_same_codec(folder, read_manifest(folder), config)
    if start.predictor is not None:
        require_same_predictor(start.predictor, read_manifest(start.predictor), config)


def _begin(config: Config, start: Start) -> tuple[LatentSeparator, list[dict[str, Any]]]:
    """What is trained on, and the runs that made it so far."""
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
    separator, before = _begin(config, start)
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
