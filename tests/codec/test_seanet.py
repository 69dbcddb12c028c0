"""SEANet held bit-equal to the package ``encodec`` by weight transfer, and the checks all codecs share."""

import copy
import warnings
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from ldm_sep.codec.base import Codec, check_latents, check_wave
from ldm_sep.codec.mdct_start import start_as_mdct
from ldm_sep.codec.seanet import SEANetCodec, SEANetSizes
from ldm_sep.signal.mdct import MDCT
from ldm_sep.thirdparty import import_encodec


def package_pair(**sizes: object) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of the package, whose weight_norm is a deprecated one that warns."""
    modules = import_encodec().modules
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return tuple(net(norm="weight_norm", **sizes) for net in (modules.SEANetEncoder, modules.SEANetDecoder))


def transfer(source: nn.Module, target: nn.Module) -> None:
    """Copy weights in the order of definition, which both implementations share."""
    values, names = list(source.state_dict().values()), list(target.state_dict())
    assert len(values) == len(names)
    target.load_state_dict(dict(zip(names, values, strict=True)))


def randomise(net: nn.Module) -> None:
    """Fresh values everywhere: norms start at gain 1 and bias 0, which would hide a mix-up."""
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))


def tiny(**sizes: object) -> SEANetCodec:
    torch.manual_seed(0)
    return SEANetCodec(48000, SEANetSizes(**{"latent_channels": 8, "filters": 4, "ratios": (3, 2), **sizes})).eval()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        (
            {"latent_channels": 6, "ratios": (4, 3, 1), "residual_layers": 3, "lstm_layers": 0},
            {"dimension": 6, "ratios": [4, 3, 1], "n_residual_layers": 3, "lstm": 0},
        ),
    ],
    ids=["48khz", "every_other_size"],
)
def test_bit_equal_to_the_package(ours: dict, theirs: dict) -> None:
    torch.manual_seed(1)
    encoder, decoder = package_pair(channels=2, n_filters=4, true_skip=False, **theirs)
    codec = SEANetCodec(48000, SEANetSizes(filters=4, **ours))
    for source, target in ((encoder, codec.encoder), (decoder, codec.decoder)):
        randomise(source)
        transfer(source, target)
    with torch.no_grad():
        for frames in (1, 2, 5, 33):
            wave = torch.randn(2, 2, frames * codec.hop)
            z = codec.encode(wave)
            assert z.shape == (2, codec.latent_channels, frames)
            assert torch.equal(z, encoder(wave))
            assert torch.equal(codec.decode(z), decoder(z))
            assert codec.decode(z).shape == wave.shape


def test_parameter_count_of_the_48_khz_model() -> None:
    with torch.device("meta"):
        theirs = package_pair(channels=2)
        codec = SEANetCodec()
    counts = [sum(p.numel() for p in net.parameters()) for net in (*theirs, codec.encoder, codec.decoder)]
    assert counts[:2] == counts[2:]
    assert [round(count / 1e6, 2) for count in counts] == [7.43] * 4
    assert (codec.hop, codec.sample_rate / codec.hop, codec.latent_channels) == (320, 150, 128)


def test_the_latents_keep_the_level() -> None:
    wave = torch.randn(1, 2, 60)
    codec = tiny(lstm_layers=0)
    spread = [codec.encode(gain * wave).std(correction=0).item() for gain in (1.0, 10.0, 100.0)]
    assert codec.keeps_level
    assert all(louder > 1.5 * softer for softer, louder in pairwise(spread)), spread


def test_without_lstm_latents_are_local_in_time() -> None:
    codec = tiny(lstm_layers=0)
    wave = torch.randn(1, 2, 60 * codec.hop)
    other = wave.clone()
    other[..., : 6 * codec.hop] = 0
    change = (codec.encode(wave) - codec.encode(other)).abs().amax((0, 1))
    assert change[:6].min() > 0
    assert change[20:].max() == 0


def test_it_can_start_as_an_mdct_whose_bins_are_its_latents() -> None:
    torch.manual_seed(0)
    codec = SEANetCodec(48000, SEANetSizes(latent_channels=16, filters=4, ratios=(4, 2, 2), lstm_layers=0))
    start_as_mdct(codec)
    mid, side = 0.1 * torch.randn(2, 50 * codec.hop)
    with torch.no_grad():
        z = codec.encode(torch.stack([mid + side, mid - side])[None] / 2**0.5)[0]
    # Up to one gain, and up to both ends, where SEANet mirrors.
    bins = torch.cat([MDCT(codec.hop)(mid)[:14], MDCT(codec.hop)(side)[:2]])[:, 2:-2]
    found = z[:, 2:-2]
    found = found * (found * bins).sum() / found.square().sum()
    assert (found - bins).square().mean() < 0.01 * bins.square().mean()


def test_as_an_mdct_it_gives_back_what_lies_below_its_highest_bin() -> None:
    torch.manual_seed(0)
    codec = SEANetCodec(48000, SEANetSizes(filters=10, lstm_layers=0))
    start_as_mdct(codec)
    t = torch.arange(40 * codec.hop) / 48000
    low, high = (0.1 * torch.sin(2 * torch.pi * f * t).expand(1, 2, -1) for f in (440.0, 9000.0))
    with torch.no_grad():
        loss = [
            (codec.decode(codec.encode(wave)) - wave)[..., 640:-640].square().mean() / wave.square().mean()
            for wave in (low, high)
        ]
    assert loss[0] < 0.01 and loss[1] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "sizes", [{"lstm_layers": 1}, {"filters": 9}, {"ratios": (5, 8, 4, 2)}, {"latent_channels": 200}]
)
def test_sizes_that_hold_no_mdct(sizes: dict) -> None:
    with pytest.raises(ValueError, match="cannot start as an MDCT"):
        start_as_mdct(SEANetCodec(48000, SEANetSizes(**{"filters": 10, "lstm_layers": 0, **sizes})))


def test_a_conditioner_is_an_independent_copy_of_the_encoder() -> None:
    codec = tiny()
    wave = torch.randn(1, 2, 60)
    z = codec.encode(wave)
    conditioner = copy.deepcopy(codec.encoder)
    assert torch.equal(conditioner(wave), z)
    randomise(conditioner)
    assert not torch.equal(conditioner(wave), z)
    assert torch.equal(codec.encode(wave), z)


def test_every_parameter_is_trained() -> None:
    codec = tiny()
    wave = torch.randn(2, 2, 60)
    (codec.decode(codec.encode(wave)) - wave).abs().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in codec.parameters())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"ratios": ()}, "ratios must be one or more strides"),
        ({"ratios": (4, 0)}, r"ratios .* got \(4, 0\)"),
        ({"filters": 1}, "filters must be at least 2, got 1"),
    ],
)
def test_sizes_that_make_no_network(sizes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SEANetSizes(**sizes)


def test_codec_protocol() -> None:
    assert isinstance(tiny(), Codec)
    assert not isinstance(tiny().encoder, Codec)


def with_value(shape: tuple[int, ...], value: float) -> Tensor:
    x = torch.zeros(shape)
    x.view(-1)[-1] = value
    return x


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (torch.zeros(2, 12), r"\(B, C, T\), got torch.float32 \(2, 12\)"),
        (torch.zeros(1, 2, 12, dtype=torch.int16), "floating-point .* torch.int16"),
        (torch.zeros(1, 1, 12), r"takes 2 audio channel\(s\), got 1"),
        (torch.zeros(1, 2, 13), "13 samples .* hop 6: pad the wave to 18 samples"),
        (torch.zeros(1, 2, 0), "0 samples .* pad the wave to 6 samples"),
        (with_value((1, 2, 12), float("nan")), "1 of 24 values of the wave are NaN or infinite"),
        (with_value((1, 2, 12), float("-inf")), "1 of 24 values of the wave are NaN or infinite"),
    ],
)
def test_waves_that_cannot_be_encoded(wave: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_wave(wave, channels=2, hop=6)
    with pytest.raises(ValueError, match=message):
        tiny().encode(wave)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.zeros(8, 2), r"\(B, D, N\), got torch.float32 \(8, 2\)"),
        (torch.zeros(1, 8, 2, dtype=torch.int64), "floating-point .* torch.int64"),
        (torch.zeros(1, 7, 2), "takes 8 latent channels, got 7"),
        (torch.zeros(1, 8, 0), "without a frame"),
        (with_value((1, 8, 2), float("inf")), "1 of 16 values of the latents are NaN or infinite"),
    ],
)
def test_latents_that_cannot_be_decoded(z: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_latents(z, latent_channels=8)
    with pytest.raises(ValueError, match=message):
        tiny().decode(z)
