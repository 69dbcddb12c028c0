"""A post-filter changes the vocals alone: the instrumental stays what is left of the song beside the plain vocals."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import RATE, mixture

from ldm_sep.data.items import Item
from ldm_sep.separation import Options, Separator
from ldm_sep.separation.progress import Progress
from ldm_sep.separation.retake import renew_stems
from ldm_sep.training.validation import separate_item

# Two steps, so that the seed matters; windows of a second, so that there are several.
PLAIN = Options(steps=2, segment=1.0)
FILTERED = replace(PLAIN, post_filter=True)


class Blend(torch.nn.Module):
    """A post-filter whose work can be told from the outside."""

    def forward(self, vocals: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
        return 0.5 * vocals + 0.1 * mixture


@pytest.fixture(scope="module")
def filtering(tiny_separator: Separator) -> Separator:
    model = copy.deepcopy(tiny_separator.model)
    model.post_filter = Blend()
    return Separator(tiny_separator.manifest, model, torch.device("cpu"), "filtering")


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("given", [False, True])
def test_the_instrumental_is_the_plain_one_bit_by_bit(
    filtering: Separator, rate: int, channels: int, given: bool
) -> None:
    wave = mixture(4)[:channels]
    estimate = 0.5 * wave if given else None
    plain, natural = (filtering.separate(wave, rate, how, estimate=estimate) for how in (PLAIN, FILTERED))
    assert natural.vocals.shape == natural.instrumental.shape == wave.shape
    assert np.array_equal(natural.instrumental, plain.instrumental)
    if rate == RATE:
        # No conversion of the rate, which takes something off the mixture too.
        assert np.allclose(natural.vocals, 0.5 * plain.vocals + 0.1 * wave, atol=1e-5)


def test_a_model_without_a_post_filter_validates_as_it_is(tiny_separator: Separator) -> None:
    item = Item("song", "group", mixture(2), 0.5 * mixture(2))
    plan = tiny_separator.plan(PLAIN)
    plain, asked = (
        separate_item(tiny_separator.model, item, plan.model_copy(update={"post_filter": on}), torch.device("cpu"))
        for on in (False, True)
    )
    assert plain.shape == item.mixture.shape and np.array_equal(plain, asked)


def test_silence_stays_silence(filtering: Separator) -> None:
    wave = mixture(4)
    wave[:, 2 * RATE :] = 0
    stems = filtering.separate(wave, RATE, FILTERED)
    assert not stems.vocals[:, 3 * RATE + RATE // 4 :].any() and not stems.instrumental[:, 3 * RATE + RATE // 4 :].any()


def test_a_stretch_is_renewed_in_both_stems(filtering: Separator, tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    sf.write(song, mixture(4).T, RATE)
    filtering.separate_file(song, tmp_path / "before", FILTERED)
    stretch = replace(FILTERED, renewed=((1.5, 2.25, 7),))
    renew_stems(filtering, song, tmp_path / "before", tmp_path / "after", stretch, Progress(None))
    filtering.separate_file(song, tmp_path / "whole", stretch)
    for stem in ("vocals", "instrumental"):
        before, after, whole = (sf.read(tmp_path / f"{place}/{stem}.wav")[0] for place in ("before", "after", "whole"))
        # Where old and new are cross-faded, the old was rounded to 24 bits.
        assert np.abs(after - whole).max() <= 2**-22
        changed = np.flatnonzero((before != after).any(1)) / RATE
        assert changed.min() >= 1.5 and changed.max() < 2.25
