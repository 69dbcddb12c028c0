"""Solo voices for training items: collages of one singer's clips, in random order or led along a melody."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ldm_sep.augment import pan, resample_to
from ldm_sep.data.bank import AudioBank, Recording
from ldm_sep.data.melody import DURATION, ONSET, PITCH, phrase_gains, sing_note, transpose, vibrato, window_of

# Harmonies in semitones; 0 is a double.
_INTERVALS = (0.0, 0.0, 3.0, 4.0, 5.0, 7.0, -5.0, 12.0, -12.0)
# How far a second take strays from the first, standard deviations.
_LATE_SECONDS, _OFF_SEMITONES = 0.015, 0.15


def varied_length(frames: int, ratio: float) -> int:
    """Samples that varispeed by ``ratio`` makes ``frames`` of, as a multiple of 64, which keeps the FFTs short."""
    return max(64, round(frames * ratio / 64) * 64)


def sounding_span(bank: AudioBank, recording: Recording, length: int, rng: np.random.Generator) -> int:
    """Start of a window in which the vocals sound, if one of a few tries finds it: most silence teaches nothing."""
    part = recording.vocals
    start = 0
    for _ in range(4):
        start = int(rng.integers(max(1, part.frames - length + 1)))
        if bank.crop(part, start, length).square().mean() > 1e-5:
            break
    return start


class Voices:
    """Draws takes of ``frames`` samples from the solo recordings of a bank.

    Parameters
    ----------
    melodic: share of takes that follow one of the bank's melodies, among singers whose clips have known pitches.
    vibrato_cents: largest depth of their vibrato.
    doubling: share of takes with a second one of the same singer, a double or a harmony, panned apart.
    """

    def __init__(
        self,
        bank: AudioBank,
        frames: int,
        *,
        melodic: float,
        vibrato_cents: float,
        doubling: float,
    ) -> None:
        self.bank, self.frames = bank, frames
        self.melodic, self.vibrato_cents, self.doubling = melodic, vibrato_cents, doubling
        soloists = [r for r in bank.recordings if r.vocals and not r.track.is_song]
        names = sorted({r.track.singer for r in soloists})
        self.singers = [[r for r in soloists if r.track.singer == name] for name in names]
        # The root keeps a long recording from drowning the variety of the short ones.
        weights = np.array([sum(r.vocals.frames for r in singer) ** 0.5 for singer in self.singers])
        self._weights = weights / weights.sum() if len(weights) else weights

    def sing(self, ratio: float, rng: np.random.Generator) -> Tensor:
        """A take ``(2, frames)`` at varispeed ``ratio``, doubled or in harmony by chance."""
        singer = self.singers[rng.choice(len(self.singers), p=self._weights)]
        pitched = [r for r in singer if any(clip.f0 for clip in r.track.clips)]
        notes = None
        if pitched and len(self.bank.melodies) and rng.random() < self.melodic:
            melody = self.bank.melodies[rng.integers(len(self.bank.melodies))]
            notes = window_of(melody, self.frames / self.bank.sample_rate, rng)
            recording = _choose(pitched, rng)
            f0 = float(np.median([clip.f0 for clip in recording.track.clips if clip.f0]))
            notes[:, PITCH] = transpose(notes, f0 * ratio, rng)
            vocals = self._led(recording, notes, rng)
        else:
            vocals = self._collage(singer, ratio, rng)
        if rng.random() < self.doubling:
            shift = 2 ** ((rng.choice(_INTERVALS) + rng.normal(0, _OFF_SEMITONES)) / 12)
            if notes is None:
                second = self._collage(singer, ratio * shift, rng)
            else:
                strayed = notes.copy()
                strayed[:, PITCH] *= shift
                strayed[:, ONSET] += rng.normal(0, _LATE_SECONDS, len(notes))
                second = self._led(recording, strayed, rng)
            angles = torch.tensor([-1.0, 1.0], device=vocals.device) * rng.uniform(0, 0.8)
            both = pan(torch.stack([vocals, second * 10 ** (rng.uniform(-9, 0) / 20)]), angles)
            vocals = both.sum(0)
        return vocals

    def _led(self, recording: Recording, notes: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The ``notes`` (onset s, duration s, frequency in Hz), each from a random place of a clip of known pitch."""
        rate = self.bank.sample_rate
        take = torch.zeros(2, self.frames, device=self.bank.device)
        clips = [clip for clip in recording.track.clips if clip.f0]
        for note, gain in zip(notes, phrase_gains(len(notes), rng), strict=True):
            onset = max(0, round(note[ONSET] * rate))
            frames = min(round(note[DURATION] * rate), self.frames - onset)
            if frames < rate // 50:
                continue
            clip = clips[rng.integers(len(clips))]
            # Somewhere in the first half, so that most notes can be held.
            start = round((clip.start + rng.uniform(0, 0.5) * (clip.end - clip.start)) * rate)

            def crop(offset: int, length: int, start: int = start) -> Tensor:
                return self.bank.crop(recording.vocals, start + offset, length)

            usable = round(clip.end * rate) - start
            take[:, onset : onset + frames] += gain * sing_note(crop, usable, clip.f0, note[PITCH], frames, rate)
        return vibrato(take, rng.uniform(0, self.vibrato_cents), rng, rate)

    def _collage(self, singer: Sequence[Recording], ratio: float, rng: np.random.Generator) -> Tensor:
        """Clips of one recording in random order, with rests between, until the window is full."""
        recording = _choose(singer, rng)
        length = varied_length(self.frames, ratio)
        if not recording.track.clips:
            start = sounding_span(self.bank, recording, length, rng)
            return resample_to(self.bank.crop(recording.vocals, start, length), self.frames)
        take = torch.zeros(2, length, device=self.bank.device)
        rate = self.bank.sample_rate
        # The first clip may have begun before the window.
        position = -int(rng.uniform(0, 2) * rate)
        while position < length:
            clip = recording.track.clips[rng.integers(len(recording.track.clips))]
            start, frames = round(clip.start * rate), max(1, round((clip.end - clip.start) * rate))
            skip = max(0, -position)
            usable = min(frames - skip, length - max(position, 0))
            if usable > 0:
                at = max(position, 0)
                gain = 10 ** (rng.normal(0, 3) / 20)
                take[:, at : at + usable] += gain * self.bank.crop(recording.vocals, start + skip, usable)
            rest = rng.exponential(0.6) if rng.random() < 0.4 else rng.uniform(0, 0.05)
            position += frames + int(rest * rate)
        return resample_to(take, self.frames)


def _choose(recordings: Sequence[Recording], rng: np.random.Generator) -> Recording:
    frames = np.array([r.vocals.frames for r in recordings], float)
    return recordings[rng.choice(len(recordings), p=frames / frames.sum())]
