"""Training of a codec on singing, accompaniment and mixtures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ldm_sep.build import build_codec, build_mixer
from ldm_sep.checkpoint.card import trainings
from ldm_sep.checkpoint.manifest import read_manifest, require_same_codec
from ldm_sep.checkpoint.reading import load_codec
from ldm_sep.checkpoint.writing import Provenance, save_codec
from ldm_sep.codec.base import Codec
from ldm_sep.config import CodecTrainingConfig, Config
from ldm_sep.data.bank import AudioBank
from ldm_sep.data.items import Item
from ldm_sep.data.mixer import Batch, Mixer
from ldm_sep.errors import ConfigError
from ldm_sep.method.level import normalising_gain
from ldm_sep.method.whitening import Whitening
from ldm_sep.metrics import as_pcm16, lsd, si_sdr
from ldm_sep.training.discriminator import Discriminator
from ldm_sep.training.loop import Progress, fit, loop_settings, step_seed
from ldm_sep.training.losses import MultiScaleSpectralLoss

_WAVE_FLOOR = 1e-3
_WHITENING_BATCHES = 24


class CodecObjective(nn.Module):
    """Reconstruction with noise on the latents, so that the decoder forgives what a sampler leaves.

    loss = w_wave mean|x_hat - x| / (mean|x| + floor) + w_spectral (log-mel and complex STFT distances)
    + w_adversarial (hinge + feature matching), the last against discriminators trained along with the codec.
    ``noise_level (B,)`` is the noise's std in units of each latent channel's own std in the batch.
    """

    def __init__(self, codec: Codec, settings: CodecTrainingConfig) -> None:
        super().__init__()
        self.codec = codec
        self.spectral = MultiScaleSpectralLoss(codec.sample_rate)
        self.settings = settings
        self.discriminator = Discriminator(settings.critic_channels) if settings.adversarial_weight > 0 else None

    def forward(self, wave: Tensor, noise: Tensor, noise_level: Tensor) -> Mapping[str, Tensor]:
        z = self.codec.encoder(wave)
        std = z.detach().float().std((0, 2), keepdim=True)
        estimate = self.codec.decoder(z + noise * std * noise_level[:, None, None]).float()
        scale = wave.abs().mean((1, 2), keepdim=True) + _WAVE_FLOOR
        waveform = ((estimate - wave).abs() / scale).mean()
        spectral = self.spectral(estimate, wave)
        total = self.settings.waveform_weight * waveform + self.settings.spectral_weight * spectral
        losses = {"waveform": waveform, "spectral": spectral}
        if self.discriminator is not None:
            losses |= self.discriminator.losses(estimate, wave)
            total = total + self.settings.adversarial_weight * (losses["adversarial"] + losses["feature"])
            # It reaches the discriminators only, and they get nothing else.
            total = total + losses["discriminator"]
        return {"loss": total, **losses}


def codec_batch(batch: Batch, step: int) -> Tensor:
    """Vocals, accompaniment or mixture of each item in turn, another one first at every ``step``: (B, 2, T)."""
    which = (torch.arange(len(batch.vocals), device=batch.vocals.device) + step) % 3
    stacked = torch.stack([batch.vocals, batch.accompaniment, batch.mixture])
    return stacked[which, torch.arange(len(which), device=which.device)]


@torch.no_grad()
def score_codec(codec: Codec, items: Sequence[Item], device: torch.device) -> dict[str, float]:
    """Mean SI-SDR (dB) and LSD of the round trip on the items' vocals and mixtures, and of vocals at latent noise
    std 0.1.
    """
    scores: dict[str, list[float | None]] = {}
    generator = torch.Generator().manual_seed(0)
    for item in items:
        for name, wave in (("vocals", item.vocals), ("mixture", item.mixture)):
            z = codec.encode(torch.from_numpy(wave)[None].to(device))
            estimate = codec.decode(z)[0].cpu().numpy()
            scores.setdefault(f"{name}_si_sdr", []).append(si_sdr(wave, estimate).value)
            files = as_pcm16(wave), as_pcm16(estimate)
            scores.setdefault(f"{name}_lsd", []).append(lsd(*files, codec.sample_rate).value)
            if name == "vocals":
                noise = torch.randn(z.shape, generator=generator).to(device)
                noisy = codec.decode(z + 0.1 * noise * z.std(2, keepdim=True))[0].cpu().numpy()
                scores.setdefault("vocals_si_sdr_noise_0.1", []).append(si_sdr(wave, noisy).value)
    defined = {key: [v for v in values if v is not None] for key, values in scores.items()}
    return {key: float(np.mean(values)) for key, values in defined.items() if values}


@torch.no_grad()
def measure_whitening(codec: Codec, mixer: Mixer, batch_size: int, seed: int) -> Whitening:
    """Whitening constants over vocals and mixtures in equal shares, at the level the separator works at."""
    whitening = Whitening(codec.latent_channels)
    latents = []
    for step in range(_WHITENING_BATCHES):
        batch = mixer.batch(batch_size, seed + 1, step)
        gain = normalising_gain(batch.mixture)
        for wave in (batch.vocals * gain, batch.mixture * gain):
            latents.append(codec.encoder(wave * codec.input_gain(wave)).cpu())
    whitening.measure(latents)
    return whitening


def check_start(config: Config, init: Path | None) -> None:
    """What can be said of a training before its data is decoded: ConfigError if the tables do not fit together or to
    the codec in ``init``, CheckpointError if that folder is no checkpoint. `train_codec` begins with it.
    """
    if config.codec_training is None or config.codec.kind == "encodec_48khz":
        raise ConfigError(f"{config.name}: needs a [codec_training] table and a codec that is trained here")
    # Sizes that do not go together are found without memory for them.
    with torch.device("meta"):
        build_codec(config.codec)
    if config.codec_training.decoder_only and init is None:
        raise ConfigError(f"{config.name}: decoder_only goes on from a trained codec; name its folder with --init")
    if init is not None:
        require_same_codec(init, read_manifest(init), config)


def train_codec(
    config: Config,
    bank: AudioBank,
    items: Sequence[Item],
    run: Path,
    accelerator: Accelerator,
    *,
    resume: bool,
    init: Path | None,
    max_minutes: float | None,
    provenance: Provenance,
    report: Callable[[Progress], None],
) -> Path:
    """Train ``config.codec`` on ``bank`` and write ``run/codec`` (averaged weights and whitening constants).

    ``init``: a codec's folder to start from; with ``decoder_only`` its encoder and whitening stay. Returns the folder.
    ConfigError if there is nothing to train.
    """
    check_start(config, init)
    settings = config.codec_training
    torch.manual_seed(settings.seed)
    before, whitening = [], None
    if init is None:
        codec = build_codec(config.codec)
    else:
        manifest, codec, whitening = load_codec(init)
        before = trainings(manifest.facts)
    codec.requires_grad_(True)
    if settings.decoder_only:
        codec.encoder.requires_grad_(False)
    mixer = build_mixer(config.mix, bank, settings.seconds, codec.hop)
    objective = CodecObjective(codec, settings).to(accelerator.device)
    rate = settings.learning_rate
    groups = [{"params": [p for p in codec.parameters() if p.requires_grad], "lr": rate}]
    if objective.discriminator is not None:
        groups.append({"params": list(objective.discriminator.parameters()), "lr": rate * settings.critic_rate})
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.99), weight_decay=settings.weight_decay)
    rank, device = accelerator.process_index, accelerator.device

    def draw(step: int) -> tuple[Tensor, Tensor, Tensor]:
        return draw_codec_step(mixer, settings, codec, step, rank)

    reached = fit(
        accelerator,
        objective,
        optimizer,
        draw,
        loop_settings(settings, max_minutes),
        run,
        resume=resume,
        record=config.model_dump_json(indent=2),
        validate=lambda _: score_codec(codec, items, device),
        report=report,
    )
    folder = run / "codec"
    if accelerator.is_main_process:
        codec.eval()
        if not settings.decoder_only:
            whitening = measure_whitening(codec, mixer, settings.batch_size, settings.seed)
        scores = score_codec(codec, items, device)
        done = replace(provenance, steps=reached.step, minutes=reached.minutes, scores=scores, before=before)
        save_codec(folder, config, codec, whitening, done)
    accelerator.wait_for_everyone()
    return folder


def draw_codec_step(
    mixer: Mixer, settings: CodecTrainingConfig, codec: Codec, step: int, rank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Waves, latent noise and noise levels of one step: a pure function of (seed, step, rank)."""
    wave = codec_batch(mixer.batch(settings.batch_size, settings.seed, step, rank), step)
    device = wave.device
    generator = torch.Generator(device).manual_seed(step_seed(settings.seed, step, rank))
    shape = (len(wave), codec.latent_channels, wave.shape[2] // codec.hop)
    noise = torch.randn(shape, generator=generator, device=device)
    level = torch.rand(len(wave), generator=generator, device=device) * settings.latent_noise
    # Every other item stays clean: the round trip without noise is the ceiling of everything else.
    level = torch.where(torch.rand(len(wave), generator=generator, device=device) < 0.5, level, 0.0)
    return wave, noise, level
