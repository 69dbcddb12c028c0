"""A recorded voice cut into syllables, and notes made of them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ldm_sep.data.synthesis.augment import fast_length, resample_to

_FRAMES_PER_SECOND = 200
# A syllable's onset: the frames averaged before and after it, the least distance of two onsets in frames, and the
# least rise of the level in dB.
_SIDE, _APART, _RISE_DB = 12, 24, 2.5
# In dB below the loud parts: a vowel begins above the first level, and a voice has stopped below the second.
_LOUD_DB, _STOPPED_DB = 12.0, 20.0
_CONSONANT_SECONDS = 0.12
# The part of a vowel that is repeated to hold a long note, as shares of its length, and the crossfade of the repeats.
_HELD_FROM, _HELD_TO, _CROSSFADE_SECONDS = 0.35, 0.85, 0.03
# Limit of the gain that gives the repeated part an even level.
_LARGEST_GAIN = 2.5


class Syllable(NamedTuple):
    """Samples: its consonant begins at ``begin``, its vowel at ``vowel``, and it lasts until ``end``."""

    begin: int
    vowel: int
    end: int


def syllables(wave: Tensor, rate: int) -> list[Syllable]:
    """The syllables of a sung ``wave (C, T)``, told by their vowels' rises of level.

    Consonants are weaker than the vowels after them; a string of bare vowels therefore counts as one syllable.
    """
    hop = rate // _FRAMES_PER_SECOND
    count = wave.shape[1] // hop
    if count <= 2 * _SIDE:
        return [Syllable(0, 0, wave.shape[1])] if wave.any() else []
    power = wave[:, : count * hop].mean(0).view(count, hop).square().mean(1).cpu().numpy().astype(np.float64)
    loud = np.percentile(power, 90)
    if loud <= 0:
        return []
    level = 10 * np.log10(power / loud + 1e-4)
    # The wave is taken to lie in silence.
    sums = np.cumsum(np.concatenate([[0], np.full(_SIDE, -40.0), level, np.full(_SIDE, -40.0)]))
    after = (sums[2 * _SIDE :] - sums[_SIDE:-_SIDE]) / _SIDE
    before = (sums[_SIDE:-_SIDE] - sums[: -2 * _SIDE]) / _SIDE
    rise = np.where(after > -_LOUD_DB, after - before, 0.0)[:count]
    vowels: list[int] = []
    # The steepest rise first. Later ones near it belong to the same onset.
    for frame in np.argsort(-rise, kind="stable"):
        if rise[frame] < _RISE_DB:
            break
        if all(abs(int(frame) - other) >= _APART for other in vowels):
            vowels.append(int(frame))
    if not vowels:
        # Only creaks and clicks: the level never rises and stays up.
        return [Syllable(0, 0, wave.shape[1])]
    vowels.sort()
    consonant = round(_CONSONANT_SECONDS * _FRAMES_PER_SECOND)
    found = []
    previous = 0
    for vowel, following in zip(vowels, [*vowels[1:], count + consonant], strict=True):
        begin, end = max(previous, vowel - consonant), min(following - consonant, count)
        stopped = np.flatnonzero(level[vowel + _SIDE : end] < -_STOPPED_DB)
        end = vowel + _SIDE + int(stopped[0]) if len(stopped) else max(end, vowel + _SIDE)
        end = min(end, following)
        found.append(Syllable(begin * hop, vowel * hop, min(end * hop, wave.shape[1])))
        previous = end
    return found


def hold(syllable: Tensor, vowel: int, frames: int, period: float, rate: int) -> Tensor:
    """``syllable (C, S)``, whose vowel begins at the sample ``vowel``, made to last ``frames`` samples or more.

    The middle of the vowel is repeated with crossfades, at one level, a whole number of ``period`` samples at a time so
    that the fundamental goes on; a vowel too short for that is returned as it is.
    """
    total = syllable.shape[1]
    if total >= frames:
        return syllable
    fade = round(_CROSSFADE_SECONDS * rate)
    end = vowel + round(_HELD_TO * (total - vowel))
    turn = round(period * int((_HELD_TO - _HELD_FROM) * (total - vowel) / period))
    if turn < 2 * fade or end - turn < fade:
        return syllable
    start = end - turn - fade
    steady = _levelled(syllable[:, start:end], fade)
    up = torch.linspace(0, 1, fade, device=syllable.device)
    joined = steady[:, fade:].clone()
    # The end of each repeat is crossfaded with what precedes its beginning.
    joined[:, turn - fade :] = joined[:, turn - fade :] * (1 - up) + steady[:, :fade] * up
    repeats = -(-(frames - end) // turn)
    return torch.cat([syllable[:, :start], steady[:, :fade], joined.repeat(1, repeats + 1)], 1)


def _levelled(wave: Tensor, window: int) -> Tensor:
    """``wave (C, T)`` at the level of its beginning throughout. A swell that is repeated would sound like a tremolo.

    Levels are those of ``window`` samples.
    """
    step = max(1, window // 6)
    power = wave.square().mean(0, keepdim=True)
    power = torch.nn.functional.avg_pool1d(power, window, step, window // 2, count_include_pad=False)
    level = torch.nn.functional.interpolate(power[None], wave.shape[1], mode="linear")[0].sqrt()
    return wave * (level[:, :1] / level.clamp_min(1e-9)).clamp(1 / _LARGEST_GAIN, _LARGEST_GAIN)


def sing_note(source: Tensor, ratio: float, frames: int, attack: int, release: int) -> Tensor:
    """``source (C, S)`` at ``ratio`` times its pitch by varispeed, cut to at most ``frames`` samples and faded.

    Formants move with the pitch, which turns one singer into several. ``attack`` and ``release`` are the samples of
    its raised-cosine fades.
    """
    # Lengths that are multiples of 16 have fast FFTs, and change the pitch by a few cents at most.
    length = min(fast_length(round(frames * ratio) + 16), source.shape[1] // 16 * 16)
    if length < 16:
        return source[:, :0]
    note = resample_to(source[:, :length], max(16, round(length / ratio / 16) * 16))[:, :frames]
    attack, release = (max(1, min(n, note.shape[1] // 2)) for n in (attack, release))
    envelope = torch.ones(note.shape[1], device=note.device)
    envelope[:attack] = _rise(attack, note.device)
    envelope[note.shape[1] - release :] = _rise(release, note.device).flip(0)
    return note * envelope


def _rise(count: int, device: torch.device) -> Tensor:
    return 0.5 - 0.5 * torch.cos(torch.linspace(0, torch.pi, count, device=device))
