"""An analysis as tables: Markdown for reading, CSV and JSON for whatever comes next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from ldm_sep.markdown import csv_table, markdown_escape, markdown_table
from ldm_sep.study.analysis import Analysis, QuestionResult
from ldm_sep.study.compare import Difference
from ldm_sep.study.correlate import Correlation
from ldm_sep.study.methods import SHORT
from ldm_sep.study.mixed import MixedModel
from ldm_sep.study.preference import Preference
from ldm_sep.study.screening import RULES
from ldm_sep.study.two_way import Bounds, ends

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of ready cells with its heading and the note under it."""

    title: str
    head: Cells
    rows: tuple[Cells, ...]
    note: str = ""


def number(value: float) -> str:
    """Two decimals, or one from 10 on, as on scales of a hundred."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def p_value(p: float | None) -> str:
    """Three decimals, or that it is smaller."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _interval(low: float | None, high: float | None, show: Callable[[float], str] = number) -> str:
    return "one listener or song only" if low is None or high is None else f"{show(low)} to {show(high)}"


def _p(bounds: Bounds | None) -> float | None:
    return None if bounds is None else bounds.p


INTERVALS = (
    "95 % intervals and p-values: as wide as a two-way random-effects model of listeners and songs says, in the shape "
    "of a two-way bootstrap. So they hold for other listeners and other songs of the kind. p (Holm) is corrected for "
    "all rows of the table; below 0.05 a difference counts as found."
)


def means(result: QuestionResult) -> Table:
    """Mean ratings of everything rated."""
    rows = tuple((one.system, number(one.mean), _interval(*ends(one.bounds)), str(one.n)) for one in result.means)
    alpha = "undefined" if result.alpha is None else f"{result.alpha:.2f}"
    note = (
        f"{result.listeners} listeners, {result.items} songs. Krippendorff's alpha {alpha} (1 agreement, 0 chance). "
        "Whether intervals overlap says nothing about a difference: see the differences."
    )
    return Table("Mean ratings", ("version", "mean", "95 % interval", "ratings"), rows, note)


def _compared(one: Difference | Preference, sign: str, value: str, interval: str) -> Cells:
    pair = f"{one.first} {sign} {one.second}"
    return pair, value, interval, p_value(_p(one.bounds)), p_value(one.p_holm), str(one.n)


def _differences(result: QuestionResult) -> Table:
    rows = tuple(
        _compared(one, "-", number(one.difference), _interval(*ends(one.bounds))) for one in result.differences
    )
    head = ("first - second", "difference", "95 % interval", "p", "p (Holm)", "pairs")
    return Table("Differences", head, rows, INTERVALS)


def _mixed_model(model: MixedModel) -> Table:
    rows = tuple(
        (f"{one.first} - {one.second}", number(one.difference), _interval(one.low, one.high), p_value(one.p))
        for one in model.differences
    )
    deviations = ", ".join(f"{name.replace('_', ' x ')} {value:.2f}" for name, value in model.deviations.items())
    note = (
        "Second opinion: REML, system fixed, listener, item, item x system and listener x system random; p is not "
        f"corrected. Standard deviations: {deviations}." + (f" Note: {model.note}." if model.note else "")
    )
    return Table("Mixed model", ("first - second", "difference", "95 % interval", "p"), rows, note)


def _correlations(correlations: Sequence[Correlation]) -> Table:
    def rho(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.2f}"

    rows = tuple(
        (one.label, rho(one.rho), f"{rho(one.low)} to {rho(one.high)}", rho(one.within), str(one.n))
        for one in correlations
    )
    note = (
        "Spearman's rank correlation of each metric with the mean rating, over stimuli; within songs, after each "
        "song's own mean is taken off. The metrics are of whole songs, the ratings of excerpts. A good metric of which "
        "less is better has a negative rho."
    )
    return Table("Metrics and ratings", ("metric", "rho", "95 % interval", "within songs", "stimuli"), rows, note)


def ab(analysis: Analysis) -> list[Table]:
    """Strengths and direct comparisons of an A/B study; none for the other methods."""
    if not analysis.strengths:
        return []
    strong = tuple(
        (one.system, f"{one.wins:g} of {one.n}", number(one.strength), _interval(one.low, one.high, "{:.2f}".format))
        for one in analysis.strengths
    )
    note = "Bradley-Terry: log odds to be preferred, relative to the mean of all; no preference counts as half a win."
    pairs = tuple(
        _compared(one, "over", f"{one.share:.0%}", _interval(*ends(one.bounds), "{:.0%}".format))
        for one in analysis.preferences
    )
    head = ("first over second", "preferred", "95 % interval", "p", "p (Holm)", "choices")
    return [
        Table("Strengths", ("system", "wins", "strength", "95 % interval"), strong, note),
        Table("Preferences", head, pairs, f"{INTERVALS} p is for a preference of one half."),
    ]


def screening(analysis: Analysis) -> Table:
    """Who broke a rule."""
    rows = tuple((one.listener, RULES[one.rule], one.detail) for one in analysis.rejected)
    return Table("Screening", ("listener", "rule broken", "found"), rows, "Rules: " + "; ".join(RULES.values()) + ".")


def of_question(result: QuestionResult) -> list[Table]:
    """All tables of one question."""
    tables = [means(result), _differences(result)]
    if result.model is not None:
        tables.append(_mixed_model(result.model))
    if result.correlations:
        tables.append(_correlations(result.correlations))
    return tables


def markdown(analysis: Analysis) -> str:
    """Everything, for reading without a browser."""
    lines = [f"# {analysis.title}", "", f"{SHORT[analysis.method]}, {len(analysis.listeners)} listeners count.", ""]
    for result in analysis.questions:
        lines += [f"## {result.question.id}: {result.question.text}", ""]
        for table in of_question(result):
            lines += _markdown(table, "###")
    for table in [*ab(analysis), screening(analysis)]:
        lines += _markdown(table, "##")
    return "\n".join([*lines, *(f"- {note}" for note in analysis.notes)]) + "\n"


def _markdown(table: Table, level: str) -> list[str]:
    rows = [[markdown_escape(cell) for cell in row] for row in table.rows]
    body = markdown_table(table.head, rows) if rows else ["None."]
    return [f"{level} {table.title}", "", *body, "", table.note, ""]


def means_csv(analysis: Analysis) -> str:
    """question, system, role, mean, low, high, ratings."""
    rows = [
        (result.question.id, one.system, analysis.roles[one.system], one.mean, *ends(one.bounds), one.n)
        for result in analysis.questions
        for one in result.means
    ]
    return csv_table(("question", "system", "role", "mean", "low", "high", "ratings"), rows)


def differences_csv(analysis: Analysis) -> str:
    """question, first, second, difference, low, high, p, p_holm, pairs; for A/B the share that preferred the first."""
    rated = [
        (r.question.id, one.first, one.second, one.difference, *ends(one.bounds), _p(one.bounds), one.p_holm, one.n)
        for r in analysis.questions
        for one in r.differences
    ]
    chosen = [
        ("preference", one.first, one.second, one.share, *ends(one.bounds), _p(one.bounds), one.p_holm, one.n)
        for one in analysis.preferences
    ]
    head = ("question", "first", "second", "difference", "low", "high", "p", "p_holm", "pairs")
    return csv_table(head, [*rated, *chosen])


def to_json(analysis: Analysis) -> str:
    """Everything, by the names of the records."""
    return TypeAdapter(Analysis).dump_json(analysis, indent=1).decode() + "\n"
