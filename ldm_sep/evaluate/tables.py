"""The tables of an evaluation as text: Markdown, CSV, JSON, and the cells that all of them and the report share."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ldm_sep.evaluate.published import HEADING, PUBLISHED, SOURCE
from ldm_sep.evaluate.summary import Summary, SystemScore
from ldm_sep.files import shown
from ldm_sep.markdown import csv_table, markdown_escape, markdown_table
from ldm_sep.metrics import METRICS, Metric
from ldm_sep.statistics import CONFIDENCE, MIN_PAIRS, PairedTest, aggregate_of

# What begins a formula in spreadsheets (OWASP, "CSV injection"); tabs and line ends are escaped anyway.
_FORMULA = ("=", "+", "-", "@")
_ARROWS = {"higher": "↑", "lower": "↓", "nearer 0": "→ 0"}


@dataclass(frozen=True)
class Cell:
    """A ``text`` with a ``detail`` beside it, sorted by its ``value``; where ``is_name``, by the text."""

    text: str
    value: float | None = None
    detail: str = ""
    is_name: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the report and of ``table.md``."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def digits(metric: str) -> int:
    """Decimals that a metric is printed with."""
    return 3 if metric in ("log_f0_rmse", "mr_stft") else 2


def number(value: float | None, metric: str) -> str:
    """A value as tables show it; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.{digits(metric)}f}"
    # Not "-0.00".
    return text.lstrip("-") if float(text) == 0 else text


def heading(metric: Metric) -> str:
    """Label, unit and the arrow towards better; the median is said where it is not a mean."""
    unit = "" if metric.unit in ("", "-") else f" ({metric.unit})"
    how = " median" if aggregate_of(metric.key) == "median" else ""
    return f"{metric.label}{how}{unit} {_ARROWS[metric.better]}"


def cell(score: SystemScore, metric: str, tracks: int) -> str:
    """``7.21 [6.90, 7.50]``, with the number of tracks where it is not all of them."""
    if score.value is None:
        return "undefined"
    text = number(score.value, metric)
    if score.interval is not None:
        text += f" [{number(score.interval.low, metric)}, {number(score.interval.high, metric)}]"
    return text if score.n == tracks else f"{text} (n = {score.n})"


def difference(test: PairedTest, metric: str) -> str:
    """The mean difference with its interval and sign."""
    if test.difference is None:
        return "–"
    text = f"{test.difference:+.{digits(metric)}f}"
    if test.interval is not None:
        text += f" [{test.interval.low:+.{digits(metric)}f}, {test.interval.high:+.{digits(metric)}f}]"
    return text


def p_value(p: float | None) -> str:
    """``0.031``, ``< 0.001``, or a dash."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def list_note(summary: Summary) -> str:
    """n and the hash of the track list: below every table and figure."""
    plural = "" if len(summary.tracks) == 1 else "s"
    return f"n = {len(summary.tracks)} track{plural}, track list {summary.track_hash}"


def interval_note(summary: Summary) -> str:
    """What the numbers and brackets of the main table are."""
    medians = [metric.label for metric in summary.metrics if aggregate_of(metric.key) == "median"]
    how = f"means over tracks ({', '.join(medians)}: median)" if medians else "means over tracks"
    interval = f"{CONFIDENCE:.0%} percentile bootstrap interval over tracks"
    if len(summary.tracks) < 2:
        interval += ", which needs two tracks"
    text = f"Values: {how}, [{interval}]."
    counts = {summary.scores[system][metric.key].n for system in summary.systems for metric in summary.metrics}
    if counts - {0, len(summary.tracks)}:
        text += " Where n is given, other tracks are undefined: such a value does not compare with one over all tracks."
    return text


def _name(text: str) -> Cell:
    return Cell(text, is_name=True)


def measured(summary: Summary) -> Table:
    """A row for each system."""
    rows = []
    for system in summary.systems:
        cells = [_name(system)]
        for metric in summary.metrics:
            score = summary.scores[system][metric.key]
            # The interval goes on a second line of the report, so that more metrics fit side by side.
            text, bracket, detail = cell(score, metric.key, len(summary.tracks)).partition(" [")
            cells.append(Cell(text, score.value, bracket.strip() + detail))
        rows.append(cells)
    return Table(["system", *(heading(metric) for metric in summary.metrics)], rows)


def published() -> Table:
    """The paper's table."""
    metrics = [metric for metric in METRICS if metric.key in PUBLISHED[0].scores]
    rows = [
        [
            _name(row.name),
            Cell("–" if row.parameters_m is None else f"{row.parameters_m:.0f} M", row.parameters_m),
            Cell("–" if row.seconds is None else f"{row.seconds:.2f}", row.seconds),
            *(Cell(number(row.scores[metric.key], metric.key), row.scores[metric.key]) for metric in metrics),
        ]
        for row in PUBLISHED
    ]
    return Table(["system", "parameters", "time [s]", *(heading(metric) for metric in metrics)], rows)


def paired_tests(summary: Summary) -> Table | None:
    """A row for each test that could be made; None without any."""
    labels = {metric.key: metric.label for metric in summary.metrics}
    rows = [
        [
            *map(_name, (labels[c.metric], c.first, c.second)),
            Cell(str(c.test.n), c.test.n),
            Cell(difference(c.test, c.metric), c.test.difference),
            Cell(p_value(c.test.p), c.test.p),
            Cell(p_value(c.test.p_holm), c.test.p_holm),
        ]
        for c in summary.comparisons
        if c.test.p is not None
    ]
    return Table(["metric", "first", "second", "n", "first - second", "p", "p (Holm)"], rows) if rows else None


def undefined(summary: Summary) -> Table | None:
    """A row for each reason why values are missing, but for failures, which are listed apart; None without any."""
    rows = [
        [_name(system), _name(metric.label), Cell(str(count), count), _name(reason)]
        for system in summary.systems
        for metric in summary.metrics
        for reason, count in summary.scores[system][metric.key].reasons.items()
        if reason != "failed"
    ]
    return Table(["system", "metric", "tracks", "reason"], rows) if rows else None


def _markdown(table: Table) -> list[str]:
    rows = [
        [markdown_escape(c.text) if c.is_name else f"{c.text} {c.detail}".rstrip() for c in row] for row in table.rows
    ]
    return markdown_table([markdown_escape(name) for name in table.head], rows)


def markdown(summary: Summary) -> str:
    """``table.md``: measured systems; published ones apart; paired tests; what is undefined; what failed."""
    note = f"{list_note(summary)}. "
    lines = ["# Evaluation", "", "## Measured", "", *_markdown(measured(summary)), "", note + interval_note(summary)]
    if summary.published:
        lines += ["", f"## {HEADING}", "", *_markdown(published()), "", SOURCE]
    if summary.comparisons:
        lines += ["", "## Paired tests"]
    if tests := paired_tests(summary):
        lines += ["", *_markdown(tests), "", note + test_note()]
    if untested := untested_note(summary):
        lines += ["", untested]
    if missing := undefined(summary):
        lines += ["", "## Undefined", "", *_markdown(missing), "", note.strip()]
    if summary.failures:
        lines += ["", "## Failed", ""]
        lines += [
            f"- {markdown_escape(f.track)}, {markdown_escape(f.system)}: {markdown_escape(f.message)}"
            for f in summary.failures
        ]
    return "\n".join(lines) + "\n"


def test_note() -> str:
    """What the tests are."""
    return (
        f"Mean differences with {CONFIDENCE:.0%} bootstrap intervals; Wilcoxon signed-rank test, two-sided, from "
        f"{MIN_PAIRS} pairs on; Holm's correction over the pairs of systems of each metric."
    )


def untested_note(summary: Summary) -> str:
    """In one line, how many pairs of systems could not be compared by a test, and why; empty if all were."""
    reasons = Counter(c.test.reason for c in summary.comparisons if c.test.p is None)
    if not reasons:
        return ""
    why = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    count, total = sum(reasons.values()), len(summary.comparisons)
    return f"No test for {count} of {total} comparisons: {why}. Their mean differences are in summary.json."


def plain_cell(text: str) -> str:
    """``text`` on one printable line, with an apostrophe before what a spreadsheet would compute as a formula."""
    line = shown(text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line


def scores_csv(summary: Summary) -> str:
    """``scores.csv``: one line for each track and system; empty where undefined, with the reasons in a column."""
    keys = [metric.key for metric in summary.metrics]
    lines: list[list[object]] = []
    for track in summary.tracks:
        for system in summary.systems:
            row = summary.rows[track, system]
            values = [row.scores[key].value if key in row.scores else None for key in keys]
            undefined = {key: row.scores[key].reason for key in keys if key in row.scores and row.scores[key].reason}
            reasons = "; ".join(f"{key}: {reason}" for key, reason in undefined.items())
            error = row.error or "; ".join(f"{key}: {why}" for key, why in row.failed.items())
            names = plain_cell(track), plain_cell(system)
            lines.append([*names, *values, plain_cell(reasons), plain_cell(error), f"{row.seconds:.3f}"])
    return csv_table(["track", "system", *keys, "undefined", "error", "seconds"], lines)


def summary_json(summary: Summary) -> str:
    """``summary.json``."""
    return json.dumps(summary.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
