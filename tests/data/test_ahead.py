"""Items that processes draw ahead are those that would be drawn without them."""

import multiprocessing
import os
import signal
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
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


@pytest.fixture
def end() -> Event:
    return multiprocessing.get_context("fork").Event()


@pytest.fixture
def dying(mixer: Mixer, end: Event, monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """Items of a process that is killed at ``end``, before it has drawn the fourth."""
    draw, here = mixer.draw, os.getpid()

    def dies(size: int, seed: int, step: int, rank: int) -> object:
        if step == 3 and os.getpid() != here:
            end.wait()
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(size, seed, step, rank)

    monkeypatch.setattr(mixer, "draw", dies)
    return Ahead(mixer, size=1, seed=0, steps=9, processes=1)


def test_a_process_that_was_killed_is_one_line(dying: Ahead, end: Event) -> None:
    end.set()
    with pytest.raises(DataError, match=r"a process that draws items ended \(.+\); use fewer --mixers"):
        for step in range(9):
            dying(step, 0)


def test_so_is_one_whose_end_is_not_known_yet(dying: Ahead, end: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    dying(0, 0)
    end.set()
    wait([child.sentinel for child in multiprocessing.active_children()])
    is_alive, not_known_yet = BaseProcess.is_alive, iter([True])
    monkeypatch.setattr(BaseProcess, "is_alive", lambda process: next(not_known_yet, False) or is_alive(process))
    # Its items are in the queue, but the memory that they name has gone with it; or it had not sent them yet.
    with pytest.raises(DataError, match=r"a process that draws items ended \(.+\); use fewer --mixers"):
        dying(1, 0)
