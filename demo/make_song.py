"""Synthesise the demo song: a sung formant voice over a small band, from NumPy alone.

``python demo/make_song.py --out demo`` writes ``song.ogg`` (the mixture) and ``vocals.ogg`` (its true vocal,
sample-aligned, at its level in the mixture). The same script gives the same samples: all noise comes from one
seed. The encoded bytes may still differ, since Ogg carries a random stream number.

The voice is a source-filter model (Fant 1960), summed harmonic by harmonic so that it is band-limited by
construction: Rosenberg's glottal pulse (1971) with a return phase as in the LF model (Fant et al. 1985),
jitter, shimmer, vibrato and portamento, through formants that glide from vowel to vowel (Klatt 1980).
Aspiration, modulated by the glottis, passes through the same tract; sibilants, stops and breaths are bands of
noise; m and n are vowels of a closed tract.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf
from band import BARS, BEAT, RATE, hertz, midi_number, noise_band, play, room

SEED = 1960
TUBE = 575.0  # Hz, the quarter-wave resonance of a vocal tract of 15 cm
HOP = 90  # samples between two values of a control curve; breath needs their rate above the pitch
CONTROL_RATE = RATE / HOP
CEILING = 0.8  # peak of the mixture before encoding, which may overshoot a little
ASPIRATION = 0.04  # noise at each harmonic, against a glottal pulse of unit flow
VOCAL_TO_BAND_DB = -1.5  # RMS ratio while the voice sings

# (first beat, "syllable/pitch/beats ..."): an optional consonant, a vowel; the vowel falls on the beat.
MELODY = (
    (8.0, "so/E4/1 na/G4/1 mi/E4/1.5 a/D4/.5 mu/D4/1 si/B3/.5 ka/D4/1.5"),
    (18.0, "te/C4/.5 ne/D4/.5 ko/E4/1 na/F4/1.5 mi/E4/.5 sa/C4/1 ta/A3/.5 nu/C4/1.5"),
    (28.0, "ke/D4/.5 ti/E4/.5 so/G4/1.5 ne/E4/.5 sa/D4/.5 mo/B3/.5 na/A3/2"),
)

# Five formants (Hz) of a woman's vowels, the third to fifth drawn together as singers do, and the gain.
TRACT = {
    "a": (820, 1300, 2800, 3350, 4800, 0.8),
    "e": (500, 2150, 2850, 3400, 4900, 1.0),
    "i": (340, 2500, 3100, 3550, 5000, 1.0),
    "o": (500, 920, 2750, 3300, 4800, 1.0),
    "u": (370, 800, 2650, 3250, 4700, 1.0),
    "m": (270, 1050, 2250, 3300, 4300, 0.35),
    "n": (270, 1500, 2550, 3400, 4500, 0.35),
}


class Consonant(NamedTuple):
    """A noise: its band, its envelope around the vowel's onset, and how long the voice stops for it."""

    centre: float  # Hz
    octaves: float  # standard deviation of the band
    level: float
    closure: float  # seconds
    envelope: tuple[tuple[float, float], ...]  # (seconds from the vowel's onset, 0..1)


CONSONANTS = {
    "s": Consonant(8200, 0.42, 0.28, 0.11, ((-0.13, 0), (-0.075, 1), (-0.03, 0.85), (0.012, 0))),
    "t": Consonant(5200, 0.80, 0.40, 0.07, ((-0.030, 0), (-0.028, 1), (-0.016, 0.4), (0.025, 0))),
    "k": Consonant(2400, 0.70, 0.30, 0.08, ((-0.040, 0), (-0.037, 1), (-0.022, 0.4), (0.03, 0))),
    "breath": Consonant(2600, 1.10, 0.035, 0.0, ((-0.34, 0), (-0.20, 1), (-0.14, 0.8), (-0.06, 0))),
}


class Syllable(NamedTuple):
    consonant: str
    vowel: str
    midi: int
    onset: float  # seconds, where the vowel starts
    end: float


def read_phrases(bars: int = BARS) -> list[list[Syllable]]:
    """The phrases of the melody that end within ``bars`` bars."""
    phrases = []
    for beat, text in MELODY:
        phrase = []
        for token in text.split():
            letters, pitch, beats = token.split("/")
            start, beat = beat, beat + float(beats)
            phrase.append(Syllable(letters[:-1], letters[-1], midi_number(pitch), start * BEAT, beat * BEAT))
        if beat <= 4 * bars:
            phrases.append(phrase)
    return phrases


def smooth(curve: np.ndarray, seconds: float) -> np.ndarray:
    """``curve (T, ...)`` of control values under a Hann window of ``seconds``, edges held."""
    half = max(1, round(seconds * CONTROL_RATE / 2))
    window = np.hanning(2 * half + 1)
    padded = np.pad(curve, [(half, half)] + [(0, 0)] * (curve.ndim - 1), mode="edge")
    return np.apply_along_axis(np.convolve, 0, padded, window / window.sum(), "valid")


def wander(rng: np.random.Generator, count: int, seconds: float) -> np.ndarray:
    """A random control curve of unit variance that moves over about ``seconds``."""
    curve = smooth(rng.standard_normal(count), seconds)
    return curve / curve.std()


def tract_response(formants: np.ndarray, freqs: np.ndarray) -> np.ndarray:
    """Complex response (frames, F) of the tract ``formants (frames, 5)`` at ``freqs (frames, F)`` in Hz.

    A lossy uniform tube closed at one end, H(f) = 1 / cosh(a + j pi f / (2 c)) with resonances at the odd
    multiples N_i of c, of which the first five are moved to F_i: R(f, F) = 1 / (1 - (f / F)^2 + j f B / F^2).
    """
    response = 1 / np.cosh(np.pi / (4 * TUBE) * (60 + 0.05 * freqs) + 0.5j * np.pi * freqs / TUBE)
    for index, bandwidth in enumerate((130.0, 170.0, 160.0, 200.0, 300.0)):
        moved, ratio = formants[:, index, None], freqs / ((2 * index + 1) * TUBE)
        response *= 1 - ratio**2 + 1j * ratio * (60 / ((2 * index + 1) * TUBE) + 0.05)
        response /= 1 - (freqs / moved) ** 2 + 1j * freqs * bandwidth / moved**2
    return response


def glottal_spectrum(harmonics: int, open_quotient: float = 0.62) -> np.ndarray:
    """Fourier coefficients 1..``harmonics`` of the derivative of Rosenberg's pulse, one period long."""
    phase = np.arange(4096) / 4096
    peak = 0.7 * open_quotient
    opening = 0.5 * (1 - np.cos(np.pi * phase / peak))
    closing = np.cos(0.5 * np.pi * (phase - peak) / (open_quotient - peak))
    flow = np.where(phase < peak, opening, np.where(phase < open_quotient, closing, 0.0))
    return np.fft.rfft(np.diff(flow, append=flow[0]))[1 : harmonics + 1] * 2


def pitch_curve(phrases: list[list[Syllable]], times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sung pitch in fractional MIDI numbers: portamento, scoops, delayed vibrato, drift and jitter."""
    notes = [note for phrase in phrases for note in phrase]
    steps = np.array([note.onset - 0.03 for note in notes])
    held = np.clip(np.searchsorted(steps, times, side="right") - 1, 0, None)
    pitch = smooth(np.array([float(note.midi) for note in notes])[held], 0.09)
    depth = smooth(0.36 * np.clip((times - steps[held] - 0.30) / 0.35, 0, 1), 0.08)
    rate = 5.6 + 0.3 * wander(rng, len(times), 0.5)
    pitch += depth * np.sin(2 * np.pi * np.cumsum(rate) / CONTROL_RATE)
    for phrase in phrases:
        age = times - phrase[0].onset + 0.05
        pitch -= 1.3 * np.exp(-np.maximum(age, 0.0) / 0.06) * (age > -0.2)
    return pitch + 0.04 * wander(rng, len(times), 0.4) + 0.07 * wander(rng, len(times), 0.02)


def articulation(phrases: list[list[Syllable]], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voicing amplitude ``(frames,)`` and tract ``(frames, 6)``: log2 formants and gain."""
    voicing, open_mouth = np.zeros(len(times)), np.ones(len(times))
    tract = np.tile(np.array(TRACT["a"], float), (len(times), 1))
    for phrase in phrases:
        points = [(phrase[0].onset - 0.10, 0.0)]
        for note in phrase:
            level = 10 ** (0.3 * (note.midi - 64) / 20)
            points += [(note.onset, 0.7 * level), (note.onset + 0.1, level), (note.end - 0.12, 0.7 * level)]
            tract[times >= note.onset - 0.085] = TRACT.get(note.consonant, TRACT[note.vowel])
            tract[times >= note.onset - 0.012] = TRACT[note.vowel]
            if note.consonant in CONSONANTS:
                closed = note.onset - CONSONANTS[note.consonant].closure
                open_mouth[(times > closed) & (times < note.onset)] = 0.0
        voicing += np.interp(times, *np.array([*points, (phrase[-1].end, 0.0)]).T)
    tract[:, :5] = np.log2(tract[:, :5])
    return smooth(voicing * open_mouth, 0.024), smooth(tract, 0.07)


def sing(bars: int, rng: np.random.Generator) -> np.ndarray:
    """The dry voice ``(T,)`` of ``bars`` bars; exactly zero between phrases."""
    phrases = read_phrases(bars)
    samples = np.arange(round(4 * bars * BEAT * RATE)) / RATE
    times = np.arange(0, len(samples) + HOP, HOP) / RATE
    f0 = hertz(pitch_curve(phrases, times, rng))
    voicing, tract = articulation(phrases, times)
    level = voicing * tract[:, 5] * (1 + 0.05 * wander(rng, len(times), 0.02))
    count = int(18_000 / f0.min())
    freqs = f0[:, None] * np.arange(1, count + 1)
    corner = 3000 + 3000 * voicing[:, None]  # Hz of the return phase: louder is brighter
    pulse = glottal_spectrum(count) / (1 + 1j * freqs / corner)
    # Noise around each harmonic fills the band; what neighbours share swells with every glottal cycle.
    noise = rng.standard_normal((len(times), 2 * (count + 1))).view(complex)
    breath = noise[:, 1:] + noise[:, :-1]
    spectrum = (pulse + ASPIRATION * breath) * tract_response(2.0 ** tract[:, :5], freqs) * level[:, None]
    spectrum *= np.clip((18_500 - freqs) / 1500, 0, 1)
    spectrum /= np.sqrt(np.mean(np.sum(np.abs(spectrum[voicing > 0]) ** 2, axis=1)))
    power = smooth(np.sum(np.abs(spectrum) ** 2, axis=1), 0.1)
    spectrum *= np.maximum(power, 0.01)[:, None] ** -0.3  # a compressor evens out vowels and notes
    sung = np.flatnonzero(np.interp(samples, times, voicing))
    turn = np.exp(2j * np.pi / RATE * np.cumsum(np.interp(samples, times, f0)))[sung]
    carrier, tone = np.ones(len(sung), complex), np.zeros(len(sung), complex)
    for harmonic in spectrum.T:
        carrier *= turn
        tone += np.interp(samples[sung], times, harmonic) * carrier
    voice = np.zeros(len(samples))
    voice[sung] = tone.real
    for name, sound in CONSONANTS.items():
        noise = noise_band(rng, voice.shape, sound.centre, sound.octaves) * sound.level
        for phrase in phrases:
            for note in phrase[:1] if name == "breath" else phrase:
                if name in (note.consonant, "breath"):
                    offsets, levels = np.array(sound.envelope).T
                    voice += noise * np.interp(samples, note.onset + offsets, levels)
    return voice


def make_song(bars: int = BARS) -> tuple[np.ndarray, np.ndarray]:
    """Mixture and vocals, each ``(2, T)`` at 44.1 kHz, of the first ``bars`` bars.

    Raises:
        ValueError: fewer bars than hold the first phrase, or more than were composed.
    """
    if not 4 <= bars <= BARS:
        raise ValueError(f"the song has 4 to {BARS} bars, not {bars}")
    rng = np.random.default_rng(SEED)
    dry = sing(bars, rng)
    vocals = np.tile(dry, (2, 1))
    vocals += 0.15 * room(vocals, 0.9, rng)
    accompaniment = play(bars, rng)
    sung = dry != 0
    ratio = np.sqrt(np.mean(accompaniment[:, sung] ** 2) / np.mean(vocals[:, sung] ** 2))
    vocals *= ratio * 10 ** (VOCAL_TO_BAND_DB / 20)
    song = accompaniment + vocals
    gain = CEILING / np.abs(song).max() * np.clip(np.arange(song.shape[1])[::-1] / (0.8 * RATE), 0, 1)
    return gain * song, gain * vocals


def write_vorbis(path: Path, wave: np.ndarray) -> None:
    """Write ``wave (2, T)`` whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        with sf.SoundFile(part, "w", RATE, 2, "VORBIS", format="OGG", compression_level=0.65) as file:
            for block in np.array_split(wave.T, 100):  # some encoders overflow their stack on one long block
                file.write(block)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def main() -> None:
    """Write the two files into the folder given by ``--out``."""
    parser = argparse.ArgumentParser(description="Synthesise the demo song and its true vocal.")
    parser.add_argument("--out", type=Path, required=True, help="folder for song.ogg and vocals.ogg")
    out = parser.parse_args().out
    song, vocals = make_song()
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_vorbis(out / "song.ogg", song)
        write_vorbis(out / "vocals.ogg", vocals)
    except (OSError, sf.SoundFileError) as error:
        sys.exit(f"{out}: cannot write the song ({error}); choose a writable folder with --out")


if __name__ == "__main__":
    main()
