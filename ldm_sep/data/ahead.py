"""Items drawn ahead of a training by processes of their own."""

import multiprocessing
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ldm_sep.data.mixer import Drawn, Mixer
from ldm_sep.errors import ConfigError, DataError, reason

# Batches that each process keeps ready.
_READY = 4


class _Steps(Dataset[Drawn]):
    """The items of each step of one training process."""

    def __init__(self, mixer: Mixer, size: int, seed: int, rank: int) -> None:
        self.mixer, self.size, self.seed, self.rank = mixer, size, seed, rank

    def __getitem__(self, step: int) -> Drawn:
        return self.mixer.draw(self.size, self.seed, step, self.rank)


class Ahead:
    """``ahead(step, rank)``: the items that ``mixer.draw(size, seed, step, rank)`` gives, drawn by ``processes`` while
    the training computes. Steps are asked for one after the other up to ``steps``; another step starts them anew.

    The audio of ``mixer`` is in memory that the processes share, so it must be on the CPU, and so must its draws.
    """

    def __init__(self, mixer: Mixer, size: int, seed: int, steps: int, processes: int) -> None:
        self.mixer, self.size, self.seed, self.steps, self.processes = mixer, size, seed, steps, processes
        self._next: int | None = None
        self._items: Iterator[Drawn] = iter(())

    def __call__(self, step: int, rank: int) -> Drawn:
        if step != self._next:
            self._items = self._from(step, rank)
        self._next = step + 1
        try:
            return next(self._items)
        except (RuntimeError, EOFError, ConnectionError) as error:
            # A process that was killed, mostly for memory. What it had drawn is fetched from it, so that may end too.
            raise DataError(f"a process that draws items ended ({reason(error)}); use fewer --mixers") from None

    def _from(self, step: int, rank: int) -> Iterator[Drawn]:
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ConfigError("--mixers: this system cannot copy a process (fork); leave it out")
        with warnings.catch_warnings(), _own_children():
            # More processes than cores are the user's choice.
            warnings.simplefilter("ignore", UserWarning)
            # The copied process has the parent's mapped audio. A fresh one would be sent all of it.
            loader = DataLoader(
                _Steps(self.mixer, self.size, self.seed, rank),
                batch_size=None,
                sampler=range(step, self.steps),
                num_workers=self.processes,
                collate_fn=_as_drawn,
                prefetch_factor=_READY,
                multiprocessing_context="fork",
                worker_init_fn=_leave_signals,
            )
            return iter(loader)


def _as_drawn(drawn: Any) -> Any:
    """Items are a batch already."""
    return drawn


@contextmanager
def _own_children() -> Iterator[None]:
    """The loader's answer to the death of a process, an exception wherever the training is, is put away: the next
    wait for items finds it out too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _leave_signals(_: int) -> None:
    """The training answers an interruption, and ends its processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
