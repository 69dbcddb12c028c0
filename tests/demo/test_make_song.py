"""The demo song: that it is what its script makes, and that it behaves like a voice over a band."""

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile as sf

DEMO = Path(__file__).resolve().parents[2] / "demo"
BREATH = 0.36  # seconds that the intake of breath and the first consonant may lead the first vowel
REVERB = 0.95  # seconds after which the room has fallen silent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_song", DEMO / "make_song.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def short(script: ModuleType) -> tuple[np.ndarray, np.ndarray]:
    return script.make_song(bars=4)


@pytest.fixture(scope="module")
def full(script: ModuleType) -> tuple[np.ndarray, np.ndarray]:
    return script.make_song()


@pytest.fixture(scope="module")
def committed() -> tuple[np.ndarray, np.ndarray]:
    """Mixture and vocals (2, T) as shipped."""
    song, vocals = (sf.read(DEMO / name, always_2d=True) for name in ("song.ogg", "vocals.ogg"))
    assert song[1] == vocals[1] == 44_100
    assert song[0].shape == vocals[0].shape
    assert song[0].shape[1] == 2
    return song[0].T, vocals[0].T


def decibels(power: float) -> float:
    return 10 * np.log10(power)


def snr(ref: np.ndarray, est: np.ndarray) -> float:
    return decibels(np.sum(ref**2) / np.sum((ref - est) ** 2))


def between(wave: np.ndarray, start: float, end: float) -> np.ndarray:
    return wave[..., round(start * 44_100) : round(end * 44_100)]


def band_power(wave: np.ndarray, low: float, high: float) -> float:
    """Power of mono ``wave`` between ``low`` and ``high`` Hz."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    freqs = np.fft.rfftfreq(len(wave), 1 / 44_100)
    return float(power[(freqs >= low) & (freqs < high)].sum())


def autocorrelation_pitch(frame: np.ndarray) -> float:
    """Fundamental (Hz) between 150 and 450 Hz: the highest peak of the normalised autocorrelation."""
    shortest, longest = 44_100 // 450, 44_100 // 150
    size = len(frame) - longest - 1
    lags = np.arange(shortest, longest + 1)
    head = frame[:size]
    scores = np.array([np.dot(head, frame[lag : lag + size]) / np.linalg.norm(frame[lag : lag + size]) for lag in lags])
    # An octave below scores as high as the pitch itself: take the shortest lag that comes close to the best.
    inner = np.arange(1, len(lags) - 1)
    peaks = inner[(scores[inner] >= scores[inner - 1]) & (scores[inner] > scores[inner + 1])]
    best = peaks[scores[peaks] > 0.93 * scores[peaks].max()][0]
    below, top, above = scores[best - 1 : best + 2]
    return 44_100 / (lags[best] + 0.5 * (below - above) / (below - 2 * top + above))


def test_the_same_script_gives_the_same_samples(script: ModuleType, short: tuple) -> None:
    # The song must not listen to the global generator, which other code may have moved.
    np.random.seed(7)
    again = script.make_song(bars=4)
    assert np.array_equal(short[0], again[0])
    assert np.array_equal(short[1], again[1])


def test_the_shipped_files_are_what_the_script_makes(full: tuple, committed: tuple) -> None:
    # Vorbis at the shipped quality keeps 19 dB of the mixture and 26 dB of the voice.
    assert snr(full[0], committed[0]) > 15
    assert snr(full[1], committed[1]) > 20


def test_the_voice_sounds_in_every_syllable_and_rests_between_phrases(script: ModuleType, full: tuple) -> None:
    vocals = full[1]
    phrases = script.read_phrases()
    seconds = vocals.shape[1] / 44_100
    edges = [0.0]
    for phrase in phrases:
        edges += [phrase[0].onset - BREATH, phrase[-1].end + REVERB]
        for note in phrase:
            assert np.sqrt(np.mean(between(vocals, note.onset, note.end) ** 2)) > 0.02, note
    rests = list(zip(edges[::2], [*edges[1::2], seconds], strict=True))
    for start, end in rests:
        assert end - start > 0.25
        assert np.abs(between(vocals, start, end)).max() < 1e-9
    for phrase, following in pairwise(phrases):
        assert following[0].onset - BREATH - phrase[-1].end >= 1.5


def test_long_notes_are_sung_at_the_pitch_of_the_score(script: ModuleType, committed: tuple) -> None:
    voice = committed[1].mean(axis=0)
    notes = [note for phrase in script.read_phrases() for note in phrase if note.end - note.onset > 0.6]
    assert len(notes) >= 8
    for note in notes:
        starts = np.arange(note.onset + 0.15, note.end - 0.2, 0.01)
        found = np.median([autocorrelation_pitch(between(voice, at, at + 0.04)) for at in starts])
        cents = 1200 * np.log2(found / (440 * 2 ** ((note.midi - 69) / 12)))
        assert abs(cents) < 30, (note, cents)


def test_the_voice_has_formants_sibilants_and_air(script: ModuleType, committed: tuple) -> None:
    voice = committed[1].mean(axis=0)
    hissing = {"vowels": [], "s": []}
    second_formant = {"front": [], "back": []}
    for note in (note for phrase in script.read_phrases() for note in phrase):
        middle = between(voice, note.onset + 0.1, note.end - 0.1)
        ratio = band_power(middle, 1800, 3000) / band_power(middle, 900, 1600)
        second_formant["front" if note.vowel in "ie" else "back"].append(ratio)
        hissing["vowels"].append(band_power(middle, 5000, 16_000) / band_power(middle, 100, 4000))
        if note.consonant == "s":
            hiss = between(voice, note.onset - 0.09, note.onset - 0.02)
            hissing["s"].append(band_power(hiss, 5000, 16_000) / band_power(hiss, 100, 4000))
        air = decibels(band_power(middle, 10_000, 16_000) / band_power(middle, 100, 16_000))
        assert -75 < air < -20, note
    assert min(second_formant["front"]) > 2 * max(second_formant["back"])
    assert min(hissing["s"]) > 30 * max(hissing["vowels"])


def test_the_shipped_pair_is_a_mixture_and_its_vocals(script: ModuleType, committed: tuple) -> None:
    song, vocals = committed
    rest = song - vocals
    assert 15 <= song.shape[1] / 44_100 <= 30
    assert np.abs(song).max() < 0.9
    first = script.read_phrases()[0][0].onset - BREATH
    assert first > 4.5
    assert snr(between(song, 0, first), between(rest, 0, first)) > 60
    assert np.mean(between(song, 0, first) ** 2) > 1e-3
    assert abs(np.corrcoef(rest.ravel(), vocals.ravel())[0, 1]) < 0.02
    sung = np.concatenate(
        [np.arange(round(p[0].onset * 44_100), round(p[-1].end * 44_100)) for p in script.read_phrases()]
    )
    assert -3 <= decibels(np.mean(vocals[:, sung] ** 2) / np.mean(rest[:, sung] ** 2)) <= 0
    assert sum((DEMO / name).stat().st_size for name in ("song.ogg", "vocals.ogg")) < 600_000


def test_the_mix_is_wide_and_falls_towards_the_treble(committed: tuple) -> None:
    song, vocals = committed
    rest = song - vocals
    for wave, narrowest, widest in ((vocals, -20, -6), (rest, -12, -3)):
        side, middle = wave[0] - wave[1], wave[0] + wave[1]
        assert narrowest < decibels(np.mean(side**2) / np.mean(middle**2)) < widest
    mono = song.mean(axis=0)[: 1 << 19]  # twelve seconds
    edges = (60, 1000, 4000, 16_000)
    levels = [decibels(band_power(mono, low, high)) for low, high in pairwise(edges)]
    assert levels[0] > levels[1] + 3
    assert levels[1] > levels[2]
    assert levels[0] - levels[2] < 25


def test_the_command_writes_both_files_and_no_other(
    script: ModuleType, short: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "make_song", lambda: short)
    monkeypatch.setattr(sys, "argv", ["make_song.py", "--out", str(tmp_path / "new" / "folder")])
    script.main()
    written = sorted((tmp_path / "new" / "folder").iterdir())
    assert [path.name for path in written] == ["song.ogg", "vocals.ogg"]
    for path, wave in zip(written, short, strict=True):
        assert sf.info(path).subtype == "VORBIS"
        assert snr(wave, sf.read(path)[0].T) > 15


def test_a_failed_write_keeps_the_old_file_and_says_what_to_do(
    script: ModuleType, short: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: sf.SoundFile, data: np.ndarray) -> None:
        raise sf.SoundFileRuntimeError("disk full")

    (tmp_path / "song.ogg").write_bytes(b"old")
    monkeypatch.setattr(script, "make_song", lambda: short)
    monkeypatch.setattr(sf.SoundFile, "write", fail)
    monkeypatch.setattr(sys, "argv", ["make_song.py", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        script.main()
    assert str(tmp_path) in stop.value.code
    assert "--out" in stop.value.code
    assert "\n" not in stop.value.code
    assert [path.name for path in tmp_path.iterdir()] == ["song.ogg"]
    assert (tmp_path / "song.ogg").read_bytes() == b"old"


@pytest.mark.parametrize("bars", [3, 10])
def test_a_length_that_was_not_composed_is_refused(script: ModuleType, bars: int) -> None:
    with pytest.raises(ValueError, match="4 to 9 bars"):
        script.make_song(bars=bars)
