"""The band of the demo song: drums, bass, guitar and electric piano, and the room that band and voice are in."""

import numpy as np

RATE = 44_100
BEAT = 60 / 94  # seconds
BARS = 9
CHORDS = ("A2 C4 E4 A4", "F2 C4 F4 A4", "C3 C4 E4 G4", "G2 B3 D4 G4")  # a bass and a triad for each bar
GROOVE = (("kick", 0), ("snare", 1), ("kick", 1.5), ("kick", 2), ("snare", 3))


def midi_number(name: str) -> int:
    """``"A4"`` -> 69 (naturals only)."""
    return 12 * (int(name[1:]) + 1) + "C D EF G A B".index(name[0])


def hertz(midi: float | np.ndarray) -> float | np.ndarray:
    """Equal temperament: 440 * 2^((midi - 69) / 12)."""
    return 440.0 * 2.0 ** ((midi - 69.0) / 12.0)


def noise_band(rng: np.random.Generator, shape: tuple[int, ...], centre: float, octaves: float) -> np.ndarray:
    """Noise of unit RMS whose spectrum is a bell of ``octaves`` around ``centre`` (Hz)."""
    size = 1 << shape[-1].bit_length()
    distance = np.log2(np.fft.rfftfreq(size, 1 / RATE)[1:] / centre) / octaves
    bell = np.concatenate([[0.0], np.exp(-0.5 * distance**2)])
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(shape), size) * bell)[..., : shape[-1]]
    return noise / np.sqrt(np.mean(noise**2))


def room(wave: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Reverberation of ``wave (2, T)``: early reflections, then a decorrelated tail of ``seconds``."""
    size = round(seconds * RATE)
    time = np.arange(size) / RATE
    decay = np.exp(-6.9 * time / seconds) * np.clip(time / 0.03 - 0.6, 0, 1) * (1 - time / seconds)
    tail = decay * (noise_band(rng, (2, size), 700, 1.5) + 0.1 * decay * rng.standard_normal((2, size)))
    tail /= np.sqrt(np.sum(tail**2, axis=1, keepdims=True))
    for channel, delays in enumerate(((11.3, 19.7, 29.1, 41.9), (13.9, 17.3, 31.7, 38.3))):
        for order, delay in enumerate(delays):
            tail[channel, round(delay * RATE / 1000)] += 0.4 * (-0.75) ** order
    total = 1 << (wave.shape[1] + size).bit_length()
    return np.fft.irfft(np.fft.rfft(wave, total) * np.fft.rfft(tail, total))[:, : wave.shape[1]]


def place(track: np.ndarray, sound: np.ndarray, seconds: float, position: float = 0.0) -> None:
    """Add ``sound (n,) or (2, n)`` to ``track (2, T)`` at ``seconds``, panned from -1 (left) to 1 (right)."""
    start = round(seconds * RATE)
    count = min(sound.shape[-1], track.shape[1] - start)
    angle = np.pi / 4 * (1 + position)
    track[:, start : start + count] += np.array([[np.cos(angle)], [np.sin(angle)]]) * sound[..., :count]


def string(freq: float, seconds: float, pluck: float, tilt: float, damping: float) -> np.ndarray:
    """A string plucked at ``pluck`` of its length: partials k fall as k^-``tilt`` and damp with k."""
    time = np.arange(round(seconds * RATE)) / RATE
    k = np.arange(min(40, int(15_000 / freq)), 0, -1)
    partials = np.append(np.sin(np.pi * k * pluck) / k**tilt, 0.0)  # of a polynomial, the highest first
    sound = np.polyval(partials, np.exp((2j * np.pi * freq - damping) * time)).imag * np.exp(-1.2 * time)
    return sound * np.clip(np.minimum(time / 0.002, (seconds - time) / 0.04), 0, 1)


def electric_piano(freq: float, seconds: float) -> np.ndarray:
    """Frequency modulation (Chowning 1973): a warm body and a short tine at 14 times the pitch."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = 2 * np.pi * freq * time
    body = np.sin(wave + 1.6 * np.exp(-3 * time) * np.sin(wave)) * np.exp(-1.2 * time)
    tine = 0.3 * np.exp(-10 * time) * np.sin(wave + 0.9 * np.exp(-12 * time) * np.sin(14 * wave))
    return (body + tine) * np.clip(np.minimum(time / 0.004, (seconds - time) / 0.1), 0, 1)


def drum(name: str, rng: np.random.Generator) -> np.ndarray:
    """One hit ``(2, n)`` of ``"kick"``, ``"snare"``, ``"hat"`` or ``"crash"``."""
    time = np.arange(round((2.5 if name == "crash" else 0.4) * RATE)) / RATE
    shape = (2, len(time))
    if name == "kick":
        sweep = np.sin(2 * np.pi * (48 * time + 3.2 * (1 - np.exp(-35 * time)))) * np.exp(-9 * time)
        return sweep + 0.15 * noise_band(rng, shape, 3500, 0.8) * np.exp(-250 * time)
    if name == "snare":
        head = 0.7 * np.sin(2 * np.pi * (185 * time + 0.8 * (1 - np.exp(-60 * time)))) * np.exp(-22 * time)
        return head + 0.45 * noise_band(rng, shape, 4000, 1.2) * np.exp(-17 * time)
    return noise_band(rng, shape, 10_500, 0.45) * np.exp(-(2.6 if name == "crash" else 45.0) * time)


def play(bars: int, rng: np.random.Generator) -> np.ndarray:
    """The accompaniment ``(2, T)``: drums and bass in the middle, electric piano and guitar wide."""
    dry, wet = np.zeros((2, 2, round(4 * bars * BEAT * RATE)))
    for bar in range(bars):
        start, last = 4 * bar, bar == BARS - 1
        root, *chord = (hertz(midi_number(name)) for name in CHORDS[bar % len(CHORDS)].split())
        for index, freq in enumerate(chord):
            for beat, beats in ((0, 4),) if last else ((0, 2.4), (2.5, 1.5)):
                for side, cents in ((-0.1, -4), (0.1, 4)):
                    tone = electric_piano(freq * 2 ** (cents / 1200), beats * BEAT)
                    place(wet, 0.12 * tone, (start + beat) * BEAT, 0.85 * (index - 1) + side)
        for step in range(1 if last else 8):
            time, accent = (start + step / 2) * BEAT, rng.uniform(0.8, 1.0)
            tone = string(2 * chord[(0, 1, 2, 1, 0, 2, 1, 2)[step]], 1.2 * BEAT, 0.14, 1.2, 0.9)
            place(wet, 0.34 * accent * tone, time, 0.7 if step % 2 else -0.7)
            place(dry, 0.13 * accent * drum("hat", rng), time, 0.3)
            if step not in (2, 5):
                tone = string(root / 2, (4 if last else 0.5) * BEAT, 0.31, 1.0, 0.5)
                place(dry, 0.36 * accent * tone, time)
        for name, beat in (("kick", 0),) if last else GROOVE:
            place(wet if name == "snare" else dry, 0.46 * drum(name, rng), (start + beat) * BEAT)
        if bar % 4 == 2 or last:
            place(wet, 0.09 * drum("crash", rng), start * BEAT)
    return np.tanh(dry + wet + 0.15 * room(wet, 1.2, rng))
