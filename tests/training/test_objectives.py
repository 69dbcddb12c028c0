"""What the trainings minimise, against closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ldm_sep.config import CodecTrainingConfig, SeparatorTrainingConfig
from ldm_sep.data.mixer import Batch
from ldm_sep.network.predictor import MaskPredictor
from ldm_sep.training.codec import CodecObjective, codec_batch
from ldm_sep.training.losses import MagnitudeLoss, thresholded_snr_loss
from ldm_sep.training.objectives import PostFilterObjective, PredictorObjective, SeparatorObjective
from ldm_sep.training.pairs import Pairs, make_pairs
from ldm_sep.training.separator import draw_step

SHAPE = (3, 2, 4096)
STD = torch.tensor([[[1.0], [3.0]]])
TIMES = torch.tensor([0.05, 0.4, 1.0])
TRUTH = torch.tensor([False, False, False])


def waves(seed: int) -> Tensor:
    return 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def settings(**changes: object) -> SeparatorTrainingConfig:
    return SeparatorTrainingConfig(stage=1, steps=1, batch_size=3, seconds=1, learning_rate=1, **changes)


def pairs(vocals: Tensor, mixture: Tensor) -> Pairs:
    """As a separator of wave-latents and no predictor makes them."""
    return make_pairs(Separator(vocals), vocals, mixture, Pairs._fields, None)


class Separator:
    """Latents are the wave itself; ``v_hat`` is what the network answers."""

    def __init__(self, v_hat: Tensor, refines: bool = False) -> None:
        self.v_hat, self.refines, self.level_head = v_hat, refines, None
        self.codec = SimpleNamespace(sample_rate=16000)
        self.whitening = SimpleNamespace(std=STD)

    def encode(self, wave: Tensor) -> Tensor:
        return wave

    def conditioning(self, wave: Tensor, estimate: None) -> Tensor:
        return wave

    def predict_v(self, z_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return self.v_hat

    def decode(self, z: Tensor, estimate: None) -> Tensor:
        return z


def velocity(vocals: Tensor, mixture: Tensor, noise: Tensor, t: Tensor) -> np.ndarray:
    """v = alpha noise - sigma z0 for latents at the level of a mixture of RMS 0.1."""
    gain = 0.1 / np.sqrt(np.square(mixture.numpy()).mean((1, 2), keepdims=True))
    angle = np.pi / 2 * t.numpy()[:, None, None]
    return np.cos(angle) * noise.numpy() - np.sin(angle) * vocals.numpy() * gain


@pytest.mark.parametrize(("max_snr", "power"), [(None, 0.0), (5.0, 0.0), (None, 1.0), (5.0, 0.5)])
def test_the_v_loss_is_equation_9_with_its_weights(max_snr: float | None, power: float) -> None:
    vocals, mixture, noise = waves(0), waves(1), torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    v_hat = waves(3)
    objective = SeparatorObjective(Separator(v_hat), settings(max_snr=max_snr, channel_weight_power=power))
    loss = objective(pairs(vocals, mixture), noise, TIMES, TRUTH)["loss"]
    error = np.square(v_hat.numpy() - velocity(vocals, mixture, noise, TIMES))
    if max_snr is not None:
        snr = 1 / np.tan(np.pi / 2 * TIMES.numpy().astype(np.float64)) ** 2
        error = error * np.minimum(1, (1 + max_snr) / (1 + snr))[:, None, None]
    channels = STD.numpy() ** power
    assert float(loss) == pytest.approx((error * channels / channels.mean()).mean(), rel=1e-4)


def test_the_decoder_loss_hears_the_posterior_mean_and_only_there() -> None:
    vocals, mixture, noise = waves(0), waves(1), waves(2)
    v = torch.from_numpy(velocity(vocals, mixture, noise, TIMES)).float()
    terms = []
    for factor in (1.0, 0.5):
        objective = SeparatorObjective(Separator(factor * v), settings(decoder_weight=1.0, outline_weight=0.0))
        terms.append(float(objective(pairs(vocals, mixture), noise, TIMES, TRUTH)["decoder_loss"]))
    # Only the third item is at t = 1: there -v is the vocals, of which all is heard, and then half.
    wanted, floor = np.square(vocals[2].numpy()).mean(), 1e-3 * np.square(mixture[2].numpy()).mean()
    assert terms[0] == pytest.approx(np.log10(floor / (wanted + floor)), abs=1e-3)
    assert terms[1] == pytest.approx(np.log10((wanted / 4 + floor) / (wanted + floor)), abs=1e-3)
    early = objective(pairs(vocals, mixture), noise, torch.full((3,), 0.5), TRUTH)
    assert float(early["decoder_loss"]) == 0


def test_thresholded_snr_is_the_snr_in_bels_down_to_its_floor() -> None:
    reference, mixture = waves(0), waves(1)
    quieter = reference * (1 - 10**-0.5)
    assert float(thresholded_snr_loss(quieter, reference, mixture, floor=1e-9)) == pytest.approx(-1, abs=1e-3)
    assert float(thresholded_snr_loss(reference, reference, mixture)) == pytest.approx(-3, abs=0.05)
    # An estimate as loud as the mixture over a silent reference costs 30 dB.
    assert float(thresholded_snr_loss(mixture, 0 * reference, mixture)) == pytest.approx(3, abs=0.01)


def test_the_predictor_learns_its_mask_and_not_the_power_that_it_is_taken_to() -> None:
    torch.manual_seed(0)
    predictor = MaskPredictor(16000, 256, 64, [4, 8], exponent=0.5)
    separator = SimpleNamespace(codec=SimpleNamespace(sample_rate=16000))
    separator.estimate = lambda mixture, speeds, power=None: predictor(mixture, speeds, power)
    vocals, mixture = waves(1), waves(2)
    with torch.no_grad():
        losses = PredictorObjective(separator, settings())(vocals, mixture, torch.tensor(1.0))
        gain = 0.1 / mixture.square().mean((1, 2), keepdim=True).sqrt()
        masked = predictor(mixture * gain, (1.0,), power=1.0)
    wanted = thresholded_snr_loss(masked, vocals * gain, mixture * gain)
    assert float(losses["snr_loss"]) == pytest.approx(float(wanted), rel=1e-5)


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.7))

    def forward(self, vocals: Tensor, mixture: Tensor) -> Tensor:
        return self.gain * vocals


def test_the_post_filter_learns_from_full_bands_alone() -> None:
    post_filter = Gain()
    separator = SimpleNamespace(codec=SimpleNamespace(sample_rate=16000), get_submodule=lambda name: post_filter)
    objective = PostFilterObjective(separator, settings())
    vocals = waves(1)
    losses = objective(vocals[:1], vocals[:1], vocals[:1])
    full = float(losses["loss"].detach())
    assert float(losses["magnitude_loss"].detach()) == pytest.approx(
        float(MagnitudeLoss(16000)(0.7 * vocals[:1], vocals[:1])), rel=1e-6
    )
    narrow = vocals.clone()
    narrow[1:] = torch.fft.irfft(torch.fft.rfft(vocals[1:])[..., :512], 4096)
    assert float(objective(narrow, vocals, narrow)["loss"].detach()) == pytest.approx(full, rel=1e-6)
    # None counts, and the step is still one.
    none = objective(narrow[1:], vocals[1:], narrow[1:])
    assert none.keys() == losses.keys()
    none["loss"].backward()
    assert post_filter.gain.grad == 0


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_items_is_drawn_at_pure_noise(share: float) -> None:
    dials = settings(terminal_share=share, seed=3)
    silence = SimpleNamespace(z0=torch.zeros(50, 4, 4))
    drawn = [draw_step(lambda *_: silence, dials, step, 0) for step in range(20)]
    times = torch.cat([t for _, _, t, _ in drawn])
    assert float((times == 1).float().mean()) == pytest.approx(share, abs=0.05)
    others = times[times < 1]
    if len(others):
        assert float(others.mean()) == pytest.approx(0.5, abs=0.03) and float(others.min()) > 0
    noise = torch.stack([n for _, n, _, _ in drawn])
    assert noise.shape == (20, 50, 4, 4) and float(noise.std()) == pytest.approx(1, abs=0.02)
    again = draw_step(lambda *_: silence, dials, 7, 0)
    assert torch.equal(again[1], drawn[7][1]) and not torch.equal(drawn[6][1], drawn[7][1])


def test_a_refiner_is_asked_for_the_truth_whatever_is_noised() -> None:
    vocals, mixture, noise = waves(0), waves(1), waves(2)
    v_hat = waves(3)
    seen = []

    class Listening(Separator):
        def predict_v(self, z_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
            seen.append(z_t)
            return self.v_hat

    from_estimate = torch.tensor([True, False, True])
    objective = SeparatorObjective(Listening(v_hat, refines=True), settings(latest=0.4))
    loss = objective(pairs(vocals, mixture), noise, 0.4 * TIMES, from_estimate)["loss"]
    gain = 0.1 / np.sqrt(np.square(mixture.numpy()).mean((1, 2), keepdims=True))
    angle = np.pi / 2 * 0.4 * TIMES.numpy()[:, None, None]
    truth, estimate = vocals.numpy() * gain, mixture.numpy() * gain
    noised = np.where(from_estimate[:, None, None], estimate, truth)
    z_t = np.cos(angle) * noised + np.sin(angle) * noise.numpy()
    assert np.allclose(seen[0], z_t, atol=1e-6)
    error = np.cos(angle) * z_t - np.sin(angle) * v_hat.numpy() - truth
    assert float(loss) == pytest.approx(np.square(error).mean(), rel=1e-4)


def test_refiners_see_small_times_and_both_kinds_of_states() -> None:
    dials = settings(latest=0.1, estimate_share=0.5, terminal_share=0.3, seed=1)
    silence = SimpleNamespace(z0=torch.zeros(50, 4, 4))
    drawn = [draw_step(lambda *_: silence, dials, step, 0) for step in range(40)]
    times, states = (torch.cat([d[k] for d in drawn]) for k in (2, 3))
    assert float(times.min()) > 0 and float(times.max()) == pytest.approx(0.1)
    assert float((times == times.max()).float().mean()) == pytest.approx(0.3, abs=0.04)
    assert float(states.float().mean()) == pytest.approx(0.5, abs=0.04)


def codec_objective(decoder: torch.nn.Module, **weights: float) -> CodecObjective:
    codec = torch.nn.Module()
    codec.encoder, codec.decoder, codec.sample_rate = torch.nn.Identity(), decoder, 16000
    settings = CodecTrainingConfig(steps=1, batch_size=3, seconds=1, learning_rate=1, **weights)
    return CodecObjective(codec, settings)


def test_a_perfect_codec_costs_nothing_and_noise_what_its_level_says() -> None:
    wave, noise = waves(0), torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    objective = codec_objective(torch.nn.Identity())
    assert float(objective(wave, noise, torch.zeros(3))["loss"]) == 0
    level = torch.tensor([0.0, 0.1, 0.3])
    losses = objective(wave, noise, level)
    x = wave.numpy()
    std = x.std((0, 2), keepdims=True)
    added = np.abs(noise.numpy() * std * level.numpy()[:, None, None])
    expected = (added / (np.abs(x).mean((1, 2), keepdims=True) + 1e-3)).mean()
    assert float(losses["waveform"]) == pytest.approx(expected, rel=1e-3)
    weighted = codec_objective(torch.nn.Identity(), waveform_weight=2.0, spectral_weight=0.5)(wave, noise, level)
    assert float(weighted["loss"]) == pytest.approx(2 * expected + 0.5 * float(losses["spectral"]), rel=1e-3)


def test_a_codecs_batch_has_vocals_accompaniment_and_mixture_in_turn() -> None:
    vocals, accompaniment = waves(0), waves(1)
    batch = Batch(vocals, accompaniment)
    kinds = [vocals, accompaniment, batch.mixture]
    for step in range(3):
        wave = codec_batch(batch, step)
        for item in range(3):
            assert torch.equal(wave[item], kinds[(item + step) % 3][item])
