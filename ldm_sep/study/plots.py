"""Figures of an analysis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ldm_sep.evaluate.plots import drawing, fitted, save
from ldm_sep.study.analysis import Analysis, QuestionResult
from ldm_sep.study.two_way import ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_INCHES = 0.42
_COLOUR = "#2b5d8a"
_Row = tuple[str, float, float | None, float | None]


def draw_means(path: Path, result: QuestionResult, analysis: Analysis) -> None:
    """Mean ratings with their two-way intervals; systems filled, references and anchors hollow."""
    rows = [(m.system, m.mean, *ends(m.bounds)) for m in result.means]
    filled = [analysis.roles[one.system] == "system" for one in result.means]
    question = result.question
    with drawing():
        figure, ax = _axes(rows, f"{question.id}: mean rating and 95 % interval")
        _dots(ax, rows, filled)
        ax.set_xlim(question.minimum, question.maximum)
        if 0 < len(question.labels) <= 5 and question.maximum - question.minimum <= 10:
            ax.set_xticks([label.value for label in question.labels], labels=[label.text for label in question.labels])
            ax.tick_params(axis="x", labelsize=8)
        save(figure, path)


def draw_differences(path: Path, rows: Sequence[_Row], found: Sequence[bool], title: str, zero: float) -> None:
    """Differences with their intervals around ``zero``; those that count as found are filled."""
    with drawing():
        figure, ax = _axes(rows, title)
        ax.axvline(zero, color="0.4", linewidth=1)
        _dots(ax, rows, found)
        save(figure, path)


def draw_all(folder: Path, analysis: Analysis) -> dict[str, list[Path]]:
    """All figures of ``analysis`` as PNG files in ``folder``, by the question's id, or "preference" for A/B."""
    drawn: dict[str, list[Path]] = {}
    for result in analysis.questions:
        name = result.question.id
        drawn[name] = [folder / f"{name}_means.png"]
        draw_means(drawn[name][0], result, analysis)
        if result.differences:
            drawn[name].append(folder / f"{name}_differences.png")
            rows = [(f"{d.first} - {d.second}", d.difference, *ends(d.bounds)) for d in result.differences]
            found = [d.p_holm is not None and d.p_holm < 0.05 for d in result.differences]
            draw_differences(drawn[name][1], rows, found, f"{name}: difference (filled: found after Holm)", 0)
    if analysis.preferences:
        rows = [(f"{p.first} over {p.second}", p.share, *ends(p.bounds)) for p in analysis.preferences]
        found = [p.p_holm is not None and p.p_holm < 0.05 for p in analysis.preferences]
        drawn["preference"] = [folder / "preference.png"]
        draw_differences(drawn["preference"][0], rows, found, "share that preferred the first (filled: found)", 0.5)
    return drawn


def _axes(rows: Sequence[_Row], title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.3 + _ROW_INCHES * len(rows)))
    ax = figure.subplots()
    ax.set_yticks(range(len(rows)), labels=[fitted(row[0], 44, 1) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="x", alpha=0.3)
    ax.set_title(title, fontsize=11)
    return figure, ax


def _dots(ax: Axes, rows: Sequence[_Row], filled: Sequence[bool]) -> None:
    for place, ((_, value, low, high), solid) in enumerate(zip(rows, filled, strict=True)):
        ends = None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]
        face = _COLOUR if solid else "white"
        ax.errorbar(value, place, xerr=ends, fmt="o", color=_COLOUR, mfc=face, ms=6, capsize=3, elinewidth=1.8)
