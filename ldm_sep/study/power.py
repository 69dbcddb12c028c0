"""What a study can show, before anybody listens: simulated studies, analysed as the real one will be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ldm_sep.study.orders import balanced_subsets
from ldm_sep.study.two_way import spread
from ldm_sep.study.variance import Components

STUDIES = 4000
POWER = 0.8
# Values of a table drawn at a time.
_DRAWN = 4_000_000


@dataclass(frozen=True)
class Design:
    """``per_listener``: of the ``songs``, how many each listener hears; all systems of each."""

    listeners: int
    songs: int
    systems: int
    per_listener: int


@dataclass(frozen=True)
class Precision:
    """What ``design`` gives, in units of the scale.

    ``mean_half_width`` and ``half_width``: 1.96 standard deviations, over simulated studies, of a system's mean and of
    a difference of two systems. ``interval``: median half-width of the 95 % interval of a difference that the analysis
    will state; it is wider where few songs leave the variance itself uncertain. ``found``: the true difference that
    80 % of studies find after Holm's correction, were it the only one among all pairs of systems. ``naive``: median
    half-width of the interval that takes ratings for independent.
    """

    design: Design
    mean_half_width: float
    half_width: float
    interval: float
    found: float
    naive: float


# The listening test of the LDM-dmx paper: 15 listeners, 6 songs, 4 systems.
PAPER = Design(15, 6, 4, 6)


def simulate(design: Design, components: Components, seed: int = 0, studies: int = STUDIES) -> Precision:
    """Ratings of ``studies`` studies without any true difference, normal and unrounded, and what they vary by.

    ValueError for fewer than two listeners, songs or systems, or for a subset that is none.
    """
    from scipy.stats import t

    if design.systems < 2:
        raise ValueError(f"two systems or more are compared, not {design.systems}")
    rng = np.random.default_rng(seed)
    present = np.zeros((design.listeners, design.songs))
    for row, hand in zip(
        present, balanced_subsets(design.listeners, design.songs, design.per_listener, rng), strict=True
    ):
        row[hand] = 1
    total = present.sum()
    at_once = max(1, _DRAWN // present.size)
    parts = []
    for first in range(0, studies, at_once):
        means, differences = _tables(design, components, min(at_once, studies - first), rng)
        one, two = spread(means, present), spread(differences, present)
        rest = (differences - two.mean[:, None, None]) * present
        naive = np.sqrt(np.sum(rest**2, (1, 2)) / (total - 1) / total)
        parts.append((one.mean, *two, naive))
    mean, difference, error, freedom, naive = (np.concatenate(values) for values in zip(*parts, strict=True))
    pairs = design.systems * (design.systems - 1) / 2
    critical = t.ppf(1 - 0.025 / pairs, freedom) * error
    return Precision(
        design,
        mean_half_width=float(1.96 * mean.std()),
        half_width=float(1.96 * difference.std()),
        interval=float(np.median(t.ppf(0.975, freedom) * error)),
        # A true difference d shifts every observed one by d, so d is found with the probability that this is below d.
        found=float(np.quantile(critical - difference, POWER)),
        naive=float(np.median(1.96 * naive)),
    )


def _tables(
    design: Design, components: Components, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Tables ``(count, listeners, songs)`` of one system's ratings, and of its difference to another's."""
    shape = (count, design.listeners, design.songs)

    def normal(variance: float, *axes: int) -> np.ndarray:
        return rng.normal(0, np.sqrt(variance), [size if axis in axes else 1 for axis, size in enumerate(shape)])

    c = components
    common = normal(c.listener, 0, 1) + normal(c.item, 0, 2) + normal(c.listener_item, 0, 1, 2)
    own, other = (
        normal(c.item_system, 0, 2) + normal(c.listener_system, 0, 1) + normal(c.residual, 0, 1, 2) for _ in range(2)
    )
    return common + own, own - other


def around(design: Design) -> list[Design]:
    """``design``, then what twice the listeners or twice the songs would change; the paper's comes last."""
    songs = 2 * design.songs
    relatives = [design, replace(design, listeners=2 * design.listeners), replace(design, songs=songs)]
    if design.per_listener == design.songs:
        relatives.append(replace(design, songs=songs, per_listener=songs))
    return [*relatives, PAPER]


def curves(design: Design, components: Components, songs: Sequence[int], seed: int = 0) -> dict[int, list[float]]:
    """Half-width of a difference by number of ``songs``, all heard by all, for half, once and twice the listeners."""
    listeners = dict.fromkeys(max(2, round(design.listeners * factor)) for factor in (0.5, 1, 2))
    return {
        count: [simulate(Design(count, n, design.systems, n), components, seed, STUDIES // 4).half_width for n in songs]
        for count in listeners
    }
