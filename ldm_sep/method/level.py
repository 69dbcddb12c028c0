"""Levels: what is taken out of a window before the networks see it, and what some codecs cannot carry.

All networks work on mixtures of one loudness: `normalising_gain` brings a window to `TARGET_RMS`, and its inverse is
applied to what comes out. Vocals get the gain of their mixture. A codec that ends in a normalisation over time (the
48 kHz EnCodec) loses the vocals' level and wants its input at a level of its own (`Codec.input_gain`), vocals and
mixture each at theirs; there a small head predicts the level relative to the mixture, with a gate for silence.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.codec.base import Codec
from ldm_sep.signal.loudness import rms

TARGET_RMS = 0.1
# -80 dBFS. A quieter window gets the gain of one at this level, 60 dB: more would only amplify noise.
_FLOOR_RMS = 1e-4
# Vocals further below the mixture than this count as absent.
ABSENT_DB = -40.0


def normalising_gain(mixture: Tensor) -> Tensor:
    """The gain (B, 1, 1) that brings ``mixture (B, C, T)`` to `TARGET_RMS`; at most 60 dB."""
    return (TARGET_RMS / rms(mixture).clamp_min(_FLOOR_RMS))[:, None, None]


def coding_gain(codec: Codec, wave: Tensor) -> Tensor:
    """The gain (B, 1, 1) at which ``codec`` hears ``wave (B, C, T)`` alone: the networks' level, then the codec's."""
    gain = normalising_gain(wave)
    return gain * codec.input_gain(wave * gain)


def relative_level_db(vocals: Tensor, mixture: Tensor) -> Tensor:
    """Level (B,) of the vocals relative to the mixture in dB, bounded below by 2 `ABSENT_DB`."""
    ratio = rms(vocals) / rms(mixture).clamp_min(1e-8)
    return 20 * torch.log10(ratio.clamp_min(10 ** (2 * ABSENT_DB / 20)))


class LevelHead(nn.Module):
    """Vocal level and presence from the estimated and the conditioning latents.

    ``forward(z0 (B, D, N), cond (B, D, N))`` returns (level in dB relative to the mixture (B,), presence logit (B,)).
    """

    def __init__(self, latent_channels: int, width: int = 128) -> None:
        super().__init__()
        self.frames = nn.Sequential(
            nn.Conv1d(2 * latent_channels, width, 5, padding=2), nn.GELU(), nn.Conv1d(width, width, 1), nn.GELU()
        )
        self.out = nn.Linear(2 * width, 2)

    def forward(self, z0: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        h = self.frames(torch.cat([z0, cond], 1))
        level, presence = self.out(torch.cat([h.mean(2), h.amax(2)], 1)).unbind(1)
        # A typical balance as the origin makes the first steps gentle.
        return 10 * level - 6.0, presence

    def loss(self, z0: Tensor, cond: Tensor, target_db: Tensor) -> Tensor:
        """Mean absolute level error in units of 10 dB where vocals are present, plus the gate's cross-entropy."""
        level, presence = self(z0, cond)
        present = target_db > ABSENT_DB
        error = (level - target_db).abs() / 10
        absent_loss = F.binary_cross_entropy_with_logits(presence.float(), present.float())
        return (error * present).sum() / present.sum().clamp_min(1) + absent_loss


def set_level(wave: Tensor, mixture: Tensor, level_db: Tensor, presence: Tensor) -> Tensor:
    """``wave (B, C, T)`` scaled to ``level_db (B,)`` relative to the mixture; zero where ``presence (B,)`` is
    negative.
    """
    wanted = rms(mixture) * 10 ** (level_db / 20) * (presence > 0)
    return wave * (wanted / rms(wave).clamp_min(1e-8))[:, None, None]
