"""Solo voices for training items: collages of one singer's clips, in random order or led along a melody."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldm_sep.data.decoded import DecodedAudio, Part
from ldm_sep.data.synthesis.augment import pan, resample_to, warp
from ldm_sep.data.synthesis.melody import ONSET, PITCH, phrase_gains, pitch_course, transpose, window_of
from ldm_sep.data.synthesis.singing import Syllable, hold, sing_note, syllables
from ldm_sep.data.tracks import Clip, Track

# Harmonies in semitones; 0 is a double.
_INTERVALS = (0.0, 0.0, 3.0, 4.0, 5.0, 7.0, -5.0, 12.0, -12.0)
# Standard deviations of a second take's timing and pitch against the first.
_LATE_SECONDS, _OFF_SEMITONES = 0.015, 0.15
# Largest shift in semitones. Beyond it varispeed makes a voice sound like a cartoon, so the note moves by octaves.
_LARGEST_SHIFT = 9.0
# What is sung before and after the window, so that it may begin and end within a note.
_MARGIN_SECONDS = 0.25
_SHORTEST_SECONDS, _BREAK_SECONDS = 0.05, 0.08
_ATTACK_SECONDS, _LEGATO_SECONDS = 0.012, 0.06
# Fade of a note before a rest.
_RELEASE_SECONDS = (0.03, 0.12)
# Time by which the consonant precedes the onset of its note.
_LEAD_SECONDS = (0.04, 0.12)
# Chance that the clip's next syllable follows, and that a note is slurred: sung on the vowel of the note before.
_SAME_CLIP, _SLUR = 0.75, 0.15
# Stay on the current clip unless another is more than this much closer to the note.
_SAME_CLIP_SEMITONES = 3.0
# Share of takes without vibrato, drift and scoops, like those of beginners and samplers.
_STRAIGHT = 0.35
# Range of the tempo reduction of a sustained take, in octaves.
_SLOWER_OCTAVES = (1.0, 2.5)


def varied_length(frames: int, ratio: float) -> int:
    """Samples that varispeed by ``ratio`` makes ``frames`` of, as a multiple of 64, which keeps the FFTs short."""
    return max(64, round(frames * ratio / 64) * 64)


def sounding_span(decoded: DecodedAudio, part: Part, length: int, rng: np.random.Generator) -> int:
    """Start of a window in which ``part`` sounds, if one of a few tries finds it: silence teaches little."""
    start = 0
    for _ in range(4):
        start = int(rng.integers(max(1, part.frames - length + 1)))
        if decoded.crop(part, start, length).square().mean() > 1e-5:
            break
    return start


@dataclass(frozen=True)
class _Solo:
    """A recording of one voice alone."""

    track: Track
    vocals: Part


@dataclass(frozen=True)
class _Person:
    """Everything one person sang at known pitches: ``f0`` in Hz of each clip; ``channels`` of the widest."""

    clips: list[tuple[_Solo, Clip]]
    f0: np.ndarray
    channels: int


@dataclass
class _Utterance:
    """A clip while notes are taken from it: its ``wave``, its pitch, and the syllables not yet sung."""

    wave: Tensor
    f0: float
    left: list[Syllable]


@dataclass
class _Piece:
    """A note to be: ``source`` at ``speed`` and ``gain``; begin, end, attack and release in seconds."""

    source: Tensor
    speed: float
    gain: float
    begin: float
    end: float
    attack: float
    release: float


class Voices:
    """Draws takes of ``frames`` samples from the solo recordings of decoded audio.

    Parameters
    ----------
    melodic: share of takes that follow one of its melodies, among singers whose clips have known pitches.
    vibrato_cents: largest depth of their vibrato; drift and notes reached from below grow with it. A third of them
    are sung straight.
    sustained: share of these at a half to a sixth of the tempo. Pop tunes seldom hold a note for a second, and a
    network that was never trained on held vowels takes them for an instrument.
    doubling: share of takes with a second one of the same singer, a double or a harmony, panned apart.
    """

    def __init__(
        self,
        decoded: DecodedAudio,
        frames: int,
        *,
        melodic: float,
        vibrato_cents: float,
        sustained: float,
        doubling: float,
    ) -> None:
        self.decoded, self.frames = decoded, frames
        self.melodic, self.vibrato_cents = melodic, vibrato_cents
        self.sustained, self.doubling = sustained, doubling
        soloists = [_Solo(r.track, r.vocals) for r in decoded.recordings if r.vocals and not r.track.is_song]
        names = sorted({r.track.singer for r in soloists})
        self.singers = [[r for r in soloists if r.track.singer == name] for name in names]
        self._weights = _weights(self.singers)
        persons = {name: _person(soloists, name) for name in {r.track.person for r in soloists}}
        self._persons = [persons[singer[0].track.person] for singer in self.singers]

    def sing(self, ratio: float, rng: np.random.Generator) -> Tensor:
        """A take ``(2, frames)`` at varispeed ``ratio``, doubled or in harmony by chance."""
        number = rng.choice(len(self.singers), p=self._weights)
        singer, person = self.singers[number], self._persons[number]
        notes = None
        if person.clips and len(self.decoded.melodies) and rng.random() < self.melodic:
            melody = self.decoded.melodies[int(rng.integers(len(self.decoded.melodies)))]
            slower = 2 ** rng.uniform(*_SLOWER_OCTAVES) if rng.random() < self.sustained else 1.0
            notes = window_of(melody, self.frames / self.decoded.sample_rate + 2 * _MARGIN_SECONDS, rng, slower)
            own = [clip.f0 for recording in singer for clip in recording.track.clips if clip.f0]
            notes[:, PITCH] = transpose(notes, ratio * rng.choice(own or person.f0), rng)
            vocals = self._led(person, notes, ratio, rng)
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
                second = self._led(person, strayed, ratio, rng)
            angles = torch.tensor([-1.0, 1.0], device=vocals.device) * rng.uniform(0, 0.8)
            both = pan(torch.stack([vocals, second * 10 ** (rng.uniform(-9, 0) / 20)]), angles)
            vocals = both.sum(0)
        return vocals

    def _led(self, person: _Person, notes: np.ndarray, ratio: float, rng: np.random.Generator) -> Tensor:
        """The ``notes`` (onset s, duration s, frequency in Hz) of the window and its margins, one syllable each.

        ``ratio`` is how much the voice's formants are moved as far as the choice of clips allows. Vowels, not
        consonants, begin on the notes' onsets.
        """
        rate = self.decoded.sample_rate
        seconds = self.frames / rate + 2 * _MARGIN_SECONDS
        # Mono voices are kept mono until the end, which halves the cost.
        take = torch.zeros(person.channels, round(seconds * rate), device=self.decoded.device)
        for piece in self._pieces(person, notes, ratio, seconds, rng):
            at = round(piece.begin * rate)
            length = min(round((piece.end - piece.begin) * rate), take.shape[1] - at)
            if length > 0:
                fades = round(piece.attack * rate), round(piece.release * rate)
                note = sing_note(piece.source, piece.speed, length, *fades)
                take[:, at : at + note.shape[1]] += piece.gain * note
        cents = self.vibrato_cents * (rng.random() >= _STRAIGHT)
        course = torch.as_tensor(pitch_course(notes, seconds, cents, rng), dtype=torch.float32)
        margin = round(_MARGIN_SECONDS * rate)
        return warp(take, course.to(take.device))[:, margin : margin + self.frames].expand(2, -1)

    def _pieces(
        self, person: _Person, notes: np.ndarray, ratio: float, seconds: float, rng: np.random.Generator
    ) -> list[_Piece]:
        rate = self.decoded.sample_rate
        pieces: list[_Piece] = []
        # What is being sung.
        current: tuple[_Utterance, Syllable] | None = None
        for (onset, duration, frequency), gain in zip(notes, phrase_gains(len(notes), rng), strict=True):
            begin, end = max(float(onset), 0.0), min(float(onset + duration), seconds)
            if end - begin < _SHORTEST_SECONDS:
                continue
            frequency = _folded(frequency, ratio * person.f0)
            follows = bool(pieces) and begin - pieces[-1].end < _BREAK_SECONDS
            crossfade = rng.uniform(_ATTACK_SECONDS, _LEGATO_SECONDS) if follows else _ATTACK_SECONDS
            if follows and current is not None and rng.random() < _SLUR:
                # A slur goes on from the middle of the vowel, whose beginning was heard before.
                utterance, syllable = current
                cut = vowel = (syllable.vowel + syllable.end) // 2
                speed, lead = frequency / utterance.f0, 0.0
            else:
                utterance = self._utterance(person, current[0] if current else None, frequency / ratio, rng)
                syllable = utterance.left.pop(0)
                current = utterance, syllable
                speed, vowel = frequency / utterance.f0, syllable.vowel
                lead = min((vowel - syllable.begin) / rate / speed, rng.uniform(*_LEAD_SECONDS), begin)
                if follows:
                    # The consonant takes at most 40 % of the note before.
                    lead = min(lead, 0.4 * max(0.0, begin - pieces[-1].begin))
                cut = vowel - round(lead * speed * rate)
            if follows:
                pieces[-1].end, pieces[-1].release = begin - lead + crossfade, crossfade
            # Long enough to overlap with the fade-in of the next note.
            needed = round((end - begin + lead + _BREAK_SECONDS + _LEGATO_SECONDS) * speed * rate)
            source = hold(utterance.wave[:, cut : syllable.end], vowel - cut, needed, rate / utterance.f0, rate)
            pieces.append(_Piece(source, speed, gain, begin - lead, end, crossfade, rng.uniform(*_RELEASE_SECONDS)))
        return pieces

    def _utterance(
        self, person: _Person, current: _Utterance | None, f0: float, rng: np.random.Generator
    ) -> _Utterance:
        """``current`` while it lasts and its pitch is near enough to ``f0`` Hz, else a new clip of nearly that pitch,
        from any of its syllables on.
        """
        distance = np.abs(12 * np.log2(f0 / person.f0))
        if (
            current is not None
            and current.left
            and rng.random() < _SAME_CLIP
            and abs(12 * np.log2(f0 / current.f0)) < distance.min() + _SAME_CLIP_SEMITONES
        ):
            return current
        near = np.flatnonzero(distance <= distance.min() + 1)
        recording, clip = person.clips[rng.choice(near)]
        start, stop = (round(s * self.decoded.sample_rate) for s in (clip.start, clip.end))
        wave = self.decoded.crop(recording.vocals, start, stop - start)[: recording.vocals.channels]
        found = syllables(wave, self.decoded.sample_rate) or [Syllable(0, 0, wave.shape[1])]
        return _Utterance(wave, clip.f0, found[rng.integers(len(found)) :])

    def _collage(self, singer: Sequence[_Solo], ratio: float, rng: np.random.Generator) -> Tensor:
        """Clips of one recording in random order, with rests between, until the window is full."""
        recording = _choose(singer, rng)
        length = varied_length(self.frames, ratio)
        if not recording.track.clips:
            start = sounding_span(self.decoded, recording.vocals, length, rng)
            return resample_to(self.decoded.crop(recording.vocals, start, length), self.frames)
        take = torch.zeros(2, length, device=self.decoded.device)
        rate = self.decoded.sample_rate
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
                take[:, at : at + usable] += gain * self.decoded.crop(recording.vocals, start + skip, usable)
            rest = rng.exponential(0.6) if rng.random() < 0.4 else rng.uniform(0, 0.05)
            position += frames + int(rest * rate)
        return resample_to(take, self.frames)


def _weights(singers: Sequence[Sequence[_Solo]]) -> np.ndarray:
    """Chance of each singer: by the cube root of what its person recorded, since one more voice teaches more than one
    more hour of a voice; within a person by the length of the variant.
    """
    length = np.array([sum(r.vocals.frames for r in singer) for singer in singers], float)
    persons = np.array([singer[0].track.person for singer in singers])
    whole = np.array([length[persons == person].sum() for person in persons])
    weights = whole ** (1 / 3) * (length / whole)
    return weights / weights.sum() if len(weights) else weights


def _choose(recordings: Sequence[_Solo], rng: np.random.Generator) -> _Solo:
    frames = np.array([r.vocals.frames for r in recordings], float)
    return recordings[rng.choice(len(recordings), p=frames / frames.sum())]


def _person(soloists: Sequence[_Solo], name: str) -> _Person:
    clips = [(r, clip) for r in soloists if r.track.person == name for clip in r.track.clips if clip.f0]
    channels = max((r.vocals.channels for r, _ in clips), default=1)
    return _Person(clips, np.array([clip.f0 for _, clip in clips], float), channels)


def _folded(frequency: float, f0: np.ndarray) -> float:
    """``frequency`` moved by octaves until one of the pitches ``f0`` is within reach of varispeed."""
    while True:
        distance = 12 * np.log2(frequency / f0)
        nearest = distance[np.argmin(np.abs(distance))]
        if abs(nearest) <= _LARGEST_SHIFT:
            return float(frequency)
        frequency = frequency * (0.5 if nearest > 0 else 2.0)
