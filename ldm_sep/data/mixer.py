"""Batches of vocals and accompaniment, mixed and varied on the device, a pure function of (seed, step, rank)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldm_sep.augment import active_rms, channel_swap, equalise, pan, polarity, resample_to, reverberate
from ldm_sep.data.bank import AudioBank, Part, Recording
from ldm_sep.errors import DataError

_EQ_POINTS = 9
_REVERB_SECONDS = 1.0


@dataclass(frozen=True)
class Batch:
    """``vocals, accompaniment (B, 2, T)``; ``mixture`` is their sum, sample by sample."""

    vocals: Tensor
    accompaniment: Tensor

    @property
    def mixture(self) -> Tensor:
        """vocals + accompaniment."""
        return self.vocals + self.accompaniment


class Mixer:
    """Draws training items from a bank.

    An item is a song as it is (``real``), else a remix: vocals of any song or a collage of one solo singer's clips
    over the accompaniment of another recording. All shares are probabilities, all spreads standard deviations.

    Parameters
    ----------
    frames: samples T of an item.
    real: share of songs kept together. ``silent``, ``solo``: shares without vocals, without accompaniment.
    collage: share of solo singers among the vocals of remixes.
    pitch_semitones: largest varispeed, drawn evenly up and down.
    balance_db: spread of vocals against accompaniment around 0 dB in remixes (a third of it in songs).
    pan: spread of the position of the vocals of remixes, where 0 is the centre and 1 one side only.
    equaliser_db: spread of the smooth equaliser. ``reverb``: share of solo voices with reverberation.
    doubling: share of collages with a second, detuned take. ``layering``: share of remixes with a second accompaniment.
    """

    def __init__(
        self,
        bank: AudioBank,
        frames: int,
        *,
        real: float,
        silent: float,
        solo: float,
        collage: float,
        pitch_semitones: float,
        balance_db: float,
        pan: float,
        equaliser_db: float,
        reverb: float,
        doubling: float,
        layering: float,
    ) -> None:
        self.bank, self.frames = bank, frames
        self.real, self.silent, self.solo, self.collage = real, silent, solo, collage
        self.pitch_semitones, self.balance_db = pitch_semitones, balance_db
        self.pan, self.equaliser_db = pan, equaliser_db
        self.reverb, self.doubling, self.layering = reverb, doubling, layering
        self._songs = [r for r in bank.recordings if r.track.is_song]
        soloists = [r for r in bank.recordings if r.vocals and not r.track.is_song]
        self._singers = [
            [r for r in soloists if r.track.singer == s] for s in sorted({r.track.singer for r in soloists})
        ]
        # The root keeps a long recording from drowning the variety of the short ones.
        self._singer_weights = _normalised([sum(_seconds(r.vocals) for r in s) ** 0.5 for s in self._singers])
        self._backings = [r for r in bank.recordings if r.accompaniment]
        self._backing_weights = _normalised([_seconds(r.accompaniment) ** 0.5 for r in self._backings])
        if not self._backings or not (self._songs or self._singers):
            raise DataError("the training split needs at least one recording of vocals and one of accompaniment")

    def batch(self, size: int, seed: int, step: int, rank: int = 0) -> Batch:
        """``size`` items; the same arguments give the same batch on the same kind of device."""
        rng = np.random.default_rng((seed, step, rank))
        drawn = [self._item(rng) for _ in range(size)]
        vocals = torch.stack([v for v, _, _ in drawn])
        accompaniment = torch.stack([a for _, a, _ in drawn])
        real = torch.tensor([r for _, _, r in drawn], device=self.bank.device)
        return self._vary(vocals, accompaniment, real, rng)

    def _item(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, bool]:
        ratio = 2 ** (rng.uniform(-1, 1) * self.pitch_semitones / 12)
        if self._songs and rng.random() < self.real:
            song = self._songs[rng.integers(len(self._songs))]
            start, length = self._span(song.vocals, ratio, rng)
            pair = torch.cat(
                [self.bank.crop(song.vocals, start, length), self.bank.crop(song.accompaniment, start, length)]
            )
            pair = resample_to(pair, self.frames)
            return pair[:2], pair[2:], True
        if self._singers and (not self._songs or rng.random() < self.collage):
            vocals = self._sing(ratio, rng)
        else:
            song = self._songs[rng.integers(len(self._songs))]
            start, length = self._span(song.vocals, ratio, rng)
            vocals = resample_to(self.bank.crop(song.vocals, start, length), self.frames)
        accompaniment = self._backing(rng)
        if rng.random() < self.layering:
            accompaniment = accompaniment + self._backing(rng) * 10 ** (rng.normal(-3, 4) / 20)
        return vocals, accompaniment, False

    def _sing(self, ratio: float, rng: np.random.Generator) -> Tensor:
        singer = self._singers[rng.choice(len(self._singers), p=self._singer_weights)]
        vocals = self._take(singer, ratio, rng)
        if rng.random() < self.doubling:
            # A double (a few cents off), or a harmony a third, fourth or fifth away.
            interval = rng.choice([0.0, 0.0, 3.0, 4.0, 5.0, 7.0, -5.0]) + rng.normal(0, 0.15)
            second = self._take(singer, ratio * 2 ** (interval / 12), rng)
            angles = torch.tensor([-1.0, 1.0], device=vocals.device) * rng.uniform(0, 0.8)
            both = pan(torch.stack([vocals, second * 10 ** (rng.uniform(-9, 0) / 20)]), angles)
            vocals = both.sum(0)
        return vocals

    def _take(self, singer: Sequence[Recording], ratio: float, rng: np.random.Generator) -> Tensor:
        """Clips of one recording in random order, with rests between, until the window is full."""
        seconds = np.array([_seconds(r.vocals) for r in singer])
        recording = singer[rng.choice(len(singer), p=seconds / seconds.sum())]
        length = self._length(ratio)
        if not recording.track.clips:
            start, _ = self._span(recording.vocals, ratio, rng)
            return resample_to(self.bank.crop(recording.vocals, start, length), self.frames)
        take = torch.zeros(2, length, device=self.bank.device)
        rate = self.bank.sample_rate
        # The first clip may have begun before the window.
        position = -int(rng.uniform(0, 2) * rate)
        while position < length:
            lo, hi = recording.track.clips[rng.integers(len(recording.track.clips))]
            start, frames = round(lo * rate), max(1, round((hi - lo) * rate))
            skip = max(0, -position)
            usable = min(frames - skip, length - max(position, 0))
            if usable > 0:
                at = max(position, 0)
                gain = 10 ** (rng.normal(0, 3) / 20)
                take[:, at : at + usable] += gain * self.bank.crop(recording.vocals, start + skip, usable)
            rest = rng.exponential(0.6) if rng.random() < 0.4 else rng.uniform(0, 0.05)
            position += frames + int(rest * rate)
        return resample_to(take, self.frames)

    def _backing(self, rng: np.random.Generator) -> Tensor:
        recording = self._backings[rng.choice(len(self._backings), p=self._backing_weights)]
        part = recording.accompaniment
        length = self._length(2 ** (rng.uniform(-1, 1) * self.pitch_semitones / 12))
        if part.frames >= length:
            wave = self.bank.crop(part, int(rng.integers(part.frames - length + 1)), length)
        else:
            # Short loops and single sounds repeat, as they do in music.
            loop = self.bank.crop(part, 0, part.frames)
            wave = loop.repeat(1, -(-length // part.frames))[:, :length]
        return resample_to(wave, self.frames)

    def _length(self, ratio: float) -> int:
        # Multiples of 64 keep the FFTs of the resampling short.
        return max(64, round(self.frames * ratio / 64) * 64)

    def _span(self, part: Part, ratio: float, rng: np.random.Generator) -> tuple[int, int]:
        """A window in which something sounds, if one of a few tries finds it: most silence teaches nothing."""
        length = self._length(ratio)
        start = 0
        for _ in range(4):
            start = int(rng.integers(max(1, part.frames - length + 1)))
            if self.bank.crop(part, start, length).square().mean() > 1e-5:
                break
        return start, length

    def _vary(self, vocals: Tensor, accompaniment: Tensor, real: Tensor, rng: np.random.Generator) -> Batch:
        size, device, rate = len(vocals), self.bank.device, self.bank.sample_rate

        def tensor(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=device)

        remix = ~real
        eq = tensor(rng.normal(0, self.equaliser_db, (2, size, _EQ_POINTS)))
        vocals = equalise(vocals, eq[0], rate)
        accompaniment = equalise(accompaniment, eq[1], rate)
        wet = torch.where(
            remix & (tensor(rng.random(size)) < self.reverb), tensor(rng.uniform(-24, -6, size)), -torch.inf
        )
        if torch.isfinite(wet).any():
            generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
            noise = torch.randn(size, 2, int(_REVERB_SECONDS * rate), generator=generator, device=device)
            rt60, predelay = tensor(rng.uniform(0.2, 1.5, size)), tensor(rng.uniform(0, 0.04, size))
            vocals = reverberate(vocals, noise, rt60, predelay, wet, rate)
        angle = tensor(rng.normal(0, self.pan, size).clip(-0.8, 0.8))
        vocals = torch.where(remix[:, None, None], pan(vocals, angle), vocals)

        # Songs keep their own balance, but for a smaller change.
        balance = tensor(rng.normal(0, self.balance_db, size))
        v_rms, a_rms = active_rms(vocals, rate), active_rms(accompaniment, rate)
        equal = a_rms / v_rms.clamp_min(1e-5)
        gain = torch.where(real, 10 ** (balance / 60), equal * 10 ** (balance / 20))
        gain = torch.where((a_rms < 1e-5) | (v_rms < 1e-5), torch.ones_like(gain), gain)
        fate = tensor(rng.random(size))
        gain = torch.where(fate < self.silent, torch.zeros_like(gain), gain)
        vocals = vocals * gain[:, None, None]
        accompaniment = accompaniment * (fate < 1 - self.solo)[:, None, None]

        flips = torch.as_tensor(rng.random((3, size)) < 0.5, device=device)
        vocals, accompaniment = (channel_swap(w, flips[0]) for w in (vocals, accompaniment))
        # Within a song the two are correlated through shared effects; their polarity changes together.
        vocals = polarity(vocals, flips[1])
        accompaniment = polarity(accompaniment, torch.where(real, flips[1], flips[2]))
        level = tensor(10 ** (rng.normal(-20, 4, size) / 20))
        scale = level / (vocals + accompaniment).square().mean((1, 2)).sqrt().clamp_min(1e-4)
        # Never so loud that a near-silent crop turns into noise.
        scale = scale.clamp(max=30.0)[:, None, None]
        return Batch(vocals * scale, accompaniment * scale)


def _seconds(part: Part | None) -> float:
    return float(part.frames) if part else 0.0


def _normalised(weights: Sequence[float]) -> np.ndarray:
    total = np.asarray(weights, float)
    return total / total.sum() if len(total) else total
