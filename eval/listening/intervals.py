"""Does a 95 % interval of `ldm-sep study analyse` hold the truth 95 times in 100?

    python eval/listening/intervals.py [--studies 1000]

Studies with known truth are simulated: four systems, ratings from 1 to 5 as `ldm_sep.study.variance` describes them,
rounded and bounded by the scale, whose true means then follow from the normal distribution. Each study is analysed by
the functions that the command uses. Counted are the true means and differences that lie within their intervals, the
studies of four equal systems in which any difference is found after Holm's correction, and beside them the interval
that takes all ratings for independent, mean +- 1.96 sd / sqrt(n).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ldm_sep.markdown import markdown_table
from ldm_sep.study.compare import Tables, differences, system_means
from ldm_sep.study.orders import balanced_subsets
from ldm_sep.study.power import Design
from ldm_sep.study.variance import PUBLIC_RATINGS, Components

DESIGNS = (
    Design(15, 6, 4, 6),
    Design(30, 6, 4, 6),
    Design(15, 24, 4, 24),
    Design(15, 24, 4, 12),
    Design(15, 48, 4, 6),
    Design(8, 8, 4, 8),
)
# Before rounding; three differences of their own size, and one of nothing.
UNEQUAL = (2.6, 3.0, 3.0, 3.7)
EQUAL = (3.2, 3.2, 3.2, 3.2)
RESAMPLES = 1000
SCALE = (1.0, 5.0)


@dataclass(frozen=True)
class Coverage:
    """Shares over ``studies`` simulated studies of ``design``. ``false_alarms``: of studies of equal systems."""

    design: Design
    studies: int
    difference: float
    mean: float
    naive_difference: float
    naive_mean: float
    false_alarms: float
    half_width: float


def true_means(latent: Sequence[float], components: Components) -> np.ndarray:
    """Expectation of the rounded and bounded rating: 1 + sum over k of P(rating > k)."""
    from scipy.stats import norm

    deviation = np.sqrt(sum(asdict(components).values()))
    edges = np.arange(1.5, 5)
    return 1 + norm.sf(edges[None], np.asarray(latent)[:, None], deviation).sum(1)


def simulate(design: Design, latent: Sequence[float], components: Components, rng: np.random.Generator) -> Tables:
    """One study's ratings."""
    shape = (design.systems, design.listeners, design.songs)

    def effect(variance: float, *axes: int) -> np.ndarray:
        return rng.normal(0, np.sqrt(variance), [size if axis in axes else 1 for axis, size in enumerate(shape)])

    ratings = (
        np.asarray(latent)[:, None, None]
        + effect(components.listener, 1)
        + effect(components.item, 2)
        + effect(components.item_system, 0, 2)
        + effect(components.listener_system, 0, 1)
        + effect(components.listener_item, 1, 2)
        + effect(components.residual, 0, 1, 2)
    )
    present = np.zeros(shape[1:])
    for row, hand in zip(
        present, balanced_subsets(design.listeners, design.songs, design.per_listener, rng), strict=True
    ):
        row[hand] = 1
    whole = np.broadcast_to(present, shape)
    return Tables(tuple("abcd"[: design.systems]), np.clip(np.rint(ratings), *SCALE) * whole, whole)


def naive(values: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """The interval that takes all ratings for independent."""
    own = values[present > 0]
    half = 1.96 * own.std(ddof=1) / np.sqrt(len(own))
    return float(own.mean() - half), float(own.mean() + half)


def cover(design: Design, studies: int, components: Components = PUBLIC_RATINGS, seed: int = 0) -> Coverage:
    """Simulate and analyse ``studies`` studies of unequal and as many of equal systems."""
    rng = np.random.default_rng(seed)
    truth = true_means(UNEQUAL, components)
    held: dict[str, list[bool]] = {name: [] for name in ("difference", "mean", "naive_difference", "naive_mean")}
    alarms, widths = [], []
    for study in range(studies):
        tables = simulate(design, UNEQUAL, components, rng)
        place = tables.systems.index
        for one in system_means(tables, SCALE, study, RESAMPLES):
            own = truth[place(one.system)]
            held["mean"].append(one.bounds.low <= own <= one.bounds.high)
            low, high = naive(tables.values[place(one.system)], tables.present[0])
            held["naive_mean"].append(low <= own <= high)
        for one in differences(tables, tables.systems, None, study, RESAMPLES):
            a, b = place(one.first), place(one.second)
            own = truth[a] - truth[b]
            held["difference"].append(one.bounds.low <= own <= one.bounds.high)
            widths.append((one.bounds.high - one.bounds.low) / 2)
            low, high = naive(tables.values[a] - tables.values[b], tables.present[0])
            held["naive_difference"].append(low <= own <= high)
        equal = simulate(design, EQUAL, components, rng)
        alarms.append(any(one.p_holm < 0.05 for one in differences(equal, equal.systems, None, study, RESAMPLES)))
    shares = {name: float(np.mean(values)) for name, values in held.items()}
    return Coverage(design, studies, **shares, false_alarms=float(np.mean(alarms)), half_width=float(np.mean(widths)))


def table(rows: Sequence[Coverage]) -> str:
    """A Markdown table."""
    names = [
        "listeners x songs",
        "each hears",
        "difference",
        "MOS",
        "naive difference",
        "naive MOS",
        "false alarms",
        "±",
    ]
    cells = []
    for row in rows:
        shares = (row.difference, row.mean, row.naive_difference, row.naive_mean, row.false_alarms)
        d = row.design
        design = [f"{d.listeners} x {d.songs}", str(d.per_listener)]
        cells.append([*design, *(f"{share:.1%}" for share in shares), f"{row.half_width:.2f}"])
    return "\n".join(markdown_table(names, cells))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals of `ldm-sep study analyse`.")
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/intervals"))
    arguments = parser.parse_args()
    rows = []
    for design in DESIGNS:
        rows.append(cover(design, arguments.studies, seed=arguments.seed))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "coverage.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (arguments.out / "coverage.md").write_text(table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
