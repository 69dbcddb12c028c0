"""Accompaniments from MIDI: times, orchestration, and files that training can read."""

import io
import os
import stat
import sys
import zipfile
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf
from conftest import run_cli

from ldm_sep.data.layouts import read_tracks
from ldm_sep.data.synthesis.midi import Note, Song, read_song
from ldm_sep.data.synthesis.render import MidiPart, arrange, render, write_midi
from ldm_sep.errors import DataError, DependencyError

# A synthesiser that plays every piece as one second of a tone.
FAKE = f"""#!{sys.executable}
import sys
import numpy as np, soundfile as sf
out = sys.argv[sys.argv.index("-F") + 1]
tone = 0.05 * np.sin(np.arange(44100) * 0.05)
sf.write(out, np.stack([tone, tone], 1), 44100)
"""


def midi_bytes(tracks: tuple[str, ...] = ("MELODY", "BRIDGE", "PIANO")) -> bytes:
    """Quarter notes, one a beat; 120 beats a minute, and 60 from the fifth beat on."""
    file = mido.MidiFile(ticks_per_beat=480)
    head = mido.MidiTrack()
    head.append(mido.MetaMessage("set_tempo", tempo=500000, time=0))
    head.append(mido.MetaMessage("set_tempo", tempo=1000000, time=4 * 480))
    file.tracks.append(head)
    for number, name in enumerate(tracks):
        track = mido.MidiTrack()
        track.name = name
        for beat in range(64):
            pitch = 40 + 12 * number + beat % 5
            track.append(mido.Message("note_on", channel=number, note=pitch, velocity=80, time=0))
            track.append(mido.Message("note_off", channel=number, note=pitch, velocity=0, time=480))
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "songs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("001.mid", midi_bytes())
        archive.writestr("LICENSE", "text")
    return path


@pytest.fixture
def fluidsynth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "fluidsynth"
    program.write_text(FAKE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.fixture
def soundfont(tmp_path: Path) -> Path:
    path = tmp_path / "gm.sf2"
    path.write_bytes(b"RIFF")
    return path


def test_onsets_follow_every_change_of_tempo() -> None:
    song = read_song(midi_bytes())
    assert [n.onset for n in song.melody[:7]] == pytest.approx([0, 0.5, 1, 1.5, 2, 3, 4])
    assert [n.duration for n in song.melody[3:5]] == pytest.approx([0.5, 1.0])
    assert song.beats[:7] == pytest.approx((0, 0.5, 1, 1.5, 2, 3, 4))


def test_no_arrangement_has_a_voice_or_leaves_its_window() -> None:
    song = read_song(midi_bytes())
    programs: set[int] = set()
    for seed in range(200):
        parts = arrange(song, 5.0, np.random.default_rng(seed))
        assert len(parts) <= 15
        for part in parts:
            programs |= {part.program} - {None}
            assert all(0 <= n.onset <= 5.0 and 0 <= n.pitch <= 127 for n in part.notes)
    assert len(programs) > 60
    # General MIDI: choir aahs, voice oohs, synth voice, lead voice, choir pad.
    assert not programs & {52, 53, 54, 85, 91}


def test_a_tempo_moves_all_parts_together_and_intervals_stay() -> None:
    tune = tuple(Note(0.5 * i, 0.5, 60 + i, 80) for i in range(8))
    song = Song((), tune, tune, tuple(0.5 * i for i in range(9)))
    parts = arrange(song, 100.0, np.random.default_rng(3))
    melodic = [p for p in parts if p.program is not None]
    assert len(melodic) >= 2
    for part in melodic:
        assert np.diff([n.onset for n in part.notes]) == pytest.approx(np.full(7, part.notes[0].duration))
        assert [n.pitch - part.notes[0].pitch for n in part.notes] == list(range(8))
        assert part.notes[1].onset == pytest.approx(melodic[0].notes[1].onset)


def test_written_parts_are_read_back_at_their_times(tmp_path: Path) -> None:
    notes = (Note(0.0, 0.5, 60, 80), Note(0.5, 0.25, 60, 90), Note(0.6, 1.0, 67, 70))
    write_midi(
        [MidiPart(40, 100, 30, 20, notes), MidiPart(None, 90, 64, 5, (Note(1.25, 0.1, 36, 99),))], tmp_path / "x.mid"
    )
    heard, seconds, begun = [], 0.0, {}
    for message in mido.MidiFile(tmp_path / "x.mid"):
        seconds += message.time
        if message.type == "note_on":
            begun[message.channel, message.note] = seconds, message.velocity
        if message.type == "note_off":
            onset, velocity = begun.pop((message.channel, message.note))
            heard.append((message.channel, round(onset, 3), round(seconds - onset, 3), message.note, velocity))
    expected = [(0, 0.0, 0.5, 60, 80), (0, 0.5, 0.25, 60, 90), (0, 0.6, 1.0, 67, 70), (9, 1.25, 0.1, 36, 99)]
    assert sorted(heard) == expected
    first = mido.MidiFile(tmp_path / "x.mid").tracks[0]
    assert [m.program for m in first if m.type == "program_change"] == [40]


@pytest.mark.usefixtures("fluidsynth")
def test_rendered_pieces_are_training_data_and_are_kept(scores: Path, soundfont: Path, tmp_path: Path) -> None:
    out = tmp_path / "rendered"
    steps: list[tuple[int, int]] = []

    def run() -> int:
        return render(scores, soundfont, out, pieces=3, seconds=2.0, seed=1, progress=lambda *x: steps.append(x))

    assert run() == 0 and steps == [(1, 3), (2, 3), (3, 3)]
    tracks = read_tracks("roles", out)
    assert len(tracks) == 3 and all(t.accompaniment and not t.vocals and t.split == "train" for t in tracks)
    wave, rate = sf.read(tracks[0].accompaniment[0])
    assert rate == 44100 and np.sqrt((wave**2).mean()) == pytest.approx(0.1, rel=0.05)
    assert sorted(p.suffix for p in out.iterdir()) == [".csv", ".flac", ".flac", ".flac"]
    tracks[0].accompaniment[0].write_bytes(b"mine")
    run()
    assert tracks[0].accompaniment[0].read_bytes() == b"mine"
    # Another seed and another soundfont add to the folder; what was there stays listed.
    render(scores, soundfont, out, pieces=2, seconds=2.0, seed=2, progress=lambda *x: None)
    other = soundfont.rename(soundfont.with_name("other.sf2"))
    render(scores, other, out, pieces=2, seconds=2.0, seed=2, progress=lambda *x: None)
    listed = [t.accompaniment[0] for t in read_tracks("roles", out)]
    assert len(set(listed)) == 7 and set(listed) == set(out.glob("*.flac"))


@pytest.mark.usefixtures("fluidsynth")
def test_songs_of_another_kind_are_counted_and_passed_over(scores: Path, soundfont: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(scores, "w") as archive:
        archive.writestr("a.mid", b"no midi")
        archive.writestr("b.mid", midi_bytes(("DRUMS",)))
        empty = io.BytesIO()
        mido.MidiFile().save(file=empty)
        archive.writestr("c.mid", empty.getvalue())

    steps: list[tuple[int, int]] = []

    def run() -> int:
        return render(
            scores, soundfont, tmp_path / "o", pieces=20, seconds=0.5, seed=1, progress=lambda *x: steps.append(x)
        )

    with pytest.raises(DataError, match=r"3 songs were tried and none has tracks MELODY and PIANO"):
        run()
    assert steps == [(n + 1, 20) for n in range(20)]
    assert not (tmp_path / "o/manifest.csv").exists()
    with zipfile.ZipFile(scores, "a") as archive:
        archive.writestr("d.mid", midi_bytes())
    assert run() == 3 and len(read_tracks("roles", tmp_path / "o")) > 0


def test_what_is_missing_is_named(
    scores: Path, soundfont: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(zip_file: Path, font: Path) -> None:
        render(zip_file, font, tmp_path / "o", pieces=1, seconds=1, seed=0, progress=lambda *x: None)

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match="fluidsynth was not found; install it"):
        run(scores, soundfont)


@pytest.mark.usefixtures("fluidsynth")
def test_unusable_files_are_named(scores: Path, soundfont: Path, tmp_path: Path) -> None:
    def run(zip_file: Path, font: Path) -> None:
        render(zip_file, font, tmp_path / "o", pieces=1, seconds=1, seed=0, progress=lambda *x: None)

    with pytest.raises(DataError, match=r"none\.sf2: no such soundfont"):
        run(scores, tmp_path / "none.sf2")
    with pytest.raises(DataError, match=r"gm\.sf2: not a readable zip"):
        run(soundfont, soundfont)
    assert not (tmp_path / "o").exists()


@pytest.mark.usefixtures("fluidsynth")
def test_the_command_renders(scores: Path, soundfont: Path, tmp_path: Path) -> None:
    options = ("--soundfont", soundfont, "--out", tmp_path / "r", "--pieces", "1", "--seconds", "3")
    done = run_cli("data", "render", scores, *options, PATH=os.environ["PATH"])
    assert done.returncode == 0 and "rendered:" in done.stdout
    assert len(read_tracks("roles", tmp_path / "r")) == 1
