"""A catalogue on a Ray cluster, by Ray Data: what travels are names and rows, never sound.

Actors take a song at a time, read it from where it is and write its stems to where they go. Each has a process of the
local pool that holds the model, so what a song does to it is judged as on one machine (`catalogue.song`). An actor that
ends, with its node or alone, is replaced by Ray, and its song begun again.
"""

import logging
import os
import pickle
import queue
import socket
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from ldm_sep.catalogue.rows import Attempt, Recipe, Refusal, Row
from ldm_sep.catalogue.song import SeparatorCache, after_crash, separate_once, tries_on
from ldm_sep.device import usable_cores
from ldm_sep.errors import ConfigError, need_package
from ldm_sep.files import shown
from ldm_sep.workers import work_through

# Bytes of the object store of a cluster that is started here. The rows of a window take far less.
_OBJECT_STORE = 200_000_000
# Songs per actor in one Ray Data job. At its end the actors wait for the slowest, about half a song.
_WINDOW = 64
# Seconds in which a cluster has to answer.
_PATIENCE = 10.0
# No reports of use to Ray's makers, and none of Ray's own log lines among ours.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# With this, Ray listens on the loopback device alone, as it does by itself on Windows and macOS.
_LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def ray_engine(
    attempts: Iterable[Attempt], recipe: Recipe, *, workers: int | None = None, address: str | None = None
) -> Generator[Row | Refusal, None, None]:
    """`Engine` of ``workers`` actors, one by GPU or else by CPU where None, on the cluster at ``address``, or at
    ``RAY_ADDRESS``, or on one that is started here for as long as it takes.

    Every node needs this package, and sees the songs, ``recipe.out`` and a checkpoint's folder under the same names.
    `require_cluster` says what can be missing.
    """
    require_cluster(address)
    with _cluster(address, workers) as resources:
        import ray.data

        gpus = int(resources.get("GPU", 0)) if recipe.device in ("auto", "cuda") else 0
        device = "cuda" if gpus else "cpu" if recipe.device == "auto" else recipe.device
        actors = workers or gpus or max(1, int(resources.get("CPU", 1)))
        songs = iter(attempts)
        while window := [pickle.dumps(attempt) for attempt in islice(songs, _WINDOW * actors)]:
            # One block per song, so that an actor that ends loses one song.
            data = ray.data.from_items([{"attempt": attempt} for attempt in window], override_num_blocks=len(window))
            rows = data.map_batches(
                _Station,
                fn_constructor_args=[pickle.dumps(recipe), device],
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
                num_cpus=1,
                num_gpus=1 if gpus else 0,
            )
            for row in rows.iter_rows():
                yield pickle.loads(row["row"])


class _Station:
    """An actor: one process of the local pool, which is kept from song to song."""

    def __init__(self, recipe: bytes, device: str) -> None:
        known: Recipe = pickle.loads(recipe)
        self._attempts: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self._rows = work_through(
            partial(separate_once, recipe=known, cache=SeparatorCache()),
            iter(self._attempts.get, None),
            1,
            partial(after_crash, recipe=known, tries=tries_on(device)),
        )

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """The row of the one attempt in ``batch``."""
        self._attempts.put(pickle.loads(batch["attempt"][0]))
        return {"row": [pickle.dumps(next(self._rows))]}


def require_cluster(address: str | None) -> None:
    """DependencyError without Ray; ConfigError at once where nobody listens at ``host:port``, which Ray tries to reach
    for minutes.
    """
    need_package("a catalogue on Ray", "ray", "'ldm-sep[cluster]'")
    address = address or os.environ.get("RAY_ADDRESS")
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster answers at {shown(str(address))} ({error}); check --address") from None


@contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator[Mapping[str, float]]:
    """The resources of the cluster, which is left at the end, or stopped if it was started here."""
    address = address or os.environ.get("RAY_ADDRESS")
    # Ray reads them as it is imported.
    for name, value in (_QUIET | (_LOCAL if address is None else {})).items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            cores = workers or usable_cores()
            ray.init("local", num_cpus=cores, object_store_memory=_OBJECT_STORE, include_dashboard=False, **quiet)
        else:
            ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"no Ray cluster could be reached ({error}); check --address") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield ray.cluster_resources()
    finally:
        ray.shutdown()
