"""Melodies from MIDI, and their phrasing."""

import io
import os
import zipfile
from pathlib import Path

import mido
import numpy as np
import pytest

from ldm_sep.data.synthesis.melody import COURSE_RATE, load_melodies, phrase_gains, pitch_course, transpose, window_of
from ldm_sep.errors import DataError


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
    lines: list[str] = []
    first, second = load_melodies(scores, tmp_path / "cache", lines.append)
    assert len(lines) == 1 and "songs.zip: 1 songs passed over" in lines[0]
    np.testing.assert_allclose(first, [(0, 0.5, 60), (0.5, 0.5, 64), (2, 1, 67)], atol=1e-3)
    assert second[:, 2].tolist() == [70, 72, 74]
    scores.unlink()
    again = load_melodies(scores, tmp_path / "cache")
    assert len(again) == 2 and np.array_equal(again[0], first)


def test_tunes_of_a_zip_of_another_name_are_not_taken(tmp_path: Path) -> None:
    scores = archive(tmp_path / "songs-[old].zip", midi([(0, 1, 70), (1, 1, 72)]))
    load_melodies(scores, tmp_path / "cache")
    with pytest.raises(DataError, match=r"songs\.zip: no such zip"):
        load_melodies(tmp_path / "songs.zip", tmp_path / "cache")
    scores.unlink()
    assert len(load_melodies(scores, tmp_path / "cache")) == 1


def test_of_several_zips_of_one_name_the_newest_counts(tmp_path: Path) -> None:
    for made, notes in ((1000, 2), (2000, 12)):
        scores = archive(tmp_path / "songs.zip", midi([(n, 1, 60 + n) for n in range(notes)]))
        load_melodies(scores, tmp_path / "cache")
        kept = tmp_path / f"cache/melodies1-songs-{scores.stat().st_size}.npz"
        os.utime(kept, (made, made))
    # By its name the older one comes first.
    kept.rename(kept.with_name("melodies1-songs-999999.npz"))
    scores.unlink()
    assert len(load_melodies(scores, tmp_path / "cache")[0]) == 12


def test_archives_without_tunes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bad\.zip: none of its songs has tracks MELODY and PIANO"):
        load_melodies(archive(tmp_path / "bad.zip", b"x"), tmp_path / "cache")
    with pytest.raises(DataError, match=r"none\.zip: no such zip of MIDI songs; copy it there or leave"):
        load_melodies(tmp_path / "none.zip", tmp_path / "cache")
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"no\.zip: not a readable zip"):
        load_melodies(tmp_path / "no.zip", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_windows_hold_what_sounds_in_them_and_a_beginning() -> None:
    melody = np.stack([np.arange(40) * 0.75, np.full(40, 0.5), 72 + np.arange(40) % 7], 1).astype(np.float32)
    earlier = 0
    for seed in range(30):
        notes = window_of(melody, 2.0, np.random.default_rng(seed))
        assert ((notes[:, 0] + notes[:, 1] > 0) & (notes[:, 0] < 2)).all() and (notes[:, 0] >= 0).any()
        # No gaps but the rests: neighbours in the tune are neighbours in the window.
        np.testing.assert_allclose(np.diff(notes[:, 0]), 0.75, atol=1e-4)
        earlier += (notes[:, 0] < 0).any()
    assert 0 < earlier < 30


def test_tunes_move_to_where_a_voice_lies_and_keep_their_intervals() -> None:
    notes = np.stack([np.arange(9.0), np.ones(9), 84 + np.array([0, 2, 4, 5, 7, 5, 4, 2, 0])], 1)
    medians = []
    for seed in range(30):
        frequencies = transpose(notes, 150.0, np.random.default_rng(seed))
        np.testing.assert_allclose(12 * np.log2(frequencies[1:] / frequencies[:-1]), np.diff(notes[:, 2]), atol=1e-3)
        medians.append(12 * np.log2(np.median(frequencies) / 150.0))
    assert np.abs(medians).max() < 7 and abs(np.mean(medians)) < 1.5 and np.std(medians) > 1


def test_phrases_swell_within_bounds() -> None:
    gains = 20 * np.log10(phrase_gains(200, np.random.default_rng(0)))
    assert gains.max() <= 8 and gains.min() >= -12 and gains.std() > 1


def test_held_notes_begin_to_sway_and_short_ones_do_not() -> None:
    """Of many singers, in cents: straight and then swaying by up to the depth, 4.5 to 6.5 times a second."""
    notes = np.array([(0.5, 0.25, 60), (1.0, 3.0, 60)])
    early, late, speeds = [], [], []
    for seed in range(40):
        course = pitch_course(notes, 4.0, 50.0, np.random.default_rng(seed))
        assert len(course) == 4 * COURSE_RATE + 1
        curved = np.diff(course, 2)
        early.append(np.abs(curved[int(0.1 * COURSE_RATE) : int(0.38 * COURSE_RATE)]).max())
        held = course[int(1.6 * COURSE_RATE) : int(3.9 * COURSE_RATE)]
        late.append(np.ptp(held) / 2)
        spectrum = np.abs(np.fft.rfft((held - held.mean()) * np.hanning(len(held)), 1 << 14))
        frequencies = np.fft.rfftfreq(1 << 14, 1 / COURSE_RATE)
        swaying = frequencies > 3.5
        if late[-1] > 30:
            speeds.append(frequencies[swaying][np.argmax(spectrum[swaying])])
    # Before the notes there is nothing but drift, linear between its points.
    assert np.median(early) < 1e-9
    assert 20 < np.mean(late) < 50 and max(late) < 50 + 4 * 10
    assert len(speeds) > 5 and min(speeds) > 4.3 and max(speeds) < 6.7
    assert not pitch_course(notes, 4.0, 0.0, np.random.default_rng(0)).any()
