"""Trials with opaque names, and who hears them in which order."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from ldm_sep.files import sha256_of
from ldm_sep.study.orders import balanced_subsets, shuffled, with_repeats
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


class Ids:
    """Random names that tell nothing, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 1])

    def new(self) -> str:
        return self._rng.bytes(8).hex()


@dataclass(frozen=True)
class Version:
    """One written audio file: a system's (``name``), one made for a role, or the reference that is given."""

    role: Role | Literal["given"]
    name: str
    audio: str
    gain_db: float
    source: Path


@dataclass(frozen=True)
class WrittenExcerpt:
    """An excerpt's versions on disk, all at ``loudness_lufs``."""

    excerpt: Excerpt
    loudness_lufs: float
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class KeyedTrial:
    """A trial with what its stimuli are, by their ids."""

    trial: Trial
    excerpt: WrittenExcerpt
    versions: dict[str, Version]
    training: bool
    repeats: str | None = None

    def again(self, ids: Ids) -> "KeyedTrial":
        """The same trial to be presented a second time: new names for the same audio."""
        names = {old: ids.new() for old in self.versions}
        stimuli = tuple(Stimulus(id=names[one.id], audio=one.audio) for one in self.trial.stimuli)
        trial = Trial(
            id=ids.new(), seconds=self.trial.seconds, reference=self.trial.reference, stimuli=_hidden(stimuli)
        )
        versions = {names[old]: version for old, version in self.versions.items()}
        return KeyedTrial(trial, self.excerpt, versions, self.training, self.trial.id)


def trials_of(written: WrittenExcerpt, method: Method, ids: Ids, *, training: bool) -> list[KeyedTrial]:
    """One trial of all versions of an excerpt; for A/B one of each pair."""
    rated = [version for version in written.versions if version.role != "given"]
    given = next((version.audio for version in written.versions if version.role == "given"), None)
    trials = []
    for group in combinations(rated, 2) if method == "ab" else [tuple(rated)]:
        versions = {ids.new(): version for version in group}
        stimuli = tuple(Stimulus(id=name, audio=version.audio) for name, version in versions.items())
        seconds = written.excerpt.seconds
        trial = Trial(id=ids.new(), seconds=seconds, reference=given, stimuli=_hidden(stimuli))
        trials.append(KeyedTrial(trial, written, versions, training))
    return trials


def _hidden(stimuli: tuple[Stimulus, ...]) -> tuple[Stimulus, ...]:
    """Sorted by their random names, so that the order in the file tells nothing either."""
    return tuple(sorted(stimuli, key=lambda stimulus: stimulus.id))


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
    trials = [trial for item in items for trial in item]
    copies = [trial for item in repeated for trial in item]
    numbers = np.cumsum([0, *(len(item) for item in items)])
    turns = rng.integers(0, 2, len(trials) + len(copies))
    orders = []
    for number, hand in enumerate(balanced_subsets(listeners, len(items), per_listener, rng), 1):
        heard = [trial for item in hand for trial in range(numbers[item], numbers[item + 1])]
        ordered = []
        for index, again in with_repeats(shuffled(heard, rng), repeats, rng):
            keyed = copies[index] if again else trials[index]
            names = [stimulus.id for stimulus in keyed.trial.stimuli]
            if len(names) == 2:
                place = index + len(trials) * again
                names = names[:: 1 if turns[place] else -1]
                turns[place] = 1 - turns[place]
            else:
                names = [names[int(i)] for i in rng.permutation(len(names))]
            ordered.append(TrialOrder(trial=keyed.trial.id, stimuli=tuple(names)))
        orders.append(ListenerOrder(number=number, trials=tuple(ordered)))
    return tuple(orders)


def key_of(trials: Sequence[KeyedTrial], folder: Path, seed: int, licence: str) -> Key:
    """What the trials of the study in ``folder`` are. OSError if a file cannot be read."""
    hashes: dict[Path, str] = {}

    def hashed(path: Path) -> str:
        if path not in hashes:
            hashes[path] = sha256_of(path)
        return hashes[path]

    trial_keys, stimulus_keys = [], []
    for keyed in trials:
        excerpt = keyed.excerpt.excerpt
        trial_keys.append(
            TrialKey(
                trial=keyed.trial.id,
                item=excerpt.song.name,
                training=keyed.training,
                repeats=keyed.repeats,
                start=excerpt.start,
                seconds=excerpt.seconds,
                sung=excerpt.sung,
                loudness_lufs=keyed.excerpt.loudness_lufs,
                reference=keyed.trial.reference,
            )
        )
        for name, version in keyed.versions.items():
            if version.role == "given":
                raise ValueError("the given reference is not rated")
            stimulus_keys.append(
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
            )
    return Key(
        format=1,
        study_sha256=sha256_of(folder / STUDY_FILE),
        seed=seed,
        trials=tuple(trial_keys),
        stimuli=tuple(stimulus_keys),
    )
