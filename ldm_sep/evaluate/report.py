"""``report.html``: all of an evaluation on one page that needs no network.

Tables, figures and spectrograms are inside; the sounds of its players lie in a folder beside it. The page itself is
``templates/report.html.j2``; here is what it shows.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldm_sep.audio.resample import LENGTH_TOLERANCE
from ldm_sep.evaluate import tables
from ldm_sep.evaluate.excerpt import PLAYERS, SECONDS, Player
from ldm_sep.evaluate.published import HEADING, SOURCE
from ldm_sep.evaluate.summary import Summary
from ldm_sep.files import shown
from ldm_sep.statistics import RESAMPLES, SEED

_JPEG_QUALITY = 80


@dataclass(frozen=True)
class _Cell:
    """A text, with a second line, and the number that it sorts by; or of a column of texts."""

    text: str
    value: float | None = None
    detail: str = ""
    text_column: bool = False


@dataclass(frozen=True)
class _Table:
    head: Sequence[str]
    text_columns: int
    rows: Sequence[Sequence[_Cell]]


@dataclass(frozen=True)
class _Picture:
    name: str
    data: str


@dataclass(frozen=True)
class _Listen:
    track: str
    players: Sequence[Player]
    sheet: str | None


def html_report(
    summary: Summary,
    plots: Sequence[Path],
    sheets: Mapping[str, Path],
    players: Mapping[str, Sequence[Player]] | None = None,
) -> str:
    """The page. ``plots`` are figures over tracks, ``sheets`` the spectrograms and ``players`` the sounds by track."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Path(__file__).parent / "templates"

    def printable(value: Any) -> Any:
        # What the template marks as safe is its own markup.
        return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = Environment(
        loader=FileSystemLoader(templates), autoescape=True, finalize=printable, undefined=StrictUndefined
    )
    sounds = players or {}
    context = {
        "style": (templates / "report.css").read_text(encoding="utf-8"),
        "script": (templates / "report.js").read_text(encoding="utf-8"),
        "summary": summary,
        "note": tables.list_note(summary),
        "measured": _measured(summary),
        "interval_note": tables.interval_note(summary),
        "published": _published() if summary.published else None,
        "published_heading": HEADING,
        "published_source": SOURCE,
        "plots": [_Picture(path.stem.replace("_", " "), _base64(path.read_bytes())) for path in plots],
        "listen": [
            _Listen(track, sounds.get(track, ()), _jpeg(sheets[track]) if track in sheets else None)
            for track in summary.tracks
            if track in sheets or track in sounds
        ],
        "seconds": f"{SECONDS:.0f}",
        "sounds": PLAYERS,
        "tests": _tests(summary),
        "untested": tables.untested_note(summary),
        "test_note": tables.test_note(),
        "tracks": _tracks(summary),
        "undefined_scores": _undefined(summary),
        "metrics": {metric.label: metric.definition for metric in summary.metrics},
        "settings": {
            "metrics": ", ".join(metric.key for metric in summary.metrics),
            "track list": f"SHA-256 of the sorted names, one a line, first 12 digits: {summary.track_hash}",
            "lengths": f"files that differ by up to {LENGTH_TOLERANCE} samples are cut to the shorter one",
            "bootstrap": f"{RESAMPLES} resamples of the tracks, seed {SEED}",
            "versions": ", ".join(f"{name} {number}" for name, number in summary.versions.items()),
        },
    }
    return environment.get_template("report.html.j2").render(context) + "\n"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _jpeg(path: Path) -> str:
    """A sheet as a JPEG: a fifth of the size, and fifty tracks should still open."""
    from matplotlib.image import imread, imsave

    data = io.BytesIO()
    imsave(data, imread(path), format="jpeg", pil_kwargs={"quality": _JPEG_QUALITY})
    return _base64(data.getvalue())


def _words(text: str) -> _Cell:
    return _Cell(text, text_column=True)


def _measured(summary: Summary) -> _Table:
    rows = []
    for system in summary.systems:
        cells = [_words(system)]
        for metric in summary.metrics:
            score = summary.scores[system][metric.key]
            # The interval goes on a second line, so that more metrics fit side by side.
            text, bracket, detail = tables.cell(score, metric.key, len(summary.tracks)).partition(" [")
            cells.append(_Cell(text, score.value, bracket.strip() + detail))
        rows.append(cells)
    return _Table(["system", *(tables.heading(metric) for metric in summary.metrics)], 1, rows)


def _published() -> _Table:
    head, rows = tables.published_rows()
    cells = [[_words(name), *(_Cell(text, _number(text)) for text in texts)] for name, *texts in rows]
    return _Table(head, 1, cells)


def _number(text: str) -> float | None:
    """The number that a cell such as ``116 M`` begins with."""
    try:
        return float(text.split()[0])
    except ValueError:
        return None


def _tests(summary: Summary) -> _Table | None:
    labels = {metric.key: metric.label for metric in summary.metrics}
    rows = [
        [
            _words(labels[c.metric]),
            _words(c.first),
            _words(c.second),
            _Cell(str(c.test.n), c.test.n),
            _Cell(tables.difference(c.test, c.metric), c.test.difference),
            _Cell(tables.p_value(c.test.p), c.test.p),
            _Cell(tables.p_value(c.test.p_holm), c.test.p_holm),
        ]
        for c in summary.comparisons
        if c.test.p is not None
    ]
    return _Table(["metric", "first", "second", "n", "first - second", "p", "p (Holm)"], 3, rows) if rows else None


def _tracks(summary: Summary) -> _Table:
    rows = []
    for track in summary.tracks:
        for system in summary.systems:
            cells = [_words(track), _words(system)]
            for metric in summary.metrics:
                score = summary.rows[track, system].scores.get(metric.key)
                value = None if score is None else score.value
                cells.append(_Cell(tables.number(value, metric.key), value))
            rows.append(cells)
    head = ["track", "system", *(tables.heading(metric).replace(" median", "") for metric in summary.metrics)]
    return _Table(head, 2, rows)


def _undefined(summary: Summary) -> _Table | None:
    rows = [
        [_words(system), _words(label), _words(reason), _Cell(str(count), count)]
        for system, label, count, reason in tables.undefined_lines(summary)
    ]
    return _Table(["system", "metric", "reason", "tracks"], 3, rows) if rows else None
