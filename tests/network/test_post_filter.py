"""The post-filter: what its gains may and may not do."""

import math

import pytest
import torch

from ldm_sep.errors import ConfigError
from ldm_sep.network.post_filter import PostFilter

RATE = 16000


def small(**changes: object) -> PostFilter:
    torch.manual_seed(0)
    return PostFilter(**{"sample_rate": RATE, "window": 512, "hop": 128, "channels": (4, 8), **changes}).eval()


def noise(samples: int, seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(2, 2, samples, generator=torch.Generator().manual_seed(seed))


def with_gains(own: float, mixture: float) -> PostFilter:
    network = small()
    with torch.no_grad():
        network.net.last[2].bias.copy_(torch.tensor([own, own, mixture, mixture]))
    return network


@pytest.mark.parametrize("samples", [1, 127, 128, 1000, 16001])
def test_a_new_one_changes_next_to_nothing_at_any_length(samples: int) -> None:
    vocals, mixture = noise(samples, 0), noise(samples, 1)
    change = small()(vocals, mixture) - vocals
    assert change.square().mean() < 1e-4 * mixture.square().mean()


def test_the_gains_are_those_of_vocals_and_mixture() -> None:
    vocals, mixture = noise(9000, 0), noise(9000, 1)
    lowered = with_gains(math.log(0.5), -20.0)(vocals, mixture)
    torch.testing.assert_close(lowered, 0.5 * vocals, atol=1e-3, rtol=0)
    added = with_gains(0.0, math.log(0.25))(vocals, mixture)
    torch.testing.assert_close(added, vocals + 0.25 * mixture, atol=1e-5, rtol=0)


def test_never_more_of_the_mixture_than_there_is() -> None:
    mixture = noise(9000, 1)
    torch.testing.assert_close(with_gains(0.0, 50.0)(0 * mixture, mixture), mixture, atol=1e-5, rtol=0)


def test_silence_stays_silent() -> None:
    silence = torch.zeros(1, 2, 3000)
    assert not small()(silence, silence).any()


def test_it_learns_the_level_of_hiss_between_tones() -> None:
    network = small(channels=(8, 16))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        tone = 0.1 * torch.sin(2 * torch.pi * 440 * torch.arange(4000) / RATE).expand(4, 2, -1)
        return tone, 0.03 * torch.randn(4, 2, 4000, generator=generator)

    def distance(vocals: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(256)
        a, b = (torch.stft(w.flatten(0, 1), 256, window=window, return_complex=True).abs() for w in (vocals, wanted))
        return ((a + 1e-4) / (b + 1e-4)).log().abs().mean()

    # Of the hiss the voice has a tenth, and the estimate none.
    for _ in range(60):
        tone, hiss = batch()
        loss = distance(network(tone, tone + hiss), tone + 0.1 * hiss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tone, hiss = batch()
    with torch.no_grad():
        after = distance(network(tone, tone + hiss), tone + 0.1 * hiss)
    assert after < 0.3 * distance(tone, tone + 0.1 * hiss)


@pytest.mark.parametrize(("changes", "needle"), [({"window": 511}, "even"), ({"channels": (6, 8)}, "multiples of 4")])
def test_impossible_sizes_are_refused(changes: dict[str, object], needle: str) -> None:
    with pytest.raises(ConfigError, match=f"post_filter: .*{needle}"):
        small(**changes)
