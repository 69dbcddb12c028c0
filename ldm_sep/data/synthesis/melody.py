"""Melodies that voices are led along: the tunes of MIDI songs as arrays, and how a singer phrases them."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ldm_sep.data.synthesis.midi import read_archive, read_song
from ldm_sep.errors import DataError
from ldm_sep.files import make_folder, replacing

# Version of the cached tunes. Raise it when they are read differently.
_FORMAT = 1
# Columns of a melody.
ONSET, DURATION, PITCH = 0, 1, 2
# Points per second of a pitch course.
COURSE_RATE = 200
_OFF_SEMITONES = 2.0
_VIBRATO_HZ = (4.5, 6.5)
# Shorter notes have no vibrato.
_SWAYING_SECONDS = 0.35
_SCOOP_SECONDS = 0.04


def load_melodies(scores: Path, cache: Path, report: Callable[[str], None] | None = None) -> list[np.ndarray]:
    """The tunes of a zip of MIDI songs, each ``(notes, 3)`` float32: onset s, duration s, MIDI pitch; one voice each.

    They are kept in ``cache`` beside the decoded audio, and taken from there where the zip itself is missing. Songs
    without a tune in a track MELODY, or without a PIANO, are passed over; ``report`` is told how many. DataError if
    nothing is left or the zip cannot be read.
    """
    # The cache is found by the zip's name and size. Its time of change would not survive copying.
    if scores.is_file():
        kept = cache / f"melodies{_FORMAT}-{scores.stem}-{scores.stat().st_size}.npz"
    else:
        own = re.compile(rf"melodies{_FORMAT}-{re.escape(scores.stem)}-\d+\.npz")
        found = [path for path in cache.glob("*.npz") if own.fullmatch(path.name)]
        if not found:
            raise DataError(f"{scores}: no such zip of MIDI songs; copy it there or leave data.melodies out")
        # Of several sizes the newest.
        kept = max(found, key=lambda path: path.stat().st_mtime_ns)
    if not kept.is_file():
        melodies, unusable = _parse(scores)
        if unusable and report is not None:
            report(f"{scores}: {unusable} songs passed over: not MIDI files with a tune in a track MELODY and a PIANO")
        make_folder(cache)
        with replacing(kept) as temporary:
            np.savez_compressed(temporary, notes=np.concatenate(melodies), lengths=[len(m) for m in melodies])
    with np.load(kept) as arrays:
        return np.split(arrays["notes"], np.cumsum(arrays["lengths"])[:-1])


def _parse(scores: Path) -> tuple[list[np.ndarray], int]:
    """The tunes of all songs, and how many songs have none."""
    melodies, unusable = [], 0
    for data in read_archive(scores).values():
        try:
            notes = read_song(data).melody
        except ValueError:
            notes = ()
        if len(notes) > 1:
            melodies.append(_one_voice(np.array([(n.onset, n.duration, n.pitch) for n in notes], np.float32)))
        else:
            unusable += 1
    if not melodies:
        raise DataError(f"{scores}: none of its songs has tracks MELODY and PIANO; name another zip in data.melodies")
    return melodies, unusable


def _one_voice(notes: np.ndarray) -> np.ndarray:
    """Notes cut where the next one begins; of several that begin together the highest is kept."""
    order = np.lexsort((-notes[:, PITCH], notes[:, ONSET]))
    notes = notes[order]
    first = np.concatenate([[True], np.diff(notes[:, ONSET]) > 1e-3])
    notes = notes[first]
    notes[:-1, DURATION] = np.minimum(notes[:-1, DURATION], np.diff(notes[:, ONSET]))
    return notes


def window_of(melody: np.ndarray, seconds: float, rng: np.random.Generator, slower: float = 1.0) -> np.ndarray:
    """Notes that sound within a random window of ``seconds``, at least one of which begins there.

    Onsets count from the window's start; a note that began before it has a negative one. The melody is taken
    ``slower`` times slower than it is written.
    """
    melody = melody * np.array([slower, slower, 1.0], melody.dtype)
    begin = melody[rng.integers(len(melody)), ONSET] - rng.uniform(0, 0.6 * seconds)
    ends = melody[:, ONSET] + melody[:, DURATION]
    notes = melody[(ends > begin) & (melody[:, ONSET] < begin + seconds)].copy()
    notes[:, ONSET] -= begin
    return notes


def transpose(notes: np.ndarray, f0: float, rng: np.random.Generator) -> np.ndarray:
    """The notes' frequencies in Hz, moved together by semitones to lie around ``f0`` Hz, and then a little off."""
    around = np.round(69 + 12 * np.log2(f0 / 440) - np.median(notes[:, PITCH]))
    return 440 * 2 ** ((notes[:, PITCH] + around + rng.normal(0, _OFF_SEMITONES) - 69) / 12)


def phrase_gains(count: int, rng: np.random.Generator) -> np.ndarray:
    """Gains of consecutive notes: a slow random walk in dB with accents, so that phrases swell and fade."""
    walk = np.cumsum(rng.normal(0, 1.2, count))
    return 10 ** ((walk - walk.mean() + rng.normal(0, 1.5, count)).clip(-12, 8) / 20)


def pitch_course(notes: np.ndarray, seconds: float, cents: float, rng: np.random.Generator) -> np.ndarray:
    """How far a singer is off the pitches of ``notes``, in cents, `COURSE_RATE` times a second for ``seconds``.

    Held notes begin to sway after a while, 4.5 to 6.5 times a second, by a depth drawn up to ``cents``; half of the
    notes are reached from below; and all drifts slowly, by a fifth of ``cents`` (standard deviation).
    """
    t = np.arange(round(seconds * COURSE_RATE) + 1) / COURSE_RATE
    knots = np.arange(0, seconds + 1, 0.4)
    course = np.interp(t, knots, rng.normal(0, cents / 5, len(knots)))
    depth, speed, phase = rng.uniform(0, cents), rng.uniform(*_VIBRATO_HZ), rng.uniform(0, 2 * np.pi)
    sway = depth * np.sin(2 * np.pi * speed * t + phase)
    for onset, duration in notes[:, [ONSET, DURATION]]:
        delay, scoop = rng.uniform(0.05, 0.3), abs(rng.normal(0, cents)) * (rng.random() < 0.5)
        since = t - onset
        inside = (since >= 0) & (since < duration)
        course[inside] -= scoop * np.exp(-since[inside] / _SCOOP_SECONDS)
        if duration > _SWAYING_SECONDS:
            course += sway * np.clip((since - delay) / 0.2, 0, 1) * np.clip((duration - since) / 0.05, 0, 1)
    return course
