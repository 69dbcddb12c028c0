"""An analysis as tables: Markdown for reading, CSV and JSON for whatever comes next."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain

from ldm_sep.markdown import markdown_escape, markdown_table
from ldm_sep.study.analysis import Analysis, QuestionResult
from ldm_sep.study.methods import SHORT
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
    """Two decimals, or one for scales of a hundred."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def p_value(p: float | None) -> str:
    """Three decimals, or that it is smaller."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _interval(bounds: Bounds | None) -> str:
    return "one listener or song only" if bounds is None else f"{number(bounds.low)} to {number(bounds.high)}"


INTERVALS = (
    "95 % intervals and p-values: two-way bootstrap over listeners and songs, so they hold for other listeners and "
    "other songs of the kind. p (Holm) is corrected for all rows of the table; below 0.05 a difference counts as found."
)


def means(result: QuestionResult) -> Table:
    """Mean ratings of everything rated."""
    rows = tuple((one.system, number(one.mean), _interval(one.bounds), str(one.n)) for one in result.means)
    alpha = "undefined" if result.alpha is None else f"{result.alpha:.2f}"
    note = (
        f"{result.listeners} listeners, {result.items} songs. Krippendorff's alpha {alpha} (1 agreement, 0 chance). "
        "Whether intervals overlap says nothing about a difference: see the differences."
    )
    return Table("Mean ratings", ("version", "mean", "95 % interval", "ratings"), rows, note)


def differences(result: QuestionResult) -> Table:
    """Paired differences."""
    rows = tuple(
        (
            f"{one.first} - {one.second}",
            number(one.difference),
            _interval(one.bounds),
            p_value(one.bounds.p if one.bounds else None),
            p_value(one.p_holm),
            str(one.n),
        )
        for one in result.differences
    )
    head = ("first - second", "difference", "95 % interval", "p", "p (Holm)", "pairs")
    return Table("Differences", head, rows, INTERVALS)


def model(result: QuestionResult) -> Table | None:
    """The mixed model's differences; None where there is no model."""
    if result.model is None:
        return None
    rows = tuple(
        (
            f"{one.first} - {one.second}",
            number(one.difference),
            f"{number(one.low)} to {number(one.high)}",
            p_value(one.p),
        )
        for one in result.model.differences
    )
    deviations = ", ".join(f"{name.replace('_', ' x ')} {value:.2f}" for name, value in result.model.deviations.items())
    note = (
        "Second opinion: REML, system fixed, listener, item, item x system and listener x system random; p is not "
        f"corrected. Standard deviations: {deviations}." + (f" Note: {result.model.note}." if result.model.note else "")
    )
    return Table("Mixed model", ("first - second", "difference", "95 % interval", "p"), rows, note)


def correlations(result: QuestionResult) -> Table | None:
    """Metrics against ratings; None where there are no scores."""
    if not result.correlations:
        return None

    def rho(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.2f}"

    rows = tuple(
        (one.label, rho(one.rho), f"{rho(one.low)} to {rho(one.high)}", rho(one.within), str(one.n))
        for one in result.correlations
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
        (
            one.system,
            f"{one.wins:g} of {one.n}",
            number(one.strength),
            "one listener or song only" if one.low is None or one.high is None else f"{one.low:.2f} to {one.high:.2f}",
        )
        for one in analysis.strengths
    )
    note = "Bradley-Terry: log odds to be preferred, relative to the mean of all; no preference counts as half a win."
    pairs = tuple(
        (
            f"{one.first} over {one.second}",
            f"{one.share:.0%}",
            "one listener or song only" if one.bounds is None else f"{one.bounds.low:.0%} to {one.bounds.high:.0%}",
            p_value(one.bounds.p if one.bounds else None),
            p_value(one.p_holm),
            str(one.n),
        )
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
    return Table("Left out", ("listener", "rule", "found"), rows, "Rules: " + "; ".join(RULES.values()) + ".")


def of_question(result: QuestionResult) -> list[Table]:
    """All tables of one question."""
    optional = (model(result), correlations(result))
    return [means(result), differences(result), *(table for table in optional if table is not None)]


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
    body = markdown_table(list(table.head), rows) if rows else ["Nobody."]
    return [f"{level} {table.title}", "", *body, "", table.note, ""]


def means_csv(analysis: Analysis) -> str:
    """question, system, role, mean, low, high, ratings."""
    rows = [
        (result.question.id, one.system, analysis.roles[one.system], one.mean, *ends(one.bounds), one.n)
        for result in analysis.questions
        for one in result.means
    ]
    return _csv(("question", "system", "role", "mean", "low", "high", "ratings"), rows)


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
    return _csv(head, list(chain(rated, chosen)))


def _p(bounds: Bounds | None) -> float | None:
    return None if bounds is None else bounds.p


def _csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return text.getvalue()


def to_json(analysis: Analysis) -> str:
    """Everything, by the names of the records."""
    table = asdict(analysis)
    for result, own in zip(table["questions"], analysis.questions, strict=True):
        result["question"] = own.question.model_dump()
    return json.dumps(table, ensure_ascii=False, indent=1) + "\n"
