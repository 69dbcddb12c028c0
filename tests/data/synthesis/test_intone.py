"""Singing made of speech: pitch, length and timbre, and folders that training can read."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile as sf
from conftest import run_here
from scipy.signal import correlate, lfilter

from ldm_sep.data.layouts import read_tracks
from ldm_sep.data.synthesis.intone import RATE, intone, make_voices, read_speakers
from ldm_sep.errors import DataError, DependencyError

_NOISE_SECONDS, _VOWEL_SECONDS = 0.15, 0.6
_FORMANTS = (700.0, 1200.0, 2600.0)


def word(f0: float = 110.0, rate: int = RATE) -> np.ndarray:
    """A hiss and a vowel of three formants whose pitch falls by a fifth, as speech does."""
    rng = np.random.default_rng(0)
    frames = round(_VOWEL_SECONDS * rate)
    phase = np.cumsum(f0 * 1.5 ** np.linspace(1, 0, frames) / rate)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    vowel = pulses
    for formant in _FORMANTS:
        radius = np.exp(-np.pi * 90 / rate)
        vowel = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / rate), radius**2], vowel)
    vowel = vowel / np.abs(vowel).max() * np.hanning(frames) ** 0.3
    hiss = np.diff(rng.normal(size=round(_NOISE_SECONDS * rate)), prepend=0.0)
    return 0.5 * np.concatenate([0.15 * hiss / np.abs(hiss).max(), vowel])


@pytest.fixture
def pitches(librosa: ModuleType) -> Callable[[np.ndarray], np.ndarray]:
    """F0 in Hz of a wave's voiced frames by pYIN."""

    def tracked(wave: np.ndarray) -> np.ndarray:
        f0, voiced, _ = librosa.pyin(wave.astype(np.float32), fmin=60, fmax=500, sr=RATE, frame_length=4096)
        return f0[voiced]

    return tracked


def test_a_spoken_word_becomes_a_steady_note_of_the_same_timbre(pitches: Callable[[np.ndarray], np.ndarray]) -> None:
    spoken = word()
    sung = intone(spoken, RATE, 220.0, 2.0, np.random.default_rng(0))
    before, after = pitches(spoken), pitches(sung)
    assert 12 * np.log2(np.percentile(before, 90) / np.percentile(before, 10)) > 4
    assert np.abs(12 * np.log2(after[3:-3] / 220)).max() < 0.6
    # The vowel is twice as long, the hiss is not.
    assert len(sung) / RATE == pytest.approx(_NOISE_SECONDS + 2 * _VOWEL_SECONDS, abs=0.12)

    def formant(wave: np.ndarray, low: float, high: float) -> float:
        """The centre of the power between two frequencies, in Hz."""
        power = np.square(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))))
        hertz = np.fft.rfftfreq(len(wave), 1 / RATE)
        band = (hertz >= low) & (hertz < high)
        return float((hertz[band] * power[band]).sum() / power[band].sum())

    for low, high in ((400, 950), (950, 1600), (2200, 3000)):
        assert formant(sung, low, high) == pytest.approx(formant(spoken, low, high), rel=0.1)


def test_what_is_not_voiced_gives_nothing() -> None:
    hiss = np.random.default_rng(0).normal(size=RATE) * 0.1
    assert len(intone(hiss, RATE, 220.0, 2.0, np.random.default_rng(0))) == 0


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Two who speak, one only noise, and the table of them."""
    root = tmp_path / "speech"
    for name, f0 in (("low", 110.0), ("high", 200.0)):
        (root / name).mkdir(parents=True)
        for take in range(3):
            sf.write(root / name / f"take{take}.wav", word(f0 * 1.05**take), RATE)
    (root / "noise").mkdir()
    sf.write(root / "noise" / "hiss.wav", np.random.default_rng(0).normal(size=RATE) * 0.1, RATE)
    (root / "voices.csv").write_text("speaker,files,licence\nlow,low/*.wav,CC0\nhigh,high/*,CC0\nhiss,noise/*,CC0\n")
    return root


def test_the_command_makes_singers_to_train_on(
    speech: Path, tmp_path: Path, pitches: Callable[[np.ndarray], np.ndarray]
) -> None:
    (speech / "low" / "broken.wav").write_bytes(b"RIFF")
    out = tmp_path / "voices"
    command = ("data", "intone", speech / "voices.csv", "--root", speech, "--out", out, "--seconds", "30")
    done = run_here(*command)
    assert done.returncode == 0, done.stderr
    assert "too little speech: hiss" in done.stdout
    tracks = {track.singer: track for track in read_tracks("roles", out)}
    assert set(tracks) == {"low", "high"}
    for name, track in tracks.items():
        wave, rate = sf.read(track.vocals)
        assert rate == RATE and len(track.clips) == 3 and not track.spoken
        for clip in track.clips:
            found = np.median(pitches(wave[round(clip.start * rate) : round(clip.end * rate)]))
            assert 12 * np.log2(found / clip.f0) == pytest.approx(0, abs=0.3), name
    made = {path: path.stat().st_mtime_ns for path in out.glob("*.flac")}
    assert run_here(*command).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.flac")} == made
    assert len(read_tracks("roles", out)) == 2


def test_speech_left_as_it_is_joins_the_same_folder_as_speech(speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "voices"
    command = ("data", "intone", speech / "voices.csv", "--root", speech, "--out", out, "--seconds", "2")
    for words in (command, (*command, "--spoken")):
        done = run_here(*words)
        assert done.returncode == 0, done.stderr
    tracks = [track for track in read_tracks("roles", out) if track.singer == "low"]
    assert [track.spoken for track in tracks] == [False, True]
    wave, rate = sf.read(tracks[1].vocals)
    takes = [word(110.0 * 1.05**take) for take in range(3)]
    assert len(tracks[1].clips) == 3
    for clip in tracks[1].clips:
        assert clip.f0 is None
        part = wave[round(clip.start * rate) : round(clip.end * rate)]
        # One of the takes, whatever its level, but for the edges where the room is faded out.
        best = max(correlate(part, take, method="fft").max() / np.linalg.norm(take) for take in takes)
        assert best / np.linalg.norm(part) > 0.99


def test_a_voice_depends_on_its_own_recordings_alone(speech: Path, tmp_path: Path) -> None:
    speakers = read_speakers(speech / "voices.csv", speech)

    def make(chosen: slice, folder: str) -> bytes:
        make_voices(speakers[chosen], tmp_path / folder, seconds=30, seed=1, progress=lambda *x: None)
        return (tmp_path / folder / "high.flac").read_bytes()

    assert make(slice(0, 2), "both") == make(slice(1, 2), "one")


def test_tables_that_find_nothing_are_named(speech: Path, tmp_path: Path) -> None:
    table = speech / "voices.csv"
    with pytest.raises(DataError, match=r"none\.csv: no such table"):
        read_speakers(speech / "none.csv", speech)
    with pytest.raises(DataError, match=r"'low/\*\.wav' of low finds no audio below .*check --root"):
        read_speakers(table, tmp_path)
    for text, message in (
        ("name,files\nx,low/*\n", "the column speaker is missing"),
        ("speaker,files\n", "needs the columns speaker and files and a row for each speaker"),
        ("speaker,files\na/b,low/*\n", "line 2: speaker: string should match pattern"),
        ("speaker,files\na,low/*\na,high/*\n", "'a' stands twice; give each a name of its own"),
        ("speaker,files\na\n", "line 2: has not as many cells as the first line"),
        ('speaker,files\na,b\nc,"d\ne,f\n', "line 3: no row of a table"),
        ("speaker,files\na,\n", "'' of a is no pattern"),
        ("speaker,files\na,/low/*\n", "'/low/\\*' of a is no pattern"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            read_speakers(table, speech)


def test_a_table_without_speech_is_refused(speech: Path, tmp_path: Path) -> None:
    (speech / "voices.csv").write_text("speaker,files\nhiss,noise/*\n")
    speakers = read_speakers(speech / "voices.csv", speech)
    with pytest.raises(DataError, match="none of 1 speakers has enough voiced speech"):
        make_voices(speakers, tmp_path / "o", seconds=5, seed=0, progress=lambda *x: None)


def test_without_pyworld_the_remedy_is_named(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyworld", None)
    speakers = read_speakers(speech / "voices.csv", speech)
    with pytest.raises(DependencyError, match="pip install pyworld-prebuilt"):
        make_voices(speakers, tmp_path / "o", seconds=5, seed=0, progress=lambda *x: None)
    assert not (tmp_path / "o").exists()


def test_a_recording_whose_name_is_no_plain_text_is_listed_in_one_line(speech: Path, tmp_path: Path) -> None:
    min(speech.glob("low/*.wav")).rename(speech / "low/a\tb\n\udce9.wav")
    (speech / "voices.csv").write_text("speaker,files\nlow,low/*\n")
    out = tmp_path / "voices"
    make_voices(read_speakers(speech / "voices.csv", speech), out, seconds=30, seed=0, progress=lambda *x: None)
    (track,) = read_tracks("roles", out)
    assert len(track.clips) == 3 and all(50 < clip.f0 < 500 for clip in track.clips)
    assert "a\\tb\\n\\udce9" in (out / "low.txt").read_text(encoding="utf-8")
