"""Baselines against what they must give on signals built for it."""

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor, nn

from ldm_sep.evaluate import codec_round_trip, irm, karaoke, silence
from ldm_sep.metrics import sdr

RATE = 16000


def noise(seed: int, seconds: float = 2.0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((2, int(seconds * RATE)))).astype(np.float32)


def test_irm_is_the_mask_of_the_definition() -> None:
    vocals, rest = noise(0), noise(1)
    mixture = vocals + rest
    settings = {"window": "hann", "nperseg": 2048, "noverlap": 1536}
    v, x, a = (signal.stft(wave, **settings)[2] for wave in (vocals, mixture, mixture - vocals))
    expected = signal.istft(x * np.abs(v) / (np.abs(v) + np.abs(a)), **settings)[1][:, : vocals.shape[1]]
    # scipy places its frames otherwise at the ends, but on the same grid in between.
    inner = slice(4096, -4096)
    assert np.allclose(irm(vocals, mixture)[:, inner], expected[:, inner], atol=1e-6)


@pytest.mark.parametrize("samples", [1, 511, 512, 513, 2048, 40001])
def test_irm_gives_vocals_that_are_alone_and_nothing_where_there_are_none(samples: int) -> None:
    wave = noise(2, 3)[:, :samples]
    assert np.allclose(irm(wave, wave), wave, atol=1e-6)
    assert not irm(np.zeros_like(wave), wave).any()
    assert not irm(np.zeros_like(wave), np.zeros_like(wave)).any()


def test_irm_separates_what_does_not_overlap() -> None:
    t = np.arange(2 * RATE) / RATE
    low, high = (np.stack([np.sin(2 * np.pi * hz * t)] * 2).astype(np.float32) * 0.3 for hz in (300, 3000))
    score = sdr(low, irm(low, low + high)).value
    assert score is not None and score > 40


def test_irm_refuses_waves_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="shapes"):
        irm(noise(0), noise(0)[:, 1:])


def test_karaoke_keeps_the_centre_and_loses_the_sides() -> None:
    centre, side = noise(3)[0], noise(3)[1]
    mixture = np.stack([centre + side, centre - side])
    assert np.allclose(karaoke(mixture), np.stack([centre, centre]), atol=1e-7)
    # With the side signal, which the trick removes, it adds up to the mixture.
    assert np.allclose(karaoke(mixture) + np.stack([side, -side]), mixture, atol=1e-7)


def test_karaoke_refuses_mono() -> None:
    with pytest.raises(ValueError, match="two channels"):
        karaoke(noise(0)[:1])


def test_silence_is_zero() -> None:
    wave = noise(0)
    assert silence(wave).shape == wave.shape and not silence(wave).any()


class Reshaping:
    """A codec that loses nothing: 64 samples of a channel are a frame. Or nothing but the level."""

    sample_rate, channels, hop, latent_channels = RATE, 2, 64, 128

    def __init__(self, keeps_level: bool = True) -> None:
        self.keeps_level = keeps_level
        self.encoder = self.decoder = nn.Identity()
        self.longest = 0
        self.levels: list[float] = []

    def input_gain(self, wave: Tensor) -> Tensor:
        own = 1 / wave.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-9)
        return torch.ones_like(own) if self.keeps_level else own

    def encode(self, wave: Tensor) -> Tensor:
        self.levels.append(float(wave.square().mean().sqrt()))
        self.longest = max(self.longest, wave.shape[2])
        frames = wave.reshape(1, 2, -1, self.hop).permute(0, 1, 3, 2)
        return frames.reshape(1, 128, -1)

    def decode(self, z: Tensor) -> Tensor:
        wave = z.reshape(1, 2, self.hop, -1).permute(0, 1, 3, 2).reshape(1, 2, -1)
        return wave if self.keeps_level else wave / wave.square().mean().sqrt().clamp_min(1e-9)


@pytest.mark.parametrize("keeps_level", [True, False])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 100, 70001])
def test_a_lossless_codec_gives_the_vocals_back(keeps_level: bool, channels: int, samples: int) -> None:
    wave = noise(4, 5)[:channels, :samples] * np.linspace(0.2, 1, samples, dtype=np.float32)
    codec = Reshaping(keeps_level)
    result = codec_round_trip(codec, wave, RATE, segment=1.0, overlap=0.2)
    assert np.allclose(result, wave, atol=1e-6)
    # Windows bound the memory.
    assert codec.longest <= RATE
    # Every window is heard at the level the codec was made for: the networks' or its own.
    assert codec.levels == pytest.approx([0.1 if keeps_level else 1.0] * len(codec.levels), rel=1e-4)


def test_the_round_trip_goes_through_the_codecs_rate() -> None:
    t = np.arange(3 * 44100) / 44100
    low, high = (np.stack([0.3 * np.sin(2 * np.pi * hz * t)] * 2).astype(np.float32) for hz in (1000, 12000))
    result = codec_round_trip(Reshaping(), low + high, 44100, segment=1.0)
    assert result.shape == low.shape
    inner = slice(4410, -4410)
    score = sdr(low[:, inner], result[:, inner]).value
    # 12 kHz is beyond what 16 kHz can hold; 1 kHz stays, in place.
    assert score is not None and score > 60


def test_silence_stays_silence_in_a_codec_that_loses_the_level() -> None:
    wave = np.concatenate([noise(5), np.zeros((2, 4 * RATE), np.float32)], 1)
    with torch.no_grad():
        result = codec_round_trip(Reshaping(False), wave, RATE, segment=1.0)
    assert not result[:, 4 * RATE :].any()
    assert np.allclose(result[:, : 2 * RATE], wave[:, : 2 * RATE], atol=1e-6)
