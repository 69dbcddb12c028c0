"""The 48 kHz EnCodec: parity with the package, its level, and state dicts of other networks."""

from pathlib import Path

import pytest
import torch
from published import package_model, refused
from torch import Tensor

from ldm_sep.codec.base import Codec
from ldm_sep.codec.encodec_48khz import Encodec48kHz
from ldm_sep.codec.encodec_weights import load_encodec_48khz


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return package_model()


@pytest.fixture
def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def test_encodes_and_decodes_as_the_package_does(model: torch.nn.Module) -> None:
    codec = Encodec48kHz(model.state_dict())
    assert isinstance(codec, Codec) and not codec.keeps_level
    assert (codec.sample_rate, codec.channels, codec.hop, codec.latent_channels) == (48000, 2, 320, 128)
    with torch.no_grad():
        wave = torch.randn(2, 2, 4 * 320)
        z = codec.encode(wave)
        assert z.shape == (2, 128, 4)
        assert torch.equal(z, model.encoder(wave))
        assert torch.equal(codec.decode(z), model.decoder(z))
        assert codec.decode(z).shape == wave.shape
        # The package sends the same codes as our encoder and its quantiser give.
        model.set_target_bandwidth(6.0)
        mono = wave.mean(1, keepdim=True).pow(2).mean(2, keepdim=True).sqrt()
        codes = codec.quantizer.encode(codec.encode(wave / (mono + 1e-8)), 150, 6.0)
        assert torch.equal(codes.transpose(0, 1), model.encode(wave)[0][0])
        assert codec.quantizer.decode(codes).shape == z.shape


def test_level_is_lost_in_both_directions(model: torch.nn.Module) -> None:
    codec = Encodec48kHz(model.state_dict())
    wave = torch.randn(1, 2, 4 * 320)
    with torch.no_grad():
        latents = [codec.encode(gain * wave) for gain in (0.0, 1e-3, 1.0, 100.0)]
        outputs = [codec.decode(gain * latents[2]) for gain in (0.1, 1.0, 10.0)]
    for z in latents:
        assert z.std(correction=0).item() == pytest.approx(1.0, abs=1e-3)
    for out in outputs:
        assert out.pow(2).mean().sqrt().item() == pytest.approx(1.0, abs=1e-3)


def test_the_input_gain_is_that_of_the_package(model: torch.nn.Module) -> None:
    codec = Encodec48kHz(model.state_dict())
    model.set_target_bandwidth(6.0)
    wave = torch.randn(3, 2, 4 * 320) * torch.tensor([1.0, 0.1, 0.01])[:, None, None]
    with torch.no_grad():
        codes, scale = model.encode(wave)[0]
        gain = codec.input_gain(wave)
        torch.testing.assert_close(gain[:, 0], 1 / scale, rtol=1e-5, atol=0)
        assert torch.equal(codec.quantizer.encode(codec.encode(wave * gain), 150, 6.0).transpose(0, 1), codes)
        # The level matters: at a tenth of it the latents are others.
        z, quiet = codec.encode(wave * gain), codec.encode(0.1 * wave * gain)
    assert (z - quiet).norm() > 0.05 * z.norm()


def test_the_input_gain_is_bounded_for_silence_and_anti_phase() -> None:
    with torch.device("meta"):
        codec = Encodec48kHz()
    wave = 0.1 * torch.randn(1, 1, 3200)
    anti = torch.cat([wave, -wave], 1)
    for odd in (anti, 1e-6 * anti, torch.zeros(1, 2, 3200)):
        heard = odd * codec.input_gain(odd)
        assert torch.isfinite(codec.input_gain(odd)).all() and heard.square().mean().sqrt() < 4.01
    # Two unlike channels are no such case: their mono mean has exactly unit RMS.
    wide = torch.randn(1, 2, 3200)
    assert float((wide * codec.input_gain(wide)).mean(1).square().mean().sqrt()) == pytest.approx(1, rel=1e-5)


def test_what_cannot_be_coded_is_refused(model: torch.nn.Module) -> None:
    codec = Encodec48kHz(model.state_dict())
    wave, z = torch.zeros(1, 2, 640), torch.zeros(1, 128, 2)
    wave[0, 1, 7] = z[0, 5, 1] = float("nan")
    with pytest.raises(ValueError, match="1 of 1280 values of the wave are NaN or infinite"):
        codec.encode(wave)
    with pytest.raises(ValueError, match="1 of 256 values of the latents are NaN or infinite"):
        codec.decode(z)
    with pytest.raises(ValueError, match="pad the wave to 960 samples"):
        codec.encode(torch.zeros(1, 2, 641))


def test_construction_from_weights_leaves_the_random_generator_alone(state: dict[str, Tensor]) -> None:
    before = torch.get_rng_state()
    codec = Encodec48kHz(state)
    assert torch.equal(torch.get_rng_state(), before)
    assert not codec.training
    assert not any(value.is_meta for value in codec.state_dict().values())
    with torch.no_grad():
        codec.encoder.model[0].conv.conv.weight.zero_()
    assert state["encoder.model.0.conv.conv.weight"].abs().sum() > 0  # the caller's tensors are copied


def test_meta_device_costs_nothing() -> None:
    with torch.device("meta"):
        codec = Encodec48kHz()
    assert sum(p.numel() for p in codec.encoder.parameters()) == 7_428_336
    assert sum(p.numel() for p in codec.decoder.parameters()) == 7_427_958
    assert codec.encode(torch.zeros(1, 2, 640, device="meta")).shape == (1, 128, 2)


def test_state_of_another_network(state: dict[str, Tensor], tmp_path: Path) -> None:
    first, last = "encoder.model.0.conv.conv.bias", "decoder.model.15.conv.conv.weight"
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({k: v for k, v in state.items() if k not in (first, last)}, f"lacks {first} and 1 more"),
        ({**state, "lm.bias": torch.zeros(1)}, "has unexpected lm.bias"),
        ({**state, first: torch.zeros(3)}, f"has another shape or type for {first}"),
        ({**state, first: torch.zeros(32, dtype=torch.int64)}, f"has another shape or type for {first}"),
        ({**state, last: state[last] / 0}, f"NaN or infinite values in {last}"),
    ]
    for changed, message in cases:
        with refused(message):
            Encodec48kHz(changed)
    file = tmp_path / "x.th"
    torch.save(cases[0][0], file)
    with refused(file, cases[0][1], "get the file again from"):
        load_encodec_48khz(file)
