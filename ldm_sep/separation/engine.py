"""Windows through the model: side by side on the cores of a CPU, or in one batch on a GPU."""

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from ldm_sep.method.model import LatentSeparator
from ldm_sep.separation.band_limit import BandLimit
from ldm_sep.separation.options import Plan
from ldm_sep.separation.phase import in_phase
from ldm_sep.signal.loudness import is_silent
from ldm_sep.signal.noise import noise_field
from ldm_sep.signal.windows import Window


class WindowEngine:
    """The vocals of windows, as ``plan`` says. A context manager.

    A window is a mixture ``(C, L)``, or ``(2 C, L)`` with the vocals of another separator below it. Its vocals have the
    mixture's shape, or twice its channels where they go through a post-filter: below them they are as they were before.

    On a CPU up to ``plan.threads`` windows are in flight, each computed by one thread. Two threads in one window would
    wait for each other at every layer, which costs several times as much on a busy machine, and the samples would
    depend on their number. On other devices up to ``plan.batch_size`` windows of one length are one batch.
    ``within``: seconds of the stream beyond which nothing is needed, and zeros are given.
    """

    def __init__(
        self,
        model: LatentSeparator,
        plan: Plan,
        device: torch.device,
        within: tuple[float, float] = (0.0, math.inf),
    ) -> None:
        self.model, self.plan, self.device = model, plan, device
        self._first, self._last = (seconds * model.codec.sample_rate for seconds in within)
        self._limit = BandLimit(model.codec.sample_rate, model.codec.channels)
        self._post_filter = plan.post_filter and model.post_filter is not None
        self.outputs = 1 + self._post_filter
        on_cpu = device.type == "cpu"
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(plan.threads, initializer=_prepare_thread) if on_cpu else None

    def __enter__(self) -> "WindowEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            # A generator that its user forgot may be closed by the garbage collection of any thread, also one of the
            # pool, which cannot wait for itself.
            self._pool.shutdown(wait=not getattr(_of_pool, "yes", False), cancel_futures=True)
            # The threads of the pool have set it for those that are started from now on.
            torch.set_num_threads(self._threads)

    def run(self, windows: Iterable[Window]) -> Iterator[np.ndarray]:
        """Vocals of each window, in order, as they become ready; a few more windows are taken than are given.

        CheckpointError if the networks give values that are not finite.
        """
        if self._pool is None:
            for group in _of_one_shape(windows, self.plan.batch_size):
                yield from self._compute(group, [self._limit.update(window.wave) for window in group])
            return
        working: deque[Future[Sequence[np.ndarray]]] = deque()
        for window in windows:
            working.append(self._pool.submit(self._compute, [window], [self._limit.update(window.wave)]))
            # One more than threads, so that none waits while results are written and the next samples read.
            if len(working) > self.plan.threads:
                yield from working.popleft().result()
        while working:
            yield from working.popleft().result()

    @torch.inference_mode()
    def _compute(self, group: Sequence[Window], limits: Sequence[float]) -> Sequence[np.ndarray]:
        channels = self.model.codec.channels
        mixtures = [window.wave[:channels] for window in group]
        loud = [
            self._needed(window) and not is_silent(mixture) for window, mixture in zip(group, mixtures, strict=True)
        ]
        if not any(loud):
            return [np.tile(np.zeros_like(mixture), (self.outputs, 1)) for mixture in mixtures]
        signs = np.stack([in_phase(mixture) for mixture in mixtures])
        vocals = self._separate(group, limits, signs).cpu().numpy() * np.tile(signs, (1, self.outputs, 1))
        return [voice if sounds else np.zeros_like(voice) for voice, sounds in zip(vocals, loud, strict=True)]

    def _needed(self, window: Window) -> bool:
        return window.start < self._last and window.start + window.wave.shape[1] > self._first

    def _separate(self, group: Sequence[Window], limits: Sequence[float], signs: np.ndarray) -> Tensor:
        codec, plan = self.model.codec, self.plan
        starts = [window.start // codec.hop for window in group]
        frames = group[0].wave.shape[1] // codec.hop

        def noise(seed: int) -> Tensor:
            fields = [noise_field(seed, codec.latent_channels, start, frames) for start in starts]
            return torch.stack(fields).to(self.device)

        def fresh(sample: int, step: int) -> Tensor:
            # A field of its own for every sample and step, away from the seeds that users count up.
            return noise((plan.seed + 1) * 2**20 + (sample + 1) * 2**10 + step)

        # The mixture, and below it what another separator made of it, where that is given.
        waves = np.stack([window.wave for window in group])
        parts = np.split(waves, waves.shape[1] // codec.channels, 1)
        mixture, *given = (torch.from_numpy(wave * signs).to(self.device) for wave in parts)
        # Further samples take fields far from those of other seeds. The 1,024th would meet those of `fresh`.
        noises = [noise(plan.seed), *(noise((plan.seed + 1) * 2**20 + k) for k in range(1, plan.averages))]
        return self.model.separate(
            mixture,
            noises,
            plan.steps,
            start=plan.start,
            eta=plan.eta,
            speeds=plan.speeds,
            power=plan.power,
            given=given[0] if given else None,
            weight=plan.estimate_weight,
            limits=limits,
            fresh=fresh,
            post_filter=self._post_filter,
        )


def _of_one_shape(windows: Iterable[Window], longest: int) -> Iterator[Sequence[Window]]:
    """Runs of up to ``longest`` windows that can be one batch: the last of a stream may be shorter."""
    group: list[Window] = []
    for window in windows:
        if group and (len(group) == longest or group[0].wave.shape != window.wave.shape):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


_of_pool = threading.local()


def _prepare_thread() -> None:
    _of_pool.yes = True
    # Asked for first: a thread that has not counted its own yet would later take the number that all others use.
    torch.get_num_threads()
    torch.set_num_threads(1)
    # The tails of fading sound are denormal numbers, which cost a CPU many times as much as others.
    torch.set_flush_denormal(True)
