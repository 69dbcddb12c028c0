"""``report.html``: all of an evaluation on one page that needs no network.

Tables, figures and spectrograms are inside; the sounds of its players lie in a folder beside it. The page itself is
``templates/report.html.j2``; here is what it shows.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
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
        # Texts that the template marks as safe are its own markup.
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
        "measured": tables.measured(summary),
        "interval_note": tables.interval_note(summary),
        "published": tables.published() if summary.published else None,
        "published_heading": HEADING,
        "published_source": SOURCE,
        "plots": {path.stem.replace("_", " "): _base64(path.read_bytes()) for path in plots},
        "listen": {
            track: (sounds.get(track, ()), _jpeg(sheets[track]) if track in sheets else None)
            for track in summary.tracks
            if track in sheets or track in sounds
        },
        "seconds": f"{SECONDS:.0f}",
        "sounds": PLAYERS,
        "tests": tables.paired_tests(summary),
        "untested": tables.untested_note(summary),
        "test_note": tables.test_note(),
        "tracks": _tracks(summary),
        "undefined_scores": tables.undefined(summary),
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
    """A sheet as a JPEG, a fifth of the size: a report of fifty tracks should still open."""
    from matplotlib.image import imread, imsave

    data = io.BytesIO()
    imsave(data, imread(path), format="jpeg", pil_kwargs={"quality": _JPEG_QUALITY})
    return _base64(data.getvalue())


def _tracks(summary: Summary) -> tables.Table:
    rows = []
    for track in summary.tracks:
        for system in summary.systems:
            cells = [tables.Cell(track, is_name=True), tables.Cell(system, is_name=True)]
            for metric in summary.metrics:
                score = summary.rows[track, system].scores.get(metric.key)
                value = None if score is None else score.value
                cells.append(tables.Cell(tables.number(value, metric.key), value))
            rows.append(cells)
    head = ["track", "system", *(tables.heading(metric).replace(" median", "") for metric in summary.metrics)]
    return tables.Table(head, rows)
