"""Accompaniments rendered from MIDI songs: any number of pieces without a voice, from scores and a soundfont.

A song's own tracks are re-orchestrated at random: other instruments, another key and tempo, a bass line from the lowest
notes, drums on its beats. A leading line may be played by an instrument, so that a tune alone does not make a voice.
"""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ldm_sep.audio import AudioWriter, read
from ldm_sep.data.synthesis.midi import Note, Song, read_archive, read_song
from ldm_sep.data.tables import RoleRow, add_roles
from ldm_sep.errors import DataError, DependencyError
from ldm_sep.files import as_file_name, make_folder, shown

# General MIDI programs (from 0). Left out: the voices and choirs 52-54, 85, 91, and the noises 120-127.
_VOICES = {52, 53, 54, 85, 91}
_CHORDS = [p for p in [*range(32), *range(40, 52), *range(88, 96), *range(104, 112)] if p not in _VOICES]
_LEADS = [p for p in [*range(0, 16), *range(22, 32), *range(40, 46), *range(56, 85), *range(104, 112)]]
_BASSES = list(range(32, 40))
_PADS = [p for p in [*range(48, 52), *range(88, 96)] if p not in _VOICES]
_LOWEST_CHORD_PITCH = 52
_DRUM_CHANNEL = 9
# Kick, snare, closed and open hi-hat, ride, crash, shaker.
_KICK, _SNARE, _HAT, _OPEN_HAT, _RIDE, _CRASH, _SHAKER = 36, 38, 42, 46, 51, 49, 70
_TICKS_PER_SECOND = 960
_TAIL_SECONDS = 1.0


@dataclass(frozen=True)
class MidiPart:
    """One instrument: General MIDI ``program`` (None for drums), ``volume`` and ``pan`` (0 to 127), ``reverb``."""

    program: int | None
    volume: int
    pan: int
    reverb: int
    notes: tuple[Note, ...]


def arrange(song: Song, seconds: float, rng: np.random.Generator) -> list[MidiPart]:
    """Parts of a random window of ``seconds``, orchestrated at random; times start at 0."""
    tempo = rng.uniform(0.85, 1.2)
    transposition = int(rng.integers(-6, 7))
    end = song.beats[-1] if song.beats else 0.0
    start = rng.uniform(0, max(0.0, end - seconds * tempo))

    def window(notes: Sequence[Note], shift: int) -> tuple[Note, ...]:
        inside = (n for n in notes if start <= n.onset < start + seconds * tempo)
        return tuple(
            replace(
                n,
                onset=(n.onset - start) / tempo,
                duration=n.duration / tempo,
                pitch=int(np.clip(n.pitch + shift, 0, 127)),
            )
            for n in inside
        )

    def part(program: int, notes: Sequence[Note], shift: int = 0) -> MidiPart:
        volume, pan, reverb = rng.integers(60, 115), np.clip(rng.normal(64, 25), 0, 127), rng.integers(10, 80)
        return MidiPart(program, int(volume), int(pan), int(reverb), window(notes, transposition + shift))

    high = [n for n in song.piano if n.pitch >= _LOWEST_CHORD_PITCH]
    low = [n for n in song.piano if n.pitch < _LOWEST_CHORD_PITCH]
    parts = [part(int(rng.choice(_CHORDS)), high)]
    if rng.random() < 0.3:
        parts.append(part(int(rng.choice(_PADS)), high))
    parts.append(part(int(rng.choice(_BASSES)), low))
    if rng.random() < 0.8:
        parts.append(part(int(rng.choice(_LEADS)), song.bridge, int(rng.choice([-12, 0, 0, 12]))))
    if rng.random() < 0.35:
        parts.append(part(int(rng.choice(_LEADS)), song.melody, int(rng.choice([-12, 0, 0, 12]))))
    if rng.random() < 0.7:
        beats = [(b - start) / tempo for b in song.beats if start <= b < start + seconds * tempo]
        parts.append(MidiPart(None, int(rng.integers(60, 115)), 64, int(rng.integers(5, 50)), _drums(beats, rng)))
    return [p for p in parts if p.notes]


def _drums(beats: Sequence[float], rng: np.random.Generator) -> tuple[Note, ...]:
    """A pattern of two beats, drawn once and repeated with small changes."""
    cymbal = int(rng.choice([_HAT, _HAT, _RIDE, _SHAKER]))
    divisions = int(rng.choice([1, 2, 2, 4]))
    kick_offbeat, backbeat = rng.random() < 0.4, rng.random() < 0.85
    notes = []

    def hit(onset: float, pitch: int, velocity: float) -> None:
        notes.append(Note(max(0.0, onset), 0.1, pitch, int(np.clip(rng.normal(velocity, 8), 20, 127))))

    for index, (beat, following) in enumerate(itertools.pairwise(beats)):
        length = following - beat
        if index % 2 == 0 or not backbeat:
            hit(beat, _KICK, 100)
        else:
            hit(beat, _SNARE, 95)
        if kick_offbeat and rng.random() < 0.5:
            hit(beat + length / 2, _KICK, 85)
        for division in range(divisions):
            pitch = _OPEN_HAT if cymbal == _HAT and rng.random() < 0.06 else cymbal
            hit(beat + division * length / divisions, pitch, 80 if division == 0 else 62)
        if index % 16 == 0 and rng.random() < 0.5:
            hit(beat, _CRASH, 90)
    return tuple(notes)


def write_midi(parts: Sequence[MidiPart], path: Path) -> None:
    """The parts as a type-1 MIDI file, one track each."""
    import mido

    file = mido.MidiFile(ticks_per_beat=_TICKS_PER_SECOND // 2)
    free = (channel for channel in range(16) if channel != _DRUM_CHANNEL)
    for part in parts:
        channel = _DRUM_CHANNEL if part.program is None else next(free)
        events = []
        for note in part.notes:
            on = round(note.onset * _TICKS_PER_SECOND)
            off = max(on + 1, round((note.onset + note.duration) * _TICKS_PER_SECOND))
            # Sorts the end of a note before the beginning of the next one at the same tick.
            events += [(on, 1, note.pitch, note.velocity), (off, 0, note.pitch, 0)]
        track = mido.MidiTrack()
        if part.program is not None:
            track.append(mido.Message("program_change", channel=channel, program=part.program))
        for control, value in ((7, part.volume), (10, part.pan), (91, part.reverb)):
            track.append(mido.Message("control_change", channel=channel, control=control, value=value))
        tick = 0
        for at, begins, pitch, velocity in sorted(events):
            kind = "note_on" if begins else "note_off"
            track.append(mido.Message(kind, channel=channel, note=pitch, velocity=velocity, time=at - tick))
            tick = at
        file.tracks.append(track)
    file.save(path)


def _synthesise(midi: Path, soundfont: Path, wav: Path) -> None:
    options = ["-ni", "-q", "-g", "0.5", "-r", "44100", "-T", "wav", "-F", str(wav)]
    done = subprocess.run(["fluidsynth", *options, soundfont, midi], capture_output=True, text=True, check=False)
    if done.returncode or not wav.is_file():
        words = (done.stderr or done.stdout).strip().splitlines()
        raise DataError(f"{soundfont}: fluidsynth could not render with it ({words[-1] if words else 'no message'})")


def render(
    scores: Path,
    soundfont: Path,
    out: Path,
    *,
    pieces: int,
    seconds: float,
    seed: int,
    progress: Callable[[int, int], None],
) -> int:
    """Render ``pieces`` accompaniments of ``seconds`` from the zip of MIDI files ``scores`` into ``out``.

    Writes FLAC files and ``out/manifest.csv`` (layout ``roles``, role instrumental, split train); piece i depends on
    ``scores``, ``soundfont``, ``seconds`` and (seed, i) alone. Files that are there already are kept, whatever their
    length, and so are their rows: other seeds and soundfonts add to a folder. Returns the number of songs passed over
    as unusable. DependencyError without fluidsynth or mido, DataError if the zip or the soundfont cannot be used, or
    no song gives a piece.
    """
    songs = read_archive(scores)
    names = list(songs)
    if shutil.which("fluidsynth") is None:
        raise DependencyError("the program fluidsynth was not found; install it (apt install fluidsynth)")
    if not soundfont.is_file():
        raise DataError(f"{soundfont}: no such soundfont; name an .sf2 file with --soundfont")
    make_folder(out)
    rows, unusable = [], set()
    for index in range(pieces):
        rng = np.random.default_rng((seed, index))
        name = names[int(rng.integers(len(names)))]
        target = out / f"{as_file_name(Path(name).stem)}_{soundfont.stem}_{seed}_{index:04d}.flac"
        try:
            parts = arrange(read_song(songs[name]), seconds, rng)
        except ValueError:
            unusable.add(name)
            parts = []
        if not target.is_file() and parts:
            _render_piece(parts, soundfont, target, seconds)
        if parts:
            source = f"rendered {shown(Path(name).stem)}"
            row = RoleRow(path=target.name, role="instrumental", split="train", pair_id="", singer_or_source=source)
            rows.append(row)
        progress(index + 1, pieces)
    if not rows:
        raise DataError(f"{scores}: {len(unusable)} songs were tried and none has tracks MELODY and PIANO with notes")
    add_roles(out, rows)
    return len(unusable)


def _render_piece(parts: Sequence[MidiPart], soundfont: Path, target: Path, seconds: float) -> None:
    midi, wav = target.with_suffix(".mid"), target.with_suffix(".wav")
    try:
        write_midi(parts, midi)
        _synthesise(midi, soundfont, wav)
        wave, rate = read(wav)
        wave = wave[:, : round((seconds + _TAIL_SECONDS) * rate)]
        # All pieces get the same level, so that quiet instruments are heard as often as loud ones.
        wave = wave * min(10.0, 0.1 / max(1e-6, float(np.sqrt(np.square(wave).mean()))))
        wave = wave / max(1.0, float(np.abs(wave).max()) / 0.98)
        with AudioWriter(target, rate, wave.shape[0], subtype="int16") as writer:
            writer.write(wave.astype(np.float32))
    finally:
        midi.unlink(missing_ok=True)
        wav.unlink(missing_ok=True)
