"""Voices led along melodies: pitches, times and envelopes of synthetic singers against what was asked for."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from scipy.signal import hilbert

from ldm_sep.data.decoded import DecodedAudio
from ldm_sep.data.synthesis.melody import transpose, window_of
from ldm_sep.data.synthesis.singing import hold, sing_note, syllables
from ldm_sep.data.synthesis.voices import Voices
from ldm_sep.data.tracks import Clip, Track

RATE = 16000
MARGIN = 0.25


def tone(frequency: float, seconds: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


def string(f0: float, count: int, *, harmonic: float = 0.0, noise: float = 0.02) -> np.ndarray:
    """``count`` syllables of 0.6 s: 0.1 s of weak noise, then a vowel of 0.5 s."""
    rng = np.random.default_rng(0)
    vowel = tone(f0, 0.5) + harmonic * tone(2 * f0, 0.5)
    return np.concatenate([np.concatenate([rng.normal(0, noise, RATE // 10), vowel]) for _ in range(count)])


def pitch(wave: np.ndarray) -> float:
    """Frequency of a tone's spectral peak in Hz, interpolated."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 18))
    return float(np.argmax(spectrum) * RATE / (1 << 18))


def cents(a: float, b: float) -> float:
    return 1200 * float(np.log2(a / b))


def tensor(wave: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(wave).float()[None]


def test_syllables_are_found_at_their_vowels() -> None:
    # Breath, then three syllables, then silence.
    wave = np.concatenate([np.full(4000, 1e-4), string(220, 3), np.zeros(6000)])
    found = syllables(tensor(wave).expand(2, -1), RATE)
    assert len(found) == 3
    for number, syllable in enumerate(found):
        vowel = 0.25 + 0.6 * number + 0.1
        assert syllable.vowel / RATE == pytest.approx(vowel, abs=0.02)
        assert 0.05 <= (syllable.vowel - syllable.begin) / RATE <= 0.13
        assert syllable.end / RATE == pytest.approx(vowel + 0.5, abs=0.06)


def test_syllables_of_silence_of_vowels_and_of_little() -> None:
    assert syllables(torch.zeros(1, RATE), RATE) == []
    assert syllables(torch.zeros(1, 100), RATE) == []
    (whole,) = syllables(tensor(tone(220, 2.0)), RATE)
    assert whole.vowel < 0.02 * RATE and whole.end > 1.9 * RATE
    assert syllables(tensor(tone(220, 0.05)), RATE) == [(0, 0, RATE // 20)]
    # Bursts too short for a vowel.
    creak = np.tile(np.concatenate([tone(220, 0.03), np.zeros(RATE // 5)]), 5)
    assert syllables(tensor(creak), RATE) == [(0, 0, len(creak))]


def test_a_held_vowel_lasts_without_clicks_at_its_pitch() -> None:
    source = tensor(string(220, 1))
    held = hold(source, RATE // 10, 3 * RATE, RATE / 220, RATE)[0].numpy()
    assert len(held) >= 3 * RATE
    # The consonant is heard once.
    assert np.array_equal(held[: RATE // 4], source[0, : RATE // 4].numpy())
    vowel = held[RATE // 10 : 3 * RATE]
    assert abs(cents(pitch(vowel), 220)) < 5
    frames = vowel[: len(vowel) // 800 * 800].reshape(-1, 800).std(1)
    assert frames.min() > 0.9 * frames[0] and frames.max() < 1.1 * frames[0]
    assert np.abs(np.diff(vowel)).max() < 1.1 * np.abs(np.diff(tone(220, 0.5))).max()
    assert hold(source, RATE // 10, 100, RATE / 220, RATE) is source


def test_a_held_vowel_that_swells_does_not_swell_again_and_again() -> None:
    swelling = string(220, 1)
    swelling[RATE // 10 :] *= np.hanning(RATE // 2) ** 0.5
    held = hold(tensor(swelling), RATE // 10, 3 * RATE, RATE / 220, RATE)[0].numpy()
    vowel = held[RATE // 2 : 3 * RATE]
    frames = vowel[: len(vowel) // 800 * 800].reshape(-1, 800).std(1)
    assert frames.max() < 1.25 * frames.min()


@pytest.mark.parametrize("ratio", [0.55, 0.8, 1.0, 1.3, 1.8])
def test_a_note_is_varispeed_with_smooth_ends(ratio: float) -> None:
    note = sing_note(tensor(tone(220, 3.0)), ratio, RATE, 320, 640)[0].numpy()
    assert len(note) == RATE
    assert abs(cents(pitch(note), 220 * ratio)) < 4
    assert np.abs(note[:8]).max() < 0.001 and np.abs(note[-8:]).max() < 0.001
    assert note[4000:12000].std() == pytest.approx(0.3 / np.sqrt(2), rel=0.02)
    # Raised cosines: half-way up at the middle of the attack and of the release.
    envelope = np.abs(hilbert(note))
    assert envelope[160] == pytest.approx(0.15, abs=0.02) and envelope[-320] == pytest.approx(0.15, abs=0.02)


def test_a_note_ends_where_its_source_does() -> None:
    note = sing_note(tensor(tone(220, 0.2)), 2.0, RATE, 160, 160)
    assert note.shape[1] == RATE // 10
    assert not sing_note(tensor(tone(220, 0.0005)), 1.0, RATE, 160, 160).numel()


def decode(folder: Path, tunes: list[np.ndarray], *strings: tuple[str, float, np.ndarray]) -> DecodedAudio:
    """A decoded of singers (name, f0, wave), each wave one clip."""
    tracks = []
    for name, f0, wave in strings:
        path = folder / f"{name.replace('/', '_')}.wav"
        sf.write(path, wave, RATE)
        tracks.append(Track(name, "train", path, singer=name, clips=(Clip(0.0, len(wave) / RATE, f0),)))
    return DecodedAudio(tracks, RATE, folder / "cache", torch.device("cpu"), None, tunes)


SCALE = np.stack([np.arange(8) * 0.6, np.full(8, 0.6), 57 + np.array([0, 2, 4, 5, 4, 2, 0, -1])], 1).astype(np.float32)


def expected(tune: np.ndarray, f0: float, seconds: float, seed: int) -> np.ndarray:
    """The notes of a take of the only singer, by the same draws: onset and duration in s, frequency in Hz."""
    rng = np.random.default_rng(seed)
    rng.choice(1, p=[1.0]), rng.random(), rng.integers(1), rng.random()
    notes = window_of(tune, seconds + 2 * MARGIN, rng)
    notes[:, 2] = transpose(notes, rng.choice([f0]), rng)
    notes[:, 0] -= MARGIN
    return notes


def test_a_take_follows_the_melody(tmp_path: Path) -> None:
    """Every note sounds where and as high as the tune says, legato from one to the next."""
    decoded = decode(tmp_path, [SCALE], ("anna", 220.0, string(220, 12, noise=0.0)))
    voices = Voices(decoded, 4 * RATE, melodic=1.0, vibrato_cents=0.0, sustained=0.0, doubling=0.0)
    compared = 0
    for seed in range(6):
        take = voices.sing(1.0, np.random.default_rng(seed))
        assert take.shape == (2, 4 * RATE) and torch.equal(take[0], take[1])
        for onset, duration, frequency in expected(SCALE, 220.0, 4.0, seed):
            first, last = max(onset + 0.1, 0.0), min(onset + duration - 0.15, 4.0)
            if last - first > 0.2:
                piece = take[0, round(first * RATE) : round(last * RATE)].numpy()
                assert np.abs(piece).max() > 0.03
                assert abs(cents(pitch(piece), frequency)) < 20, (seed, onset)
                compared += 1
        # No clicks: hardly anything above the tones, also at the joins.
        spectrum = np.abs(np.fft.rfft(take[0].numpy() * np.hanning(take.shape[1]))) ** 2
        assert spectrum[4 * 2000 :].sum() < 1e-5 * spectrum.sum()
    assert compared >= 20


def test_vowels_begin_on_the_onsets_and_rests_are_silent(tmp_path: Path) -> None:
    tune = np.stack([np.arange(8) * 1.0, np.full(8, 0.5), np.full(8, 57)], 1).astype(np.float32)
    decoded = decode(tmp_path, [tune], ("anna", 220.0, string(220, 12)))
    voices = Voices(decoded, 4 * RATE, melodic=1.0, vibrato_cents=0.0, sustained=0.0, doubling=0.0)
    checked = 0
    for seed in range(4):
        power = np.convolve(voices.sing(1.0, np.random.default_rng(seed))[0].numpy() ** 2, np.ones(160) / 160, "same")
        for onset, _, _ in expected(tune, 220.0, 4.0, seed):
            if 0.3 < onset < 3.2:
                level = np.median(power[round((onset + 0.1) * RATE) : round((onset + 0.3) * RATE)])
                near = power[round((onset - 0.15) * RATE) : round((onset + 0.1) * RATE)]
                # A trace of the vowel before it may come with the consonant.
                risen = np.flatnonzero(near < 0.5 * level)[-1] / RATE - 0.15
                assert abs(risen) < 0.03
                assert power[round((onset - 0.3) * RATE) : round((onset - 0.2) * RATE)].max() < 1e-6
                checked += 1
    assert checked >= 8


def test_notes_longer_than_any_syllable_are_held(tmp_path: Path) -> None:
    tune = np.array([(0, 6.0, 57), (6, 6.0, 60)], np.float32)
    decoded = decode(tmp_path, [tune], ("anna", 220.0, string(220, 6)))
    voices = Voices(decoded, 3 * RATE, melodic=1.0, vibrato_cents=0.0, sustained=0.0, doubling=0.0)
    for seed in range(4):
        take = voices.sing(1.0, np.random.default_rng(seed))[0].numpy()
        for onset, duration, frequency in expected(tune, 220.0, 3.0, seed):
            first, last = max(onset + 0.15, 0.0), min(onset + duration - 0.2, 3.0)
            if last - first > 1:
                piece = take[round(first * RATE) : round(last * RATE)]
                levels = piece[: len(piece) // 800 * 800].reshape(-1, 800).std(1)
                assert levels.min() > 0.8 * levels.max()
                assert abs(cents(pitch(piece), frequency)) < 15


def test_sustained_takes_hold_fewer_and_longer_notes(tmp_path: Path) -> None:
    tune = np.stack([np.arange(40) * 0.5, np.full(40, 0.25), np.full(40, 57)], 1).astype(np.float32)
    decoded = decode(tmp_path, [tune], ("anna", 220.0, string(220, 12)))
    longest = {}
    for sustained in (0.0, 1.0):
        voices = Voices(decoded, 4 * RATE, melodic=1.0, vibrato_cents=0.0, sustained=sustained, doubling=0.0)
        longest[sustained] = []
        for seed in range(6):
            take = voices.sing(1.0, np.random.default_rng(seed))[0].numpy()
            sounding = take.reshape(-1, RATE // 100).std(1) > 1e-4
            edges = np.flatnonzero(np.diff(np.concatenate([[0], sounding, [0]])))
            longest[sustained].append((edges[1::2] - edges[::2]).max() / 100)
    # A note of 0.25 s, its consonant's lead and its release; then twice to 5.7 times as long, cut by the window.
    assert min(longest[0.0]) > 0.2 and max(longest[0.0]) < 0.5
    assert min(longest[1.0]) > 0.45 and max(longest[1.0]) < 1.7 and np.ptp(longest[1.0]) > 0.2


def test_of_a_person_s_variants_the_nearest_in_pitch_sings(tmp_path: Path) -> None:
    """The low variant has a strong octave in its timbre, the high one none: which of them sings can be heard."""
    tune = np.stack([np.arange(20) * 0.6, np.full(20, 0.5), np.tile([57, 67], 10)], 1).astype(np.float32)
    strings = ("anna/low", 220.0, string(220, 8, harmonic=2.0)), ("anna/high", 392.0, string(392, 8))
    decoded = decode(tmp_path, [tune], *strings)
    voices = Voices(decoded, 3 * RATE, melodic=1.0, vibrato_cents=0.0, sustained=0.0, doubling=0.0)
    heard = set()
    for seed in range(12):
        take = voices.sing(1.0, np.random.default_rng(seed))[0].numpy()
        for at in range(0, len(take) - 1600, 1600):
            spectrum = np.abs(np.fft.rfft(take[at : at + 1600] * np.hanning(1600), 16000))
            if spectrum.max() > 10:
                peaks = [f for f in range(150, 900) if spectrum[f] == spectrum[max(0, f - 60) : f + 60].max()]
                strong = [f for f in peaks if spectrum[f] > 0.25 * spectrum.max()]
                low = len(strong) == 2 and abs(strong[1] / strong[0] - 2) < 0.1
                f0 = strong[0]
                heard.add(low)
                # Half-way between the two, with some tolerance, the voice changes.
                if len(strong) <= 2 and (low or len(strong) == 1):
                    assert (f0 < 392) if low else (f0 > 230), (seed, at, strong)
    assert heard == {True, False}


def test_doubles_and_harmonies_sing_the_same_notes_again(tmp_path: Path) -> None:
    decoded = decode(tmp_path, [SCALE], ("anna", 220.0, string(220, 12)))
    plain = Voices(decoded, 2 * RATE, melodic=1.0, vibrato_cents=0.0, sustained=0.0, doubling=0.0)
    doubled = Voices(decoded, 2 * RATE, melodic=1.0, vibrato_cents=0.0, sustained=0.0, doubling=1.0)
    wanted = {0, 3, 4, 5, 7, -5, 12, -12}
    intervals = []
    for seed in range(10):
        first = plain.sing(1.0, np.random.default_rng(seed))[0]
        both = doubled.sing(1.0, np.random.default_rng(seed))
        assert not torch.equal(both[0], both[1])
        # What is left when the first take is projected out of the right channel is the second one.
        second = both[1] - first * ((both[1] * first).sum() / first.square().sum())
        for onset, duration, frequency in expected(SCALE, 220.0, 2.0, seed):
            a, b = max(onset + 0.15, 0.0), min(onset + duration - 0.18, 2.0)
            if b - a > 0.2:
                intervals.append(12 * np.log2(pitch(second[round(a * RATE) : round(b * RATE)].numpy()) / frequency))
    near = [min(abs(i - w) for w in wanted) for i in intervals]
    assert len(near) > 15 and np.mean(np.array(near) < 0.6) > 0.9
    assert len({round(i) for i in intervals}) >= 3


def test_the_same_draws_give_the_same_take(tmp_path: Path) -> None:
    decoded = decode(tmp_path, [SCALE], ("anna", 220.0, string(220, 12)))
    voices = Voices(decoded, RATE, melodic=0.5, vibrato_cents=40.0, sustained=0.0, doubling=0.5)
    takes = [voices.sing(1.0, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert torch.equal(takes[0], takes[1]) and not torch.equal(takes[0], takes[2])
