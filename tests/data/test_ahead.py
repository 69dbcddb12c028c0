"""Items that processes draw ahead are those that would be drawn without them."""

import os
import signal
from pathlib import Path

import pytest
import torch

from ldm_sep.config import MixConfig
from ldm_sep.data.ahead import Ahead
from ldm_sep.data.decoded import DecodedAudio
from ldm_sep.data.layouts import read_tracks
from ldm_sep.data.mixer import Mixer
from ldm_sep.errors import DataError

CPU = torch.device("cpu")


@pytest.fixture
def mixer(stems_folder: Path, tmp_path: Path) -> Mixer:
    decoded = DecodedAudio(read_tracks("stems", stems_folder), 16000, tmp_path / "cache", CPU)
    mix = MixConfig(real=0.5, reverb=0.5, compress=0.5, equaliser_db=2.0, silent=0.3, silent_ramp=3)
    return Mixer(decoded, 4000, mix)


def test_two_processes_draw_what_one_training_would(mixer: Mixer) -> None:
    ahead = Ahead(mixer, size=3, seed=5, steps=20, processes=2)
    # The last ones as after --resume.
    for step in (0, 1, 2, 9, 10):
        batch, plain = mixer.varied(ahead(step, 1), step), mixer.batch(3, 5, step, rank=1)
        assert torch.equal(batch.vocals, plain.vocals) and torch.equal(batch.mixture, plain.mixture), step


def test_a_process_that_was_killed_is_one_line(mixer: Mixer, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, here = mixer.draw, os.getpid()

    def dies(size: int, seed: int, step: int, rank: int) -> object:
        if step == 3 and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(size, seed, step, rank)

    monkeypatch.setattr(mixer, "draw", dies)
    ahead = Ahead(mixer, size=1, seed=0, steps=9, processes=1)
    with pytest.raises(DataError, match=r"a process that draws items ended \(.*\); use fewer --mixers"):
        for step in range(9):
            ahead(step, 0)
