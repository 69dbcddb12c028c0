"""Batches of vocals and accompaniment, mixed and varied on the device, a pure function of (seed, step, rank)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldm_sep.data.bank import AudioBank, Part, Recording
from ldm_sep.data.synthesis.augment import (
    active_rms,
    automate,
    channel_swap,
    compress,
    equalise,
    pan,
    polarity,
    reflect,
    resample_to,
    reverberate,
    widen,
)
from ldm_sep.data.synthesis.voices import Voices, sounding_span, varied_length
from ldm_sep.errors import DataError

_EQ_POINTS = 9
_REVERB_SECONDS = 1.0
_REFLECTIONS = 6
_REFLECTION_SECONDS = (0.005, 0.05)
# Between two points of the vocals' slow level changes.
_AUTOMATION_SECONDS = 1.0
# How much weaker the side signal of a nearly mono accompaniment is.
_NARROWER_DB = (8.0, 24.0)
# A recording shorter than this repeats as a loop; two are brought to one tempo by at most 3 + 1 semitones each.
_LOOP_SECONDS = 12.0
_LOOP_SEMITONES = 1.0


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

    An item is a crop of a song (``real``), else a remix: vocals of any song or a collage of one solo singer's clips
    over the accompaniment of another recording. All shares are probabilities, all spreads standard deviations.

    Parameters
    ----------
    frames: samples T of an item.
    real: share of songs kept together. ``silent``, ``solo``: shares without vocals, without accompaniment.
    silent_ramp: steps in which the share of silent items grows to ``silent``. A mask that cannot tell voices yet
    gains most from them by taking nothing at all, and once it takes nothing it hardly learns any more.
    collage: share of solo singers among the vocals of remixes.
    pitch_semitones: largest varispeed, drawn evenly up and down.
    balance_db: spread of vocals against accompaniment around 0 dB in remixes (a third of it in songs).
    pan: spread of the position of vocals and accompaniment of remixes, where 0 is the centre and 1 one side only.
    centred: share of each of the two that stay where they are. Most leads are in the very centre; were none there in
    training, a network would know the voice by its place and miss it in songs.
    equaliser_db: spread of the smooth equaliser. ``reverb``: share of remixes whose vocals reverberate.
    compress: shares of vocals and of accompaniments of remixes that are compressed. ``reflections``: share of
    remixes whose vocals have early reflections. ``width_db``: spread of the accompaniment's side signal.
    narrow: share of accompaniments that are nearly mono, so that what is at the sides may well be the voice's.
    automation_db: spread of the vocals' level from second to second in remixes.
    doubling, melodic, vibrato_cents, sustained: see `synthesis.voices.Voices`. ``layering``: share of remixes
    with a second accompaniment, at the tempo of the first where both are loops.
    """

    def __init__(
        self,
        bank: AudioBank,
        frames: int,
        *,
        real: float,
        silent: float,
        silent_ramp: int,
        solo: float,
        collage: float,
        pitch_semitones: float,
        balance_db: float,
        pan: float,
        centred: float,
        equaliser_db: float,
        reverb: float,
        compress: float,
        reflections: float,
        width_db: float,
        narrow: float,
        automation_db: float,
        doubling: float,
        melodic: float,
        vibrato_cents: float,
        sustained: float,
        layering: float,
    ) -> None:
        self.bank, self.frames = bank, frames
        self.real, self.solo, self.collage = real, solo, collage
        self.silent, self.silent_ramp = silent, silent_ramp
        self.pitch_semitones, self.balance_db = pitch_semitones, balance_db
        self.pan, self.centred, self.equaliser_db = pan, centred, equaliser_db
        self.reverb, self.layering = reverb, layering
        self.compress, self.reflections = compress, reflections
        self.width_db, self.narrow, self.automation_db = width_db, narrow, automation_db
        self._songs = [r for r in bank.recordings if r.track.is_song]
        self.voices = Voices(
            bank, frames, melodic=melodic, vibrato_cents=vibrato_cents, sustained=sustained, doubling=doubling
        )
        self._backings = [r for r in bank.recordings if r.accompaniment]
        self._loops = [r for r in self._backings if self._is_loop(r)]
        # The root keeps a long recording from drowning the variety of the short ones.
        self._backing_weights = _normalised([r.accompaniment.frames**0.5 for r in self._backings])
        if not self._backings or not (self._songs or self.voices.singers):
            raise DataError("the training split needs at least one recording of vocals and one of accompaniment")

    def batch(self, size: int, seed: int, step: int, rank: int = 0) -> Batch:
        """``size`` items; the same arguments give the same batch on the same kind of device."""
        rng = np.random.default_rng((seed, step, rank))
        drawn = [self._item(rng) for _ in range(size)]
        vocals = torch.stack([v for v, _, _ in drawn])
        accompaniment = torch.stack([a for _, a, _ in drawn])
        silent = self.silent * min(1.0, (step + 1) / max(1, self.silent_ramp))
        return self._vary(vocals, accompaniment, np.array([r for _, _, r in drawn]), silent, rng)

    def _item(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, bool]:
        ratio = 2 ** (rng.uniform(-1, 1) * self.pitch_semitones / 12)
        if self._songs and rng.random() < self.real:
            song = self._songs[rng.integers(len(self._songs))]
            length = varied_length(self.frames, ratio)
            start = sounding_span(self.bank, song, length, rng)
            pair = torch.cat(
                [self.bank.crop(song.vocals, start, length), self.bank.crop(song.accompaniment, start, length)]
            )
            pair = resample_to(pair, self.frames)
            return pair[:2], pair[2:], True
        if self.voices.singers and (not self._songs or rng.random() < self.collage):
            vocals = self.voices.sing(ratio, rng)
        else:
            song = self._songs[rng.integers(len(self._songs))]
            length = varied_length(self.frames, ratio)
            start = sounding_span(self.bank, song, length, rng)
            vocals = resample_to(self.bank.crop(song.vocals, start, length), self.frames)
        return vocals, self._accompaniment(rng), False

    def _accompaniment(self, rng: np.random.Generator) -> Tensor:
        first = self._backings[rng.choice(len(self._backings), p=self._backing_weights)]
        wave = self._backing(first.accompaniment, rng)
        if rng.random() >= self.layering:
            return wave
        if self._is_loop(first):
            # A loop goes with another loop, never with a piece whose tempo nobody knows.
            second = self._loops[rng.integers(len(self._loops))]
            wave, other = self._in_tempo(first.accompaniment, second.accompaniment, rng)
        else:
            second = self._backings[rng.choice(len(self._backings), p=self._backing_weights)]
            other = self._backing(second.accompaniment, rng)
        return wave + other * 10 ** (rng.normal(-3, 4) / 20)

    def _is_loop(self, recording: Recording) -> bool:
        # What is cut into clips is a collection, not a bar of music.
        part = recording.accompaniment
        return not recording.track.clips and part.frames < _LOOP_SECONDS * self.bank.sample_rate

    def _in_tempo(self, first: Part, second: Part, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Two loops, repeated, one of which lasts 2^k times as long as the other."""
        octaves = np.log2(second.frames / first.frames)
        k = int(np.round(octaves))
        # Each meets the other half-way; the tempo of both varies a little.
        common = rng.uniform(-1, 1) * min(self.pitch_semitones, _LOOP_SEMITONES) / 12
        bar = first.frames * 2 ** ((octaves - k) / 2 + common + min(k, 0))
        bar = max(16, round(bar / 16) * 16)
        lengths = bar * 2 ** max(-k, 0), bar * 2 ** max(k, 0)
        offset = int(rng.integers(max(lengths)))
        position = torch.arange(offset, offset + self.frames, device=self.bank.device)
        loops = (
            resample_to(self.bank.crop(part, 0, part.frames), length)
            for part, length in zip((first, second), lengths, strict=True)
        )
        a, b = (loop[:, position % length] for loop, length in zip(loops, lengths, strict=True))
        return a, b

    def _backing(self, part: Part, rng: np.random.Generator) -> Tensor:
        length = varied_length(self.frames, 2 ** (rng.uniform(-1, 1) * self.pitch_semitones / 12))
        if part.frames >= length:
            wave = self.bank.crop(part, int(rng.integers(part.frames - length + 1)), length)
        else:
            # Short loops and single sounds repeat, as they do in music.
            loop = self.bank.crop(part, 0, part.frames)
            wave = loop.repeat(1, -(-length // part.frames))[:, :length]
        return resample_to(wave, self.frames)

    def _vary(
        self, vocals: Tensor, accompaniment: Tensor, is_real: np.ndarray, silent: float, rng: np.random.Generator
    ) -> Batch:
        size, device, rate, tensor = len(vocals), self.bank.device, self.bank.sample_rate, self._tensor
        real = torch.as_tensor(is_real, device=device)
        remix = ~real
        if self.compress:
            for wave in (vocals, accompaniment):
                self._compress_some(wave, ~is_real, rng)
        eq = tensor(rng.normal(0, self.equaliser_db, (2, size, _EQ_POINTS)))
        vocals = equalise(vocals, eq[0], rate)
        accompaniment = equalise(accompaniment, eq[1], rate)
        if self.reflections:
            self._reflect_some(vocals, ~is_real, rng)
        self._reverberate_some(vocals, ~is_real, rng)
        # Before panning: afterwards the side signal would also hold the place of what is in the middle.
        if self.width_db or self.narrow:
            width = rng.normal(0, self.width_db, size)
            width -= (rng.random(size) < self.narrow) * rng.uniform(*_NARROWER_DB, size)
            accompaniment = widen(accompaniment, tensor(width))
        angles = rng.normal(0, self.pan, (2, size)).clip(-0.8, 0.8) * (rng.random((2, size)) >= self.centred)
        vocals, accompaniment = (
            torch.where((remix & (angle != 0))[:, None, None], pan(wave, angle), wave)
            for wave, angle in zip((vocals, accompaniment), tensor(angles), strict=True)
        )
        if self.automation_db:
            points = 2 + int(self.frames / rate / _AUTOMATION_SECONDS)
            vocals = automate(vocals, tensor(rng.normal(0, self.automation_db, (size, points))) * remix[:, None])

        # Songs keep their own balance, but for a smaller change.
        balance = tensor(rng.normal(0, self.balance_db, size))
        v_rms, a_rms = active_rms(vocals, rate), active_rms(accompaniment, rate)
        equal = a_rms / v_rms.clamp_min(1e-5)
        gain = torch.where(real, 10 ** (balance / 60), equal * 10 ** (balance / 20))
        gain = torch.where((a_rms < 1e-5) | (v_rms < 1e-5), torch.ones_like(gain), gain)
        fate = tensor(rng.random(size))
        gain = torch.where(fate < silent, torch.zeros_like(gain), gain)
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

    # These change the chosen items in place: most are left alone, and on a CPU each of them costs.
    def _compress_some(self, wave: Tensor, allowed: np.ndarray, rng: np.random.Generator) -> None:
        size = len(wave)
        chosen = allowed & (rng.random(size) < self.compress)
        threshold, ratio = rng.uniform(-15, 0, size), rng.uniform(1.5, 8, size)
        if chosen.any():
            threshold, ratio = self._tensor(threshold[chosen]), self._tensor(ratio[chosen])
            wave[chosen] = compress(wave[chosen], threshold, ratio, self.bank.sample_rate)

    def _reflect_some(self, vocals: Tensor, allowed: np.ndarray, rng: np.random.Generator) -> None:
        size = len(vocals)
        chosen = allowed & (rng.random(size) < self.reflections)
        delays = rng.uniform(*_REFLECTION_SECONDS, (size, _REFLECTIONS))
        # Later ones are weaker; they come from either side and with either sign.
        gains = 10 ** ((rng.uniform(-18, -6, delays.shape) - 200 * delays) / 20)
        gains *= rng.choice([-1, 1], delays.shape)
        side = rng.uniform(0, np.pi / 2, delays.shape)
        stereo = np.stack([gains * np.cos(side), gains * np.sin(side)], 1)
        if chosen.any():
            delays, stereo = self._tensor(delays[chosen]), self._tensor(stereo[chosen])
            vocals[chosen] = reflect(vocals[chosen], delays, stereo, self.bank.sample_rate)

    def _reverberate_some(self, vocals: Tensor, allowed: np.ndarray, rng: np.random.Generator) -> None:
        size, device, rate = len(vocals), self.bank.device, self.bank.sample_rate
        chosen = allowed & (rng.random(size) < self.reverb)
        wet = rng.uniform(-24, -6, size)
        if chosen.any():
            generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
            noise = torch.randn(size, 2, int(_REVERB_SECONDS * rate), generator=generator, device=device)
            rt60, predelay = rng.uniform(0.2, 1.5, size), rng.uniform(0, 0.04, size)
            rt60, predelay, wet = (self._tensor(values[chosen]) for values in (rt60, predelay, wet))
            vocals[chosen] = reverberate(vocals[chosen], noise[chosen], rt60, predelay, wet, rate)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.bank.device)


def _normalised(weights: Sequence[float]) -> np.ndarray:
    total = np.asarray(weights, float)
    return total / total.sum() if len(total) else total
