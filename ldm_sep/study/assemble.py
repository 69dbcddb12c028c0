"""Trials with opaque names, and who hears them in which order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np

from ldm_sep.files import sha256_of
from ldm_sep.study.orders import balanced_subsets, with_repeats
from ldm_sep.study.records import (
    STUDY_FILE,
    Key,
    ListenerOrder,
    Method,
    Role,
    Stimulus,
    StimulusKey,
    Trial,
    TrialKey,
    TrialOrder,
)
from ldm_sep.study.sources import Excerpt


def random_ids(seed: int) -> Iterator[str]:
    """Random names that tell nothing, the same for the same seed, without end."""
    rng = np.random.default_rng([seed, 1])
    while True:
        yield rng.bytes(8).hex()


@dataclass(frozen=True)
class Version:
    """One audio file to be rated: a system's (``name``), or one made for a role."""

    role: Role
    name: str
    audio: str
    gain_db: float
    source: Path


@dataclass(frozen=True)
class WrittenExcerpt:
    """An excerpt's versions on disk, and the file given as their ``reference``, if one is; all at ``loudness_lufs``."""

    excerpt: Excerpt
    loudness_lufs: float
    versions: tuple[Version, ...]
    reference: str | None


@dataclass(frozen=True)
class KeyedTrial:
    """A trial with what its stimuli are, by their ids."""

    trial: Trial
    excerpt: WrittenExcerpt
    versions: dict[str, Version]
    training: bool
    repeats: str | None = None

    def again(self, ids: Iterator[str]) -> "KeyedTrial":
        """The same trial to be presented a second time: new names for the same audio."""
        return _keyed(self.excerpt, self.versions.values(), ids, self.training, self.trial.id)


def trials_of(written: WrittenExcerpt, method: Method, ids: Iterator[str], *, training: bool) -> list[KeyedTrial]:
    """One trial of all versions of an excerpt; for A/B one of each pair."""
    groups = combinations(written.versions, 2) if method == "ab" else [written.versions]
    return [_keyed(written, group, ids, training) for group in groups]


def _keyed(
    written: WrittenExcerpt,
    group: Iterable[Version],
    ids: Iterator[str],
    training: bool,
    repeats: str | None = None,
) -> KeyedTrial:
    versions = {next(ids): version for version in group}
    # Sorted by their random names, so that the order in the file tells nothing either.
    stimuli = tuple(Stimulus(id=name, audio=versions[name].audio) for name in sorted(versions))
    trial = Trial(id=next(ids), seconds=written.excerpt.seconds, reference=written.reference, stimuli=stimuli)
    return KeyedTrial(trial, written, versions, training, repeats)


def order_listeners(
    items: Sequence[Sequence[KeyedTrial]],
    repeated: Sequence[Sequence[KeyedTrial]],
    listeners: int,
    per_listener: int,
    repeats: int,
    seed: int,
) -> tuple[ListenerOrder, ...]:
    """Every listener's trials, those of ``per_listener`` of the ``items``, in an order of their own.

    Items are dealt out equally often. The stimuli of a trial are in random order; the two of an A/B trial stand in
    each order equally often over the listeners. ValueError as for `balanced_subsets` and `with_repeats`.
    """
    rng = np.random.default_rng([seed, 2])
    # The repeat of trial i, if there is one, stands at i + len(trials).
    trials = [keyed.trial for item in items for keyed in item]
    every = trials + [keyed.trial for item in repeated for keyed in item]
    numbers = np.cumsum([0, *(len(item) for item in items)])
    turns = rng.integers(0, 2, len(every))
    orders = []
    for number, hand in enumerate(balanced_subsets(listeners, len(items), per_listener, rng), 1):
        heard = [place for item in hand for place in range(numbers[item], numbers[item + 1])]
        ordered = []
        for first, again in with_repeats(rng.permutation(heard).tolist(), repeats, rng):
            place = first + len(trials) * again
            names = [stimulus.id for stimulus in every[place].stimuli]
            if len(names) == 2:
                names = names[:: 1 if turns[place] else -1]
                turns[place] = 1 - turns[place]
            else:
                names = rng.permutation(names).tolist()
            ordered.append(TrialOrder(trial=every[place].id, stimuli=tuple(names)))
        orders.append(ListenerOrder(number=number, trials=tuple(ordered)))
    return tuple(orders)


def key_of(trials: Sequence[KeyedTrial], folder: Path, seed: int, licence: str) -> Key:
    """What the trials of the study in ``folder`` are. OSError if a file cannot be read."""
    # Trials share files: the pairs of A/B, and those that are repeated.
    hashed = cache(sha256_of)
    return Key(
        format=1,
        study_sha256=sha256_of(folder / STUDY_FILE),
        seed=seed,
        trials=tuple(
            TrialKey(
                trial=keyed.trial.id,
                item=keyed.excerpt.excerpt.song.name,
                training=keyed.training,
                repeats=keyed.repeats,
                start=keyed.excerpt.excerpt.start,
                seconds=keyed.excerpt.excerpt.seconds,
                sung=keyed.excerpt.excerpt.sung,
                loudness_lufs=keyed.excerpt.loudness_lufs,
                reference=keyed.trial.reference,
            )
            for keyed in trials
        ),
        stimuli=tuple(
            StimulusKey(
                stimulus=name,
                trial=keyed.trial.id,
                audio=version.audio,
                role=version.role,
                system=version.name,
                gain_db=version.gain_db,
                sha256=hashed(folder / version.audio),
                source=version.source.as_posix(),
                source_sha256=hashed(version.source),
                licence=licence,
            )
            for keyed in trials
            for name, version in keyed.versions.items()
        ),
    )
