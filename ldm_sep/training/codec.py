"""Training of a codec on singing, accompaniment and mixtures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ldm_sep.build import build_mixer
from ldm_sep.checkpoint.writing import save_codec
from ldm_sep.codec.base import Codec, module_of
from ldm_sep.config import CodecTrainingConfig, Config
from ldm_sep.data.decoded import DecodedAudio
from ldm_sep.data.items import Item
from ldm_sep.data.mixer import Batch, Mixer
from ldm_sep.method.level import normalising_gain
from ldm_sep.method.whitening import Whitening
from ldm_sep.metrics import as_pcm16, lsd, si_sdr
from ldm_sep.training.loop import Session, fit, in_precision, step_seed
from ldm_sep.training.losses import MultiScaleSpectralLoss
from ldm_sep.training.provenance import provenance
from ldm_sep.training.start import Runs
from ldm_sep.training.validation import means_of

_WAVE_FLOOR = 1e-3
_WHITENING_BATCHES = 24


class CodecObjective(nn.Module):
    """Reconstruction with noise on the latents, so that the decoder forgives what a sampler leaves.

    loss = w_wave mean|x_hat - x| / (mean|x| + floor) + w_spectral (log-mel and complex STFT distances).
    ``noise_level (B,)`` is the noise's std in units of each latent channel's own std in the batch.
    """

    def __init__(self, codec: Codec, settings: CodecTrainingConfig) -> None:
        super().__init__()
        self.codec = codec
        self.spectral = MultiScaleSpectralLoss(codec.sample_rate)
        self.settings = settings

    def forward(self, wave: Tensor, noise: Tensor, noise_level: Tensor) -> Mapping[str, Tensor]:
        with in_precision(self.settings.precision, wave.device):
            z = self.codec.encoder(wave)
        std = z.detach().float().std((0, 2), keepdim=True)
        noisy = z + noise * std * noise_level[:, None, None]
        with in_precision(self.settings.precision, wave.device):
            estimate = self.codec.decoder(noisy)
        estimate = estimate.float()
        scale = wave.abs().mean((1, 2), keepdim=True) + _WAVE_FLOOR
        waveform = ((estimate - wave).abs() / scale).mean()
        spectral = self.spectral(estimate, wave)
        total = self.settings.waveform_weight * waveform + self.settings.spectral_weight * spectral
        return {"loss": total, "waveform": waveform, "spectral": spectral}


def codec_batch(batch: Batch, step: int) -> Tensor:
    """One wave of each item (B, 2, T): vocals, accompaniment, mixture in turn, starting elsewhere at every ``step``."""
    which = (torch.arange(len(batch.vocals), device=batch.vocals.device) + step) % 3
    stacked = torch.stack([batch.vocals, batch.accompaniment, batch.mixture])
    return stacked[which, torch.arange(len(which), device=which.device)]


@torch.no_grad()
def score_codec(codec: Codec, items: Sequence[Item], device: torch.device) -> dict[str, float]:
    """Means over ``items``: SI-SDR (dB) and LSD of the round trip of vocals and of mixtures, and SI-SDR of the vocals
    with noise on the latents, of a tenth of each channel's own std.
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
    return means_of(scores)


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
    # Half of the items stay clean: the round trip without noise limits what a separator can reach.
    level = torch.where(torch.rand(len(wave), generator=generator, device=device) < 0.5, level, 0.0)
    return wave, noise, level


def train_codec(
    config: Config, codec: Codec, before: Runs, decoded: DecodedAudio, items: Sequence[Item], session: Session
) -> Path:
    """Train ``codec``, which `begin_codec` gives with the runs ``before``, on ``decoded``. Write the folder ``codec``
    in the session's: the averaged weights and the whitening constants. Returns that folder.
    """
    settings, device = config.needed_codec_training(), session.accelerator.device
    mixer = build_mixer(config.mix, decoded, settings.seconds, codec.hop)
    objective = CodecObjective(codec, settings).to(device)
    optimizer = torch.optim.AdamW(
        module_of(codec).parameters(),
        settings.learning_rate,
        betas=(0.8, 0.99),
        weight_decay=settings.weight_decay,
        fused=True,
    )

    def draw(step: int) -> tuple[Tensor, Tensor, Tensor]:
        return draw_codec_step(mixer, settings, codec, step, session.accelerator.process_index)

    record = config.model_dump_json(indent=2)
    reached, scores = fit(
        session,
        objective,
        optimizer,
        draw,
        settings,
        record=record,
        validate=lambda *_: score_codec(codec, items, device),
    )
    folder = session.run / "codec"
    if session.accelerator.is_main_process:
        whitening = measure_whitening(codec, mixer, settings.batch_size, settings.seed)
        done = {"steps": reached.step, "minutes": reached.minutes, "scores": dict(scores), "before": before}
        save_codec(folder, config, codec, whitening, provenance(device).model_copy(update=done))
    session.accelerator.wait_for_everyone()
    return folder
