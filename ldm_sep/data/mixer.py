"""Batches of vocals and accompaniment, drawn from recordings and varied: a pure function of (seed, step, rank)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldm_sep.config import MixConfig
from ldm_sep.data.decoded import DecodedAudio, Part
from ldm_sep.data.synthesis.augment import resample_to
from ldm_sep.data.synthesis.voices import Voices, sounding_span, varied_length
from ldm_sep.data.tracks import Track
from ldm_sep.data.variation import Variation
from ldm_sep.errors import DataError

# A shorter recording counts as a loop and is repeated.
_LOOP_SECONDS = 12.0
# Random variation of the common tempo of two loops. Bringing them together shifts each by at most 3 semitones more.
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


@dataclass(frozen=True)
class Drawn:
    """What a batch is made of: ``vocals, accompaniment (B, 2, T)`` as recorded, ``is_real (B,)`` those of one song.

    ``rng`` goes on where the drawing ended: the variation's draws come from it.
    """

    vocals: Tensor
    accompaniment: Tensor
    is_real: np.ndarray
    rng: np.random.Generator


# A function of (step, rank) that gives the same items for the same arguments.
ItemSource = Callable[[int, int], Drawn]


@dataclass(frozen=True)
class _Backing:
    """An accompaniment to take crops of; ``is_loop``: it is short and repeats."""

    part: Part
    is_loop: bool


class Mixer:
    """Draws training items of ``frames`` samples from decoded audio, as ``mix`` says.

    An item is a crop of a song, or a remix: the vocals of any song, or a collage of one solo singer's clips (pieces of
    the recordings joined in a new order), over the accompaniment of another recording. Items are drawn where the audio
    is, and varied on ``device``, which is that of the audio where it is not given.
    """

    def __init__(self, decoded: DecodedAudio, frames: int, mix: MixConfig, device: torch.device | None = None) -> None:
        self.decoded, self.frames, self.mix = decoded, frames, mix
        self.device = device or decoded.device
        self._vary = Variation(mix, decoded.sample_rate, self.device)
        # Vocals and accompaniment.
        self._songs = [
            (r.vocals, r.accompaniment) for r in decoded.recordings if r.track.is_song and r.vocals and r.accompaniment
        ]
        self.voices = Voices(
            decoded,
            frames,
            melodic=mix.melodic,
            vibrato_cents=mix.vibrato_cents,
            sustained=mix.sustained,
            doubling=mix.doubling,
        )
        self._backings = [
            _Backing(r.accompaniment, self._is_loop(r.track, r.accompaniment))
            for r in decoded.recordings
            if r.accompaniment
        ]
        self._loops = [backing for backing in self._backings if backing.is_loop]
        # Weighted by the square root of the length, so that long recordings do not crowd out short ones.
        weights = np.array([backing.part.frames**0.5 for backing in self._backings])
        self._backing_weights = weights / weights.sum()
        if not self._backings or not (self._songs or self.voices.singers):
            raise DataError("the training split needs at least one recording of vocals and one of accompaniment")

    def batch(self, size: int, seed: int, step: int, rank: int = 0) -> Batch:
        """``size`` items; the same arguments give the same batch on the same kind of device."""
        return self.varied(self.draw(size, seed, step, rank), step)

    def draw(self, size: int, seed: int, step: int, rank: int = 0) -> Drawn:
        """What `batch` of the same arguments varies: most of its time on a CPU."""
        rng = np.random.default_rng((seed, step, rank))
        vocals, accompaniment, is_real = zip(*(self._item(rng) for _ in range(size)), strict=True)
        return Drawn(torch.stack(vocals), torch.stack(accompaniment), np.array(is_real), rng)

    def varied(self, drawn: Drawn, step: int) -> Batch:
        """The batch of a ``step`` made of the items ``drawn`` for it."""
        silent = self.mix.silent * min(1.0, (step + 1) / max(1, self.mix.silent_ramp))
        waves = drawn.vocals.to(self.device), drawn.accompaniment.to(self.device)
        return Batch(*self._vary(*waves, drawn.is_real, silent, drawn.rng))

    def _item(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, bool]:
        ratio = 2 ** (rng.uniform(-1, 1) * self.mix.pitch_semitones / 12)
        if self._songs and rng.random() < self.mix.real:
            song = self._songs[rng.integers(len(self._songs))]
            length = varied_length(self.frames, ratio)
            start = sounding_span(self.decoded, song[0], length, rng)
            pair = resample_to(torch.cat([self.decoded.crop(part, start, length) for part in song]), self.frames)
            return pair[:2], pair[2:], True
        if self.voices.singers and (not self._songs or rng.random() < self.mix.collage):
            vocals = self.voices.sing(ratio, rng)
        else:
            voice, _ = self._songs[rng.integers(len(self._songs))]
            length = varied_length(self.frames, ratio)
            start = sounding_span(self.decoded, voice, length, rng)
            vocals = resample_to(self.decoded.crop(voice, start, length), self.frames)
        return vocals, self._accompaniment(rng), False

    def _accompaniment(self, rng: np.random.Generator) -> Tensor:
        first = self._backings[rng.choice(len(self._backings), p=self._backing_weights)]
        wave = self._backing(first.part, rng)
        if rng.random() >= self.mix.layering:
            return wave
        if first.is_loop:
            # A loop is layered with another loop only: the tempo of other recordings is not known.
            second = self._loops[rng.integers(len(self._loops))]
            wave, other = self._in_tempo(first.part, second.part, rng)
        else:
            second = self._backings[rng.choice(len(self._backings), p=self._backing_weights)]
            other = self._backing(second.part, rng)
        return wave + other * 10 ** (rng.normal(-3, 4) / 20)

    def _is_loop(self, track: Track, part: Part) -> bool:
        # A recording that is cut into clips is a collection of sounds, not a bar of music.
        return not track.clips and part.frames < _LOOP_SECONDS * self.decoded.sample_rate

    def _in_tempo(self, first: Part, second: Part, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Two loops, repeated, one of which lasts 2^k times as long as the other."""
        octaves = np.log2(second.frames / first.frames)
        k = int(np.round(octaves))
        # Both change their tempo by half of the difference, and by a small random amount together.
        common = rng.uniform(-1, 1) * min(self.mix.pitch_semitones, _LOOP_SEMITONES) / 12
        bar = first.frames * 2 ** ((octaves - k) / 2 + common + min(k, 0))
        bar = max(16, round(bar / 16) * 16)
        lengths = bar * 2 ** max(-k, 0), bar * 2 ** max(k, 0)
        offset = int(rng.integers(max(lengths)))
        position = torch.arange(offset, offset + self.frames, device=self.decoded.device)
        loops = (
            resample_to(self.decoded.crop(part, 0, part.frames), length)
            for part, length in zip((first, second), lengths, strict=True)
        )
        a, b = (loop[:, position % length] for loop, length in zip(loops, lengths, strict=True))
        return a, b

    def _backing(self, part: Part, rng: np.random.Generator) -> Tensor:
        length = varied_length(self.frames, 2 ** (rng.uniform(-1, 1) * self.mix.pitch_semitones / 12))
        if part.frames >= length:
            wave = self.decoded.crop(part, int(rng.integers(part.frames - length + 1)), length)
        else:
            # Loops and single sounds are repeated until the window is full.
            loop = self.decoded.crop(part, 0, part.frames)
            wave = loop.repeat(1, -(-length // part.frames))[:, :length]
        return resample_to(wave, self.frames)
