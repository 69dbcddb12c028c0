"""The separator as one module: anchor, stages, whitening, and the level path of codecs that lose the level."""

import pytest
import torch
from small_codecs import LevelLosingCodec

from ldm_sep.codec.spectral import SpectralCodec, SpectralSizes
from ldm_sep.config import Stage
from ldm_sep.errors import CheckpointError
from ldm_sep.method.level import LevelHead, normalising_gain, relative_level_db, set_level
from ldm_sep.method.model import LatentSeparator
from ldm_sep.method.whitening import Whitening
from ldm_sep.network.levels import LevelSizes, UNetSizes
from ldm_sep.network.predictor import MaskPredictor
from ldm_sep.network.unet import UNet1d
from ldm_sep.signal.loudness import rms


def small_codec(exponent: float = 1.0) -> SpectralCodec:
    return SpectralCodec(16000, SpectralSizes(160, 20, 6, 4, 2, width=16, blocks=1, exponent=exponent))


def small_separator(
    gated: bool, predicting: bool = False, exponent: float = 1.0, refines: bool = False
) -> LatentSeparator:
    torch.manual_seed(0)
    codec = small_codec(exponent)
    sizes = UNetSizes(32, [LevelSizes(16, 2, 1, inject=True)], 16, 64 if gated else 32, 64 if predicting else 32)
    predictor = MaskPredictor(16000, 256, 80, (4, 8)) if predicting else None
    return LatentSeparator(codec, UNet1d(sizes), gated_anchor=gated, refines=refines, predictor=predictor).eval()


@pytest.fixture
def mixture() -> torch.Tensor:
    return 0.1 * torch.randn(2, 2, 160 * 60, generator=torch.Generator().manual_seed(1))


def test_an_untrained_gate_is_half_open_on_raw_latents(mixture: torch.Tensor) -> None:
    separator = small_separator(gated=True)
    separator.whitening.measure([separator.codec.encoder(mixture).detach()])
    noise = torch.randn(2, 32, 60, generator=torch.Generator().manual_seed(2))
    estimate = separator.separate(mixture, [noise], 1)
    gain = normalising_gain(mixture)
    expected = separator.codec.decode(0.5 * separator.codec.encode(mixture * gain)) / gain
    assert torch.allclose(estimate, expected, atol=1e-5)


def test_without_a_gate_the_network_alone_decides(mixture: torch.Tensor) -> None:
    separator = small_separator(gated=False)
    z = torch.randn(2, 32, 60, generator=torch.Generator().manual_seed(2))
    # A new network returns zero.
    assert not separator.predict_v(z, torch.ones(2), z).any()


@pytest.mark.parametrize(("start", "steps"), [(0.1, 1), (0.1, 4), (1.0, 3)])
def test_a_new_refiner_leaves_the_estimate_as_it_is(mixture: torch.Tensor, start: float, steps: int) -> None:
    separator = small_separator(gated=True, predicting=True, refines=True)
    separator.whitening.measure([separator.codec.encoder(mixture).detach()])
    cond, estimate = separator.condition(mixture)
    noise = torch.randn(2, 32, 60, generator=torch.Generator().manual_seed(2))
    z0 = separator.sample(cond, noise, steps, start)
    assert torch.allclose(z0, separator.encode(estimate), atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_refiner_that_knows_the_correction_gives_the_truth(mixture: torch.Tensor, steps: int) -> None:
    separator = small_separator(gated=True, predicting=True, refines=True)
    cond, estimate = separator.condition(mixture)
    truth = separator.encode(0.5 * mixture)
    heard = []

    class Knowing(torch.nn.Module):
        def forward(self, z_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
            heard.append((z_t, t))
            correction = truth - separator.encode(estimate)
            return torch.cat([correction, torch.zeros_like(correction)], 1)

    separator.unet = Knowing()
    noise = torch.randn(2, 32, 60, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(separator.sample(cond, noise, steps, 0.1), truth, atol=1e-4)
    # It began at the estimate, with a little noise.
    z_start, t = heard[0]
    angle = torch.tensor(torch.pi / 2 * 0.1)
    assert torch.allclose(t, torch.full((2,), 0.1))
    assert torch.allclose(z_start, angle.cos() * separator.encode(estimate) + angle.sin() * noise, atol=1e-5)


def test_stages_choose_what_is_trained() -> None:
    separator = small_separator(gated=True)
    conditioner = set(separator.conditioner.parameters())
    for stage, trained in ((Stage.UNET, False), (Stage.CONDITIONER, True)):
        separator.set_stage(stage)
        groups = separator.parameter_groups(1e-3, 0.1)
        listed = {p for group in groups for p in group["params"]}
        assert conditioner.issubset(listed) is trained
        assert not any(p.requires_grad for p in separator.codec.parameters())
        assert all(p.requires_grad for p in listed)
        assert listed == {p for p in separator.parameters() if p.requires_grad}
    assert [group["lr"] for group in groups] == [1e-3, pytest.approx(1e-4)]
    with pytest.raises(ValueError, match="there is none"):
        separator.set_stage(Stage.POST_FILTER)


def test_whitening_gives_zero_mean_and_unit_spread_and_keeps_dead_channels_finite() -> None:
    z = torch.randn(4, 6, 200, generator=torch.Generator().manual_seed(3)) * torch.arange(6).float()[:, None] + 2
    whitening = Whitening(6)
    whitening.measure([z[:2], z[2:]])
    white = whitening(z)
    assert white.mean((0, 2)).abs().max() < 1e-4
    assert torch.allclose(white[:, 1:].std((0, 2)), torch.ones(5), atol=1e-3)
    assert torch.isfinite(white).all()
    assert torch.allclose(whitening.inverse(white), z, atol=1e-4)


def test_a_codec_that_loses_the_level_needs_a_head() -> None:
    codec = LevelLosingCodec()
    unet = UNet1d(UNetSizes(8, [LevelSizes(8, 1, 1, inject=True)], 16))
    with pytest.raises(ValueError, match="level head is needed"):
        LatentSeparator(codec, unet)


def level_losing_separator() -> LatentSeparator:
    torch.manual_seed(0)
    unet = UNet1d(UNetSizes(8, [LevelSizes(8, 1, 1, inject=True)], 16))
    return LatentSeparator(LevelLosingCodec(), unet, level_head=LevelHead(8)).eval()


def test_a_codec_that_loses_the_level_hears_vocals_and_mixture_each_at_the_level_it_was_made_for() -> None:
    separator = level_losing_separator()
    wave = torch.randn(2, 2, 800, generator=torch.Generator().manual_seed(1))
    mono = wave.mean(1, keepdim=True).square().mean(2, keepdim=True).sqrt()
    with torch.no_grad():
        separator.whitening.mean.fill_(0.1)
        expected = separator.whitening(separator.codec.encode(2 * wave / mono))
        for gain in (1e-2, 0.1, 1.0):
            torch.testing.assert_close(separator.encode(gain * wave), expected, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(separator.condition(gain * wave)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_codec_that_keeps_the_level_hears_waves_as_they_are(mixture: torch.Tensor) -> None:
    separator = small_separator(gated=True)
    for gain in (0.1, 3.0):
        assert torch.equal(separator.encode(gain * mixture), separator.codec.encode(gain * mixture))


def test_silence_and_anti_phase_give_finite_latents_of_a_codec_that_loses_the_level() -> None:
    separator = level_losing_separator()
    wave = torch.randn(1, 1, 800, generator=torch.Generator().manual_seed(1))
    for odd in (torch.zeros(1, 2, 800), torch.cat([wave, -wave], 1)):
        assert torch.isfinite(separator.encode(odd)).all()


def test_the_level_comes_from_the_head_where_the_codec_loses_it() -> None:
    torch.manual_seed(0)
    separator = level_losing_separator()
    mixture = 0.05 * torch.randn(1, 2, 800, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, 8, 100, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        separator.level_head.out.weight.zero_()
        separator.level_head.out.bias.copy_(torch.tensor([-0.4, 1.0]))
    vocals = separator.separate(mixture, [noise], 2)
    assert float(relative_level_db(vocals, mixture)) == pytest.approx(-10, abs=0.01)
    assert torch.allclose(separator.separate(3 * mixture, [noise], 2), 3 * vocals, atol=1e-5)
    with torch.no_grad():
        separator.level_head.out.bias[1] = -1.0
    assert not separator.separate(mixture, [noise], 2).any()


def test_the_level_head_learns_level_and_presence() -> None:
    torch.manual_seed(0)
    head = LevelHead(4, width=16)
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    loudness = torch.tensor([0.1, 0.4, 1.0, 0.0])
    z0 = torch.randn(4, 4, 50) * loudness[:, None, None]
    target = torch.tensor([-20.0, -8.0, 0.0, -80.0])
    for _ in range(200):
        optimizer.zero_grad()
        head.loss(z0, torch.zeros_like(z0), target).backward()
        optimizer.step()
    level, presence = head(z0, torch.zeros_like(z0))
    assert (level[:3] - target[:3]).abs().max() < 3
    assert presence[:3].min() > 0 > presence[3]


def test_levels_of_anti_phase_stereo_are_those_of_its_channels() -> None:
    wave = torch.randn(1, 1, 1000, generator=torch.Generator().manual_seed(0))
    anti = torch.cat([wave, -wave], 1)
    assert float(rms(anti)) == pytest.approx(float(rms(wave)), rel=1e-5)
    assert float(rms(anti * normalising_gain(anti))) == pytest.approx(0.1, rel=1e-4)
    assert float(normalising_gain(torch.zeros(1, 2, 100))) == pytest.approx(1000)
    set_to = set_level(anti, 2 * anti, torch.tensor([-6.0206]), torch.tensor([1.0]))
    assert torch.allclose(set_to, anti, rtol=1e-3)


def test_values_that_are_not_finite_never_leave_the_model(mixture: torch.Tensor) -> None:
    separator = small_separator(gated=True)
    next(separator.unet.parameters()).data.fill_(torch.nan)
    # It concerns this song alone: a folder of songs goes on after a CheckpointError.
    with pytest.raises(CheckpointError, match="not finite"):
        separator.separate(mixture, [torch.zeros(2, 32, 60)], 1)


@pytest.mark.parametrize("exponent", [0.5, 0.7])
def test_the_gate_is_a_mask_of_amplitudes_whatever_power_of_them_the_latents_are(
    mixture: torch.Tensor, exponent: float
) -> None:
    separator = small_separator(gated=True, exponent=exponent)
    # Without anything learned or replicated, half the latents' amplitudes are half the wave's.
    noise = torch.randn(2, 32, 60, generator=torch.Generator().manual_seed(2))
    gain = normalising_gain(mixture)
    expected = separator.codec.decode(0.5**exponent * separator.codec.encode(mixture * gain)) / gain
    assert torch.allclose(separator.separate(mixture, [noise], 1), expected, atol=1e-5)


def test_several_noises_give_the_mean_of_their_latents(mixture: torch.Tensor) -> None:
    separator = small_separator(gated=True)
    torch.nn.init.normal_(separator.unet.levels[0].gate.bias, std=0.5)
    noises = torch.randn(3, 2, 32, 60, generator=torch.Generator().manual_seed(2))
    gain = normalising_gain(mixture)
    cond, _ = separator.condition(mixture * gain)
    with torch.no_grad():
        mean = sum(separator.sample(cond, noise, 2) for noise in noises) / 3
        expected = separator.codec.decode(separator.whitening.inverse(mean)) / gain
    assert torch.allclose(separator.separate(mixture, list(noises), 2), expected, atol=1e-5)
    assert not torch.allclose(separator.separate(mixture, list(noises[:1]), 2), expected, atol=1e-4)


def test_a_new_network_leaves_the_predictors_estimate_as_it_is(mixture: torch.Tensor) -> None:
    separator = small_separator(gated=True, predicting=True, exponent=0.5)
    separator.whitening.measure([separator.codec.encoder(mixture).detach()])
    level = mixture * normalising_gain(mixture)
    cond, estimate = separator.condition(level)
    assert torch.equal(cond[:, :32], separator.whitening(separator.codec.encode(level)))
    noise = torch.randn(2, 32, 60, generator=torch.Generator().manual_seed(2))
    assert torch.equal(estimate, separator.predictor(level))
    expected = separator.codec.decode(separator.codec.encode(estimate)) / normalising_gain(mixture)
    assert torch.allclose(separator.separate(mixture, [noise], 1), expected, atol=1e-5)
    # With the residual nothing of it is lost in the codec, ...
    separator.codec_residual = True
    gain = normalising_gain(mixture)
    assert torch.allclose(separator.separate(mixture, [noise], 1), estimate / gain, atol=1e-5)
    # ... and what diffusion changes is changed.
    torch.nn.init.normal_(separator.unet.levels[0].gate.bias, std=0.5)
    changed = separator.separate(mixture, [noise], 1)
    separator.codec_residual = False
    difference = separator.separate(mixture, [noise], 1) - expected
    assert difference.abs().max() > 1e-3
    assert torch.allclose(changed - estimate / gain, difference, atol=1e-5)


def test_each_stage_trains_its_part_of_a_predicting_separator() -> None:
    separator = small_separator(gated=True, predicting=True)
    predictor, unet, conditioner = (
        set(part.parameters()) for part in (separator.predictor, separator.unet, separator.conditioner)
    )
    for stage, rates in (
        (Stage.PREDICTOR, {1e-3: predictor}),
        (Stage.UNET, {1e-3: unet}),
        (Stage.CONDITIONER, {1e-3: unet, 1e-4: conditioner}),
    ):
        separator.set_stage(stage)
        groups = separator.parameter_groups(1e-3, 0.1)
        assert [set(g["params"]) for g in groups] == list(rates.values())
        assert [g["lr"] for g in groups] == pytest.approx(list(rates))
        assert {p for p in separator.parameters() if p.requires_grad} == set().union(*rates.values())
    with pytest.raises(ValueError, match="there is none"):
        small_separator(gated=True).set_stage(Stage.PREDICTOR)
