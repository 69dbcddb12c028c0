"""The spectral codec: an exact transform first, and properties that no training may take away."""

import itertools

import numpy as np
import pytest
import torch

from ldm_sep.codec.base import Codec
from ldm_sep.codec.spectral import SpectralCodec, SpectralSizes, signed_power
from ldm_sep.metrics import si_sdr
from ldm_sep.signal.mdct import MDCT, band_edges


@pytest.fixture(scope="module")
def codec() -> SpectralCodec:
    torch.manual_seed(0)
    return SpectralCodec(48000, SpectralSizes(width=16, blocks=1)).eval()


@pytest.fixture(scope="module")
def wide_codec() -> SpectralCodec:
    """With the latents of the default checkpoint."""
    torch.manual_seed(0)
    sizes = {"hop": 640, "mid_bins": 352, "side_bins": 64, "mid_bands": 20, "side_bands": 12}
    return SpectralCodec(48000, SpectralSizes(**sizes, width=16, blocks=1, exponent=0.7)).eval()


def voice_like(samples: int) -> np.ndarray:
    t = np.arange(samples) / 48000
    phase = 2 * np.pi * np.cumsum(220 * (1 + 0.02 * np.sin(2 * np.pi * 5 * t))) / 48000
    wave = sum(np.sin(k * phase) / k for k in range(1, 20)) * 0.1
    return np.stack([wave, 0.8 * wave]).astype(np.float32)


@pytest.mark.parametrize("frames", [1, 2, 3, 40])
def test_mdct_is_inverted_exactly_up_to_both_ends(frames: int) -> None:
    mdct = MDCT(32)
    wave = torch.randn(2, 2, 32 * frames, generator=torch.Generator().manual_seed(frames))
    assert torch.allclose(mdct.inverse(mdct(wave)), wave, atol=1e-5)


def test_mdct_agrees_with_its_definition_and_keeps_power() -> None:
    mdct = MDCT(16)
    wave = torch.randn(1, 1, 16 * 300, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    m, frame = 16, 7
    n, k = np.arange(2 * m), np.arange(m)
    window = np.sin(np.pi * (n + 0.5) / (2 * m))
    segment = wave[0, 0, frame * m - m // 2 : frame * m - m // 2 + 2 * m].numpy() * window
    expected = np.sqrt(2 / m) * (segment[:, None] * np.cos(np.pi / m * np.outer(n + 0.5 + m / 2, k + 0.5))).sum(0)
    assert np.allclose(mdct(wave)[0, 0, :, frame].numpy(), expected, atol=1e-5)
    assert float(mdct(wave).square().sum() / wave.square().sum()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7, 1.0])
def test_the_signed_power_of_the_inverse_exponent_undoes_it(exponent: float) -> None:
    x = torch.linspace(-3, 3, 101)
    y = signed_power(x, exponent)
    assert torch.equal(y.sign(), x.sign())
    assert torch.allclose(signed_power(y, 1 / exponent), x, atol=1e-5)


def test_before_any_training_voice_passes_at_more_than_20_db(codec: SpectralCodec) -> None:
    wave = voice_like(320 * 150)
    estimate = codec.decode(codec.encode(torch.from_numpy(wave)[None]))[0].detach().numpy()
    assert si_sdr(wave, estimate).value > 20


def test_bands_above_the_carried_bins_keep_their_level(codec: SpectralCodec) -> None:
    generator = torch.Generator().manual_seed(0)
    wave = 0.1 * torch.randn(1, 2, 320 * 300, generator=generator)
    estimate = codec.decode(codec.encode(wave)).detach()
    for lo, hi in ((8000, 12000), (12000, 18000)):
        power = [torch.fft.rfft(w)[..., lo * 2 : hi * 2].abs().square().mean() for w in (wave, estimate)]
        assert abs(10 * np.log10(float(power[1] / power[0]))) < 1.5


@pytest.mark.parametrize("exponent", [0.5, 0.8])
def test_a_hiss_above_a_sung_vowel_stays_a_hiss(exponent: float) -> None:
    torch.manual_seed(0)
    # The latents carry single bins up to 6.6 kHz.
    codec = SpectralCodec(48000, SpectralSizes(width=16, blocks=1, exponent=exponent)).eval()
    noise = np.random.default_rng(0).normal(size=(2, 48000))
    spectrum = np.fft.rfft(noise)
    spectrum[:, :6600] = 0
    wave = voice_like(48000) + (0.003 * np.fft.irfft(spectrum)).astype(np.float32)
    estimate = codec.decode(codec.encode(torch.from_numpy(wave)[None]))[0].detach().numpy()
    frames = np.lib.stride_tricks.sliding_window_view(np.stack([wave[0], estimate[0]]), 2048, 1)[:, ::480]
    power = np.abs(np.fft.rfft(frames * np.hanning(2048)))[..., 342:854] ** 2  # 8 to 20 kHz
    distance = np.sqrt(np.square(np.log10(power[0] / power[1])).mean())
    # The distance of two independent noises of equal level. Partials or holes would increase it.
    assert distance == pytest.approx(np.pi / 3**0.5 / np.log(10), rel=0.12)


def test_silence_stays_silence_and_mono_stays_mono_whatever_was_learned() -> None:
    torch.manual_seed(1)
    codec = SpectralCodec(48000, SpectralSizes(width=16, blocks=1))
    for last in (codec.encoder.residual[-1], codec.decoder.residual[-1]):
        torch.nn.init.normal_(last.weight, std=0.1)
        torch.nn.init.normal_(last.bias, std=0.1)
    silence = codec.encode(torch.zeros(1, 2, 3200))
    assert silence.abs().max() == 0 and codec.decode(silence).abs().max() == 0
    mono = torch.from_numpy(voice_like(3200))[:1].repeat(2, 1)[None]
    left, right = codec.decode(codec.encode(mono)).unbind(1)
    assert torch.allclose(left, right, atol=1e-6)


def test_wide_latents_are_nearly_the_wave(wide_codec: SpectralCodec) -> None:
    wave = voice_like(640 * 75)
    estimate = wide_codec.decode(wide_codec.encode(torch.from_numpy(wave)[None]))[0].detach().numpy()
    assert si_sdr(wave, estimate).value > 30


def test_noise_on_the_latents_is_as_loud_as_the_exponent_says() -> None:
    # White noise as the input: at exponent 1 noise of a tenth of the latents' spread lies 20 dB under them; below,
    # by dx/dy = |x|^(1-p) / p and the moments of a normal distribution, elsewhere.
    sizes = {"hop": 64, "mid_bins": 60, "side_bins": 60, "mid_bands": 1, "side_bands": 1}
    generator = torch.Generator().manual_seed(0)
    wave = 0.1 * torch.randn(1, 2, 64 * 600, generator=generator)
    for p in (1.0, 0.7):
        torch.manual_seed(0)
        codec = SpectralCodec(48000, SpectralSizes(**sizes, width=8, blocks=1, exponent=p)).eval()
        z = codec.encode(wave).detach()
        noisy = z + 0.1 * z.std(2, keepdim=True) * torch.randn(z.shape, generator=generator)
        # Only the coded bins count, not the replicated ones above them.
        clean, heard = (codec.encoder.mdct(codec.decode(latents).detach())[:, :, :60] for latents in (z, noisy))
        ratio = 10 * np.log10(float(clean.square().sum() / (heard - clean).square().sum()))
        x = np.random.default_rng(0).normal(size=1_000_000)
        error = np.mean(np.abs(x) ** (2 - 2 * p)) / p**2 * 0.01 * np.mean(np.abs(x) ** (2 * p))
        assert ratio == pytest.approx(-10 * np.log10(error), abs=0.2)


def test_latents_keep_the_level_and_are_local(codec: SpectralCodec) -> None:
    wave = torch.from_numpy(voice_like(320 * 60))[None]
    with torch.no_grad():
        assert torch.allclose(codec.encode(4 * wave)[:, :88], 2 * codec.encode(wave)[:, :88], atol=1e-4)
        changed = wave.clone()
        changed[..., 320 * 30 :] = 0
        same = codec.encode(changed)[..., :25] - codec.encode(wave)[..., :25]
    assert same.abs().max() < 1e-5


def test_it_is_a_codec_and_refuses_what_it_cannot_take(codec: SpectralCodec) -> None:
    assert isinstance(codec, Codec)
    with pytest.raises(ValueError, match="640"):
        codec.encode(torch.zeros(1, 2, 321))
    with pytest.raises(ValueError, match="channel"):
        codec.encode(torch.zeros(1, 1, 320))
    with pytest.raises(ValueError, match="NaN"):
        codec.encode(torch.full((1, 2, 320), torch.nan))
    with pytest.raises(ValueError, match="latent channels"):
        codec.decode(torch.zeros(1, 5, 3))


def test_band_edges_cover_everything_once() -> None:
    edges = band_edges(88, 320, 14)
    assert edges[0] == 88 and edges[-1] == 320 and len(edges) == 15
    assert all(b > a for a, b in itertools.pairwise(edges))
    assert band_edges(4, 8, 4) == [4, 5, 6, 7, 8]
    with pytest.raises(ValueError, match="do not fit"):
        band_edges(4, 6, 3)
