"""What an evaluation leaves in its folder, and under which names."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ldm_sep.evaluate import tables
from ldm_sep.evaluate.excerpt import PLAYERS, players
from ldm_sep.evaluate.plots import draw_boxes, draw_differences, draw_histograms
from ldm_sep.evaluate.report import html_report
from ldm_sep.evaluate.rows import hash_of, write_text
from ldm_sep.evaluate.summary import Summary
from ldm_sep.evaluate.task import SheetFiles
from ldm_sep.files import as_file_name
from ldm_sep.metrics import METRICS, Metric

SHEETS, PLOTS = "spectrograms", "plots"
# Raise it when sheets or players are made differently.
_VERSION = 2
_NAME = re.compile(r".* [0-9a-f]{12}(\.png)?", re.DOTALL)
# The metric whose distribution over tracks is drawn as a histogram as well.
_HISTOGRAM = "sdr"


def sheet_files(out: Path, track: str, keys: Sequence[str], systems: Sequence[str]) -> SheetFiles:
    """Names that change with what the sheet of ``track`` shows: ``systems``, whose rows have these ``keys``."""
    digest = hash_of(json.dumps([_VERSION, track, list(keys), list(systems)]))
    name = f"{as_file_name(track)} {digest}"
    return SheetFiles(out / SHEETS / f"{name}.png", out / PLAYERS / name)


def write_results(summary: Summary, out: Path, sheets: Mapping[str, SheetFiles]) -> None:
    """Tables, figures and the report, each whole or not at all; ``sheets`` are those that were made, by track.

    Figures and sheets of earlier runs that no longer hold are taken away. DataError if something cannot be written.
    """
    write_text(out / "summary.json", tables.summary_json(summary))
    write_text(out / "table.md", tables.markdown(summary))
    write_text(out / "scores.csv", tables.scores_csv(summary))
    plots = [path for metric in summary.metrics for path in _draw(summary, metric, out / PLOTS)]
    drawn = [f"{metric.key}{kind}.png" for metric in METRICS for kind in ("", "_histogram", "_differences")]
    for path in {out / PLOTS / name for name in drawn} - set(plots):
        _remove(path)
    if sheets:
        kept = {path for files in sheets.values() for path in (files.picture, files.players)}
        for path in {*(out / SHEETS).glob("*"), *(out / PLAYERS).glob("*")} - kept:
            # Only files named by `sheet_files`: the folders may hold others.
            if _NAME.fullmatch(path.name):
                _remove(path)
    pictures = {track: files.picture for track, files in sheets.items()}
    sounds = {track: players(files.players, summary.systems) for track, files in sheets.items()}
    write_text(out / "report.html", html_report(summary, plots, pictures, sounds))


def _draw(summary: Summary, metric: Metric, folder: Path) -> list[Path]:
    note = tables.list_note(summary)
    values = [(system, list(summary.values(system, metric.key).values())) for system in summary.systems]
    drawn = [folder / f"{metric.key}.png"]
    draw_boxes(drawn[0], metric, values, note)
    if metric.key == _HISTOGRAM:
        drawn.append(folder / f"{metric.key}_histogram.png")
        draw_histograms(drawn[-1], metric, values, note)
    first, *others = summary.systems
    if others:
        pairs = [(other, summary.differences(other, first, metric.key)) for other in others]
        drawn.append(folder / f"{metric.key}_differences.png")
        draw_differences(drawn[-1], metric, first, pairs, note)
    return drawn


def _remove(stale: Path) -> None:
    with suppress(OSError):
        if stale.is_dir():
            shutil.rmtree(stale)
        else:
            stale.unlink(missing_ok=True)
