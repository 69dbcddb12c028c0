"""Melodies from MIDI, and voices led along them: pitches, times and envelopes against what was asked for."""

import io
import zipfile
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf
import torch
from scipy.signal import hilbert

from ldm_sep.data.bank import AudioBank
from ldm_sep.data.melody import load_melodies, phrase_gains, sing_note, transpose, vibrato, window_of
from ldm_sep.data.tracks import Clip, Track
from ldm_sep.data.voices import Voices
from ldm_sep.errors import DataError

RATE = 16000


def tone(frequency: float, seconds: float) -> torch.Tensor:
    t = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return (0.5 * torch.sin(2 * np.pi * frequency * t)).float().expand(2, -1)


def pitch(wave: np.ndarray) -> float:
    """Frequency of a tone's spectral peak in Hz, interpolated."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 18))
    return float(np.argmax(spectrum) * RATE / (1 << 18))


def cents(a: float, b: float) -> float:
    return 1200 * float(np.log2(a / b))


def archive(path: Path, *songs: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number, song in enumerate(songs):
            file.writestr(f"{number:03d}.mid", song)
    return path


def midi(notes: list[tuple[float, float, int]]) -> bytes:
    """A song at 120 beats a minute whose MELODY has ``notes`` (onset, duration, pitch)."""
    file = mido.MidiFile(ticks_per_beat=500)
    events = sorted([(on, 1, p) for on, _, p in notes] + [(on + d, 0, p) for on, d, p in notes])
    for name in ("MELODY", "PIANO"):
        track = mido.MidiTrack()
        track.name = name
        now = 0
        for seconds, begins, p in events:
            tick = round(seconds * 1000)
            kind = "note_on" if begins else "note_off"
            track.append(mido.Message(kind, note=p, velocity=80 * begins, time=tick - now))
            now = tick
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def test_tunes_are_one_voice_and_kept_where_the_zip_is_not(tmp_path: Path) -> None:
    overlapping = [(0.0, 1.0, 60), (0.5, 0.5, 64), (0.5, 0.5, 52), (2.0, 1.0, 67)]
    scores = archive(tmp_path / "songs.zip", midi(overlapping), b"no midi", midi([(0, 1, 70), (1, 1, 72), (2, 1, 74)]))
    first, second = load_melodies(scores, tmp_path / "cache")
    np.testing.assert_allclose(first, [(0, 0.5, 60), (0.5, 0.5, 64), (2, 1, 67)], atol=1e-3)
    assert second[:, 2].tolist() == [70, 72, 74]
    scores.unlink()
    again = load_melodies(scores, tmp_path / "cache")
    assert len(again) == 2 and np.array_equal(again[0], first)


def test_archives_without_tunes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bad\.zip: none of its songs has a track MELODY"):
        load_melodies(archive(tmp_path / "bad.zip", b"x"), tmp_path / "cache")
    with pytest.raises(DataError, match=r"none\.zip: not a readable zip"):
        load_melodies(tmp_path / "none.zip", tmp_path / "cache")


@pytest.mark.parametrize(("frequency", "sounding"), [(261.63, 261.63), (185.0, 185.0), (880.0, 220.0), (55.0, 220.0)])
def test_a_note_has_its_pitch_or_that_of_the_nearest_octave(frequency: float, sounding: float) -> None:
    voice = tone(220.0, 3.0)
    note = sing_note(lambda at, n: voice[:, at : at + n], voice.shape[1], 220.0, frequency, RATE, RATE)
    assert note.shape == (2, RATE)
    assert abs(cents(pitch(note[0].numpy()), sounding)) < 12
    # It swells and fades within milliseconds and has the voice's amplitude in between.
    assert note[:, 0].abs().max() < 0.01 and note[:, -16:].abs().max() < 0.02
    assert float(note[0, 4000:12000].square().mean()) == pytest.approx(0.125, rel=0.05)


def test_a_voice_that_ends_leaves_the_note_silent_and_the_length_right() -> None:
    voice = tone(220.0, 0.25)
    note = sing_note(lambda at, n: voice[:, at : at + n], voice.shape[1], 220.0, 220.0, RATE, RATE)
    assert note.shape == (2, RATE) and not note[:, RATE // 2 :].any() and note[:, : RATE // 8].any()


def test_vibrato_sways_the_pitch_as_far_as_asked() -> None:
    wave = tone(440.0, 2.0)
    swayed = vibrato(wave, 60.0, np.random.default_rng(0), RATE)
    phase = np.unwrap(np.angle(hilbert(swayed[0].double().numpy())))
    course = 1200 * np.log2(np.diff(phase)[2000:-2000] * RATE / (2 * np.pi) / 440.0)
    assert course.max() == pytest.approx(60, abs=4) and course.min() == pytest.approx(-62, abs=5)
    # Peak of the course's own spectrum: how often it sways.
    turns = np.argmax(np.abs(np.fft.rfft(course - course.mean(), 1 << 18))) * RATE / (1 << 18)
    assert 4 < turns < 7
    assert torch.equal(vibrato(wave, 0.0, np.random.default_rng(0), RATE), wave)


def test_windows_begin_no_note_outside_and_tunes_move_by_octaves() -> None:
    melody = np.stack([np.arange(40) * 0.5, np.full(40, 0.5), 72 + np.arange(40) % 7], 1).astype(np.float32)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        notes = window_of(melody, 2.0, rng)
        assert 1 <= len(notes) <= 5 and (notes[:, 0] >= 0).all() and (notes[:, 0] < 2).all()
        frequencies = transpose(notes, 150.0, rng)
        # Within half an octave and the drawn semitones of the voice; intervals as written.
        assert abs(cents(float(np.median(frequencies)), 150.0)) < 1500
        steps = 12 * np.log2(frequencies[1:] / frequencies[:-1])
        np.testing.assert_allclose(steps, np.diff(notes[:, 2]), atol=1e-3)


def test_phrases_swell_within_bounds() -> None:
    gains = 20 * np.log10(phrase_gains(200, np.random.default_rng(0)))
    assert gains.max() <= 8 and gains.min() >= -12 and gains.std() > 1


def test_a_take_follows_the_melody(tmp_path: Path) -> None:
    """A singer of one pure tone, led along a scale: every note sounds where and as high as the tune says."""
    path = tmp_path / "tone.wav"
    sf.write(path, tone(220.0, 20.0).T.numpy(), RATE)
    clips = tuple(Clip(2.0 * k, 2.0 * k + 2, 220.0) for k in range(10))
    track = Track("tone", "train", path, singer="anna", clips=clips)
    scale = np.stack([np.arange(8) * 0.5, np.full(8, 0.5), 57 + np.array([0, 2, 4, 5, 4, 2, 0, -1])], 1)
    bank = AudioBank([track], RATE, tmp_path / "cache", torch.device("cpu"), None, [scale.astype(np.float32)])
    voices = Voices(bank, 4 * RATE, melodic=1.0, vibrato_cents=0.0, doubling=0.0)
    for seed in range(4):
        take = voices.sing(1.0, np.random.default_rng(seed))[0].numpy()
        # The tune as the window shows it, by the same draws up to there.
        rng = np.random.default_rng(seed)
        rng.choice(1, p=[1.0]), rng.random(), rng.integers(1)
        notes = window_of(scale.astype(np.float32), 4.0, rng)
        heard = []
        for onset, duration, _ in notes:
            piece = take[round((onset + 0.1) * RATE) : round((onset + duration - 0.05) * RATE)]
            heard.append(pitch(piece) if len(piece) > RATE // 4 and np.abs(piece).max() > 0.01 else np.nan)
        steps = 12 * np.log2(np.array(heard[1:]) / np.array(heard[:-1]))
        wanted = np.diff(notes[:, 2])
        known = np.isfinite(steps)
        assert known.sum() >= min(2, len(wanted))
        np.testing.assert_allclose(steps[known], wanted[known], atol=0.25)


def test_the_same_draws_give_the_same_take(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    sf.write(path, tone(220.0, 6.0).T.numpy(), RATE)
    track = Track("tone", "train", path, singer="anna", clips=(Clip(0.0, 6.0, 220.0),))
    tune = np.array([(0, 0.5, 57), (0.5, 0.5, 60)], np.float32)
    bank = AudioBank([track], RATE, tmp_path / "cache", torch.device("cpu"), None, [tune])
    voices = Voices(bank, RATE, melodic=0.5, vibrato_cents=40.0, doubling=0.5)
    takes = [voices.sing(1.0, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert torch.equal(takes[0], takes[1]) and not torch.equal(takes[0], takes[2])
