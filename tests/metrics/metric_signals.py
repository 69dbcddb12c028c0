"""Signals that are cheap and known, for the tests of the metrics."""

import numpy as np


def tone(seconds: float, rate: int, f0: float, vibrato_cents: float = 0.0, vibrato_hz: float = 2.0) -> np.ndarray:
    """Ten harmonics with vibrato, mono, float32, peak about 0.2."""
    t = np.arange(int(seconds * rate)) / rate
    hz = f0 * 2 ** (vibrato_cents / 1200 * np.sin(2 * np.pi * vibrato_hz * t))
    phase = 2 * np.pi * np.cumsum(hz) / rate
    return (0.1 * sum(np.sin(k * phase + k * k) / k for k in range(1, 11))).astype(np.float32)


def phrases(seconds: float, rate: int, f0: float = 220.0) -> np.ndarray:
    """A tone that sounds for the first 0.7 s of every second."""
    t = np.arange(int(seconds * rate)) / rate
    return tone(seconds, rate, f0) * (t % 1.0 < 0.7)


def white_noise() -> np.ndarray:
    """``(2, 16000)``."""
    return np.random.default_rng(0).normal(0, 0.1, (2, 16000)).astype(np.float32)


def noisy_pair() -> tuple[np.ndarray, np.ndarray]:
    """Noise that grows, and an estimate of it, ``(2, 44000)``: 5.5 s at 8000 Hz."""
    rng = np.random.default_rng(1)
    ref = rng.normal(0, 0.1, (2, 44000)) * np.linspace(0.1, 1, 44000)
    return ref.astype(np.float32), (0.8 * ref + rng.normal(0, 0.03, ref.shape)).astype(np.float32)
