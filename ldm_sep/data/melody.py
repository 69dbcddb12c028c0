"""Melodies that voices are led along: the tunes of MIDI songs as arrays, and a voice cut into their notes."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ldm_sep.augment import resample_to
from ldm_sep.data.midi import read_archive, read_song
from ldm_sep.errors import DataError

# Columns of a melody.
ONSET, DURATION, PITCH = 0, 1, 2
_ATTACK_SECONDS, _RELEASE_SECONDS = 0.012, 0.03
# Varispeed beyond this turns a voice into a cartoon; such notes move by octaves.
_LARGEST_SHIFT = 9 / 12
_VIBRATO_HZ = (4.5, 6.5)


def load_melodies(scores: Path, cache: Path) -> list[np.ndarray]:
    """The tunes of a zip of MIDI songs, each ``(notes, 3)`` float32: onset s, duration s, MIDI pitch; one voice each.

    They are kept in ``cache`` beside the decoded audio, and taken from there where the zip itself is missing. Songs
    without a track MELODY are passed over. DataError if nothing is left.
    """
    # Known by name and size: times of change do not survive copying.
    if scores.is_file():
        kept = cache / f"melodies-{scores.stem}-{scores.stat().st_size}.npz"
    else:
        kept = next(iter(sorted(cache.glob(f"melodies-{scores.stem}-*.npz"))), cache / "none")
    if not kept.is_file():
        melodies = []
        for data in read_archive(scores).values():
            try:
                notes = read_song(data).melody
            except ValueError:
                continue
            if len(notes) > 1:
                melodies.append(_one_voice(np.array([(n.onset, n.duration, n.pitch) for n in notes], np.float32)))
        if not melodies:
            raise DataError(f"{scores}: none of its songs has a track MELODY")
        cache.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f"{kept.stem}.{os.getpid()}.tmp.npz")
        np.savez_compressed(temporary, notes=np.concatenate(melodies), lengths=[len(m) for m in melodies])
        temporary.replace(kept)
    with np.load(kept) as arrays:
        return np.split(arrays["notes"], np.cumsum(arrays["lengths"])[:-1])


def _one_voice(notes: np.ndarray) -> np.ndarray:
    """Notes cut where the next one begins; of several that begin together the highest is kept."""
    order = np.lexsort((-notes[:, PITCH], notes[:, ONSET]))
    notes = notes[order]
    first = np.concatenate([[True], np.diff(notes[:, ONSET]) > 1e-3])
    notes = notes[first]
    notes[:-1, DURATION] = np.minimum(notes[:-1, DURATION], np.diff(notes[:, ONSET]))
    return notes


def window_of(melody: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Notes of a random window of ``seconds`` in which at least one begins; onsets count from its start."""
    begin = melody[rng.integers(len(melody)), ONSET] - rng.uniform(0, 0.6 * seconds)
    inside = (melody[:, ONSET] >= begin) & (melody[:, ONSET] < begin + seconds)
    notes = melody[inside].copy()
    notes[:, ONSET] -= begin
    return notes


def transpose(notes: np.ndarray, f0: float, rng: np.random.Generator) -> np.ndarray:
    """The notes' frequencies in Hz, moved by octaves to where a voice of ``f0`` Hz lies, then by some semitones."""
    pitch = notes[:, PITCH] + 12 * np.round((_midi(f0) - np.median(notes[:, PITCH])) / 12)
    return 440 * 2 ** ((pitch + rng.normal(0, 2) - 69) / 12)


def _midi(f0: float) -> float:
    return 69 + 12 * np.log2(f0 / 440)


def sing_note(
    crop: Callable[[int, int], Tensor], usable: int, f0: float, frequency: float, frames: int, rate: int
) -> Tensor:
    """A note ``(2, frames)`` of ``frequency`` Hz from a held voice of ``f0`` Hz, by varispeed.

    ``crop(offset, length)`` gives samples of the voice, of which ``usable`` follow the offset 0; where they do not
    last, the note ends early. Formants move with the pitch, which turns one singer into several.
    """
    ratio = frequency / f0
    while abs(np.log2(ratio)) > _LARGEST_SHIFT:
        ratio *= 0.5 if ratio > 1 else 2.0
    # Multiples of 64 keep the FFTs of the resampling short.
    length = max(64, round(min(frames * ratio, usable) / 64) * 64)
    note = resample_to(crop(0, length), max(64, round(length / ratio / 64) * 64))
    note = note[:, :frames]
    attack, release = (min(note.shape[1] // 2, round(s * rate)) for s in (_ATTACK_SECONDS, _RELEASE_SECONDS))
    envelope = torch.ones(note.shape[1], device=note.device)
    envelope[:attack] *= torch.linspace(0, 1, attack, device=note.device)
    envelope[note.shape[1] - release :] *= torch.linspace(1, 0, release, device=note.device)
    return F.pad(note * envelope, (0, frames - note.shape[1]))


def vibrato(wave: Tensor, cents: float, rng: np.random.Generator, rate: int) -> Tensor:
    """``wave (2, T)`` read at a swaying speed: the pitch moves by up to ``cents`` up and down, 4.5 to 6.5 times a
    second. Cubic interpolation.
    """
    if cents <= 0:
        return wave
    frames = wave.shape[1]
    t = torch.arange(frames, device=wave.device, dtype=torch.float64)
    omega = 2 * np.pi * rng.uniform(*_VIBRATO_HZ) / rate
    depth = (2 ** (cents / 1200) - 1) / omega
    position = t + depth * torch.sin(omega * t + rng.uniform(0, 2 * np.pi))
    position = position.clamp(0, frames - 1)
    left = position.floor().long()
    x = (position - left).to(wave.dtype)
    a, b, c, d = (wave[:, (left + k).clamp(0, frames - 1)] for k in (-1, 0, 1, 2))
    # Catmull-Rom.
    return b + 0.5 * x * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a)))


def phrase_gains(count: int, rng: np.random.Generator) -> np.ndarray:
    """Gains of consecutive notes: a slow random walk in dB with accents, so that phrases swell and fade."""
    walk = np.cumsum(rng.normal(0, 1.2, count))
    return 10 ** ((walk - walk.mean() + rng.normal(0, 1.5, count)).clip(-12, 8) / 20)
