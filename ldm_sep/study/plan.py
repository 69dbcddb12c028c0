"""What `ldm-sep study plan` says: the table of designs, the plot, and the words to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ldm_sep.markdown import markdown_table
from ldm_sep.study import methods
from ldm_sep.study.power import Design, Precision, around, curves, simulate
from ldm_sep.study.records import Method
from ldm_sep.study.variance import PUBLIC_SCALE, Components

HEAD = ("listeners", "songs", "each", "ratings", "min", "MOS ±", "diff. ±", "stated ±", "found")
# Songs on the plot's axis.
_SONGS = (4, 6, 8, 12, 16, 24, 36, 48)
# How often each version is heard, and how long a rating takes to decide: rough guesses.
_HEARD = 2.0
_RATING_SECONDS = 5.0
LONGEST_MINUTES = 30


@dataclass(frozen=True)
class Plan:
    """Precisions of the design asked for, of its relatives and of the paper's, in units of the scale."""

    rows: tuple[Precision, ...]
    questions: int
    seconds: float
    origin: str


def components_for(method: Method, components: Components) -> Components:
    """``components`` of a scale from 1 to 5, stretched to the scale of ``method``. Listeners use long scales with more
    spread than this, or with less, so a pilot's own are better.
    """
    scale = methods.questions(method)[0]
    return components.scaled((scale.maximum - scale.minimum) / (PUBLIC_SCALE[1] - PUBLIC_SCALE[0]))


def make_plan(design: Design, components: Components, questions: int, seconds: float, origin: str, seed: int) -> Plan:
    """Simulate ``design`` and what is near it. ``origin`` says where ``components`` come from."""
    rows = tuple(simulate(one, components, seed) for one in around(design))
    return Plan(rows, questions, seconds, origin)


def minutes(design: Design, questions: int, seconds: float) -> float:
    """About how long one listener needs, without instructions and breaks."""
    versions = design.per_listener * design.systems
    return (versions * (_HEARD * seconds + questions * _RATING_SECONDS) + design.per_listener * seconds) / 60


def table(plan: Plan) -> list[tuple[str, ...]]:
    """Cells under `HEAD`, a row for each design."""
    rows = []
    for row in plan.rows:
        d = row.design
        numbers = (row.mean_half_width, row.half_width, row.interval, row.found)
        counts = (d.listeners, d.songs, d.per_listener, d.per_listener * d.systems * plan.questions)
        rows.append((*map(str, counts), f"{minutes(d, plan.questions, plan.seconds):.0f}", *map(_number, numbers)))
    return rows


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def words(plan: Plan) -> list[str]:
    """What the table means, sentence by sentence."""
    asked, paper = plan.rows[0], plan.rows[-1]
    pairs = asked.design.systems * (asked.design.systems - 1) // 2
    lines = [
        f"Variances: {plan.origin}.",
        "Each: songs that one listener hears, then how many ratings that is and about how many minutes.",
        "MOS ± and diff. ±: 1.96 standard deviations of a system's mean and of a difference of two, over simulated "
        "studies in which listeners and songs are drawn anew. Stated ±: median half-width of the interval that "
        "`ldm-sep study analyse` will give; with few songs it is wider, since the variance is uncertain too.",
        f"Found: the true difference that 80 % of such studies find, Holm's correction over {pairs} pairs "
        "included. What is smaller is more likely missed than this.",
    ]
    within = f"{_number(paper.half_width)} or less is within its error, whatever sd / sqrt(n) over all ratings says"
    lines.append(
        "The last row is the design of the LDM-dmx paper, 15 listeners and 6 songs: it could show differences of about "
        f"{_number(paper.found)} and more; a difference of {within} (here ±{_number(paper.naive)})."
    )
    time = minutes(asked.design, plan.questions, plan.seconds)
    if time > LONGEST_MINUTES:
        lines.append(
            f"About {time:.0f} minutes are too long for one sitting of {LONGEST_MINUTES}: with --per-listener each "
            "listener hears a part of the songs."
        )
    twice_the_listeners, twice_the_songs = (max(0.0, 1 - row.half_width / asked.half_width) for row in plan.rows[1:3])
    lines.append(
        f"Twice the listeners narrow a difference by {twice_the_listeners:.0%}, twice the songs (each listener still "
        f"hears as many) by {twice_the_songs:.0%}."
    )
    return lines


def markdown(plan: Plan) -> str:
    """The table and the words, for a protocol."""
    rows = "\n".join(markdown_table(HEAD, table(plan)))
    return "\n\n".join(["# Plan of a listening study", rows, *words(plan)]) + "\n"


def draw(path: Path, design: Design, components: Components, origin: str, seed: int) -> None:
    """Half-width of a difference by the number of songs, for half, once and twice the listeners, as a PNG."""
    from matplotlib.figure import Figure

    from ldm_sep.evaluate.plots import drawing, save

    songs: Sequence[int] = sorted({*_SONGS, design.songs})
    with drawing():
        figure = Figure(figsize=(7.5, 4.6))
        ax = figure.subplots()
        for listeners, values in curves(design, components, songs, seed).items():
            ax.plot(songs, values, marker="o", markersize=4, label=f"{listeners} listeners")
        ax.set(xlabel="songs, each heard by every listener", ylabel="95 % half-width of a difference", ylim=(0, None))
        ax.set_xscale("log")
        ax.set_xticks(songs, labels=[str(count) for count in songs])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
        ax.set_title("More songs help; more listeners hardly do")
        figure.supxlabel(f"Variances: {origin}", fontsize=7.5, color="0.35", x=0.01, ha="left")
        save(figure, path)
