"""``report.html``: everything of an evaluation in one file, images included, that needs no network."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from ldm_sep.evaluate import tables
from ldm_sep.evaluate.published import HEADING, SOURCE
from ldm_sep.evaluate.summary import Summary
from ldm_sep.files import shown
from ldm_sep.statistics import RESAMPLES, SEED

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; margin: 2rem auto; max-width: 1180px;
  padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
.note { color: #555; font-size: .88rem; }
.scroll { overflow: auto; max-height: 75vh; border: 1px solid #ddd; border-radius: 4px; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e6e6e6; }
th { position: sticky; top: 0; background: #f4f5f7; cursor: pointer; user-select: none; white-space: normal; }
th.text, td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
td.none { color: #777; }
th[data-order="1"]::after { content: " \\25B4"; } th[data-order="-1"]::after { content: " \\25BE"; }
.published table { background: #fbf7ec; } .failed li { color: #8a1c00; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(430px, 1fr)); gap: 1rem; }
img { max-width: 100%; height: auto; border: 1px solid #eee; }
summary { cursor: pointer; padding: .25rem 0; } dt { font-weight: 600; } dd { margin: 0 0 .5rem 1.2rem; }
code { overflow-wrap: anywhere; }
"""

# Sorts by data-v where a cell has it, cells without a value last.
_SCRIPT = """
for (const th of document.querySelectorAll('th')) th.addEventListener('click', () => {
  const table = th.closest('table'), body = table.tBodies[0], column = th.cellIndex;
  const order = th.dataset.order === '1' ? -1 : 1;
  for (const other of table.querySelectorAll('th')) delete other.dataset.order;
  th.dataset.order = order;
  const value = row => { const c = row.cells[column]; return c.dataset.v === undefined ? c.textContent : c.dataset.v; };
  const rows = Array.from(body.rows).sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === '' || y === '') return (x === '') - (y === '');
    const n = Number(x) - Number(y);
    return order * (Number.isNaN(n) ? x.localeCompare(y, undefined, {numeric: true}) : n);
  });
  body.append(...rows);
});
"""


def _text(value: str) -> str:
    return f'<td class="text">{escape(shown(value))}</td>'


def _value(text: str, value: float | None) -> str:
    """A cell that sorts by its number."""
    if value is None:
        return f'<td class="none" data-v="">{escape(text)}</td>'
    return f'<td data-v="{value!r}">{escape(text)}</td>'


def _table(head: Sequence[str], text_columns: int, rows: Sequence[Sequence[str]]) -> str:
    """A sortable table of ready cells; the first columns are text."""
    heads = "".join(
        f'<th class="text">{escape(name)}</th>' if i < text_columns else f"<th>{escape(name)}</th>"
        for i, name in enumerate(head)
    )
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _image(data: bytes, kind: str, alt: str) -> str:
    text = base64.b64encode(data).decode("ascii")
    return f'<img src="data:image/{kind};base64,{text}" alt="{escape(shown(alt), quote=True)}">'


def _sheet(track: str, path: Path) -> str:
    """A spectrogram sheet, folded away. As a JPEG: a fifth of the size, and fifty tracks should still open."""
    from matplotlib.image import imread, imsave

    data = io.BytesIO()
    imsave(data, imread(path), format="jpeg", pil_kwargs={"quality": 80})
    image = _image(data.getvalue(), "jpeg", f"spectrograms of {track}")
    return f"<details><summary>{escape(shown(track))}</summary>{image}</details>"


def _measured(summary: Summary) -> str:
    rows = []
    for system in summary.systems:
        scores = summary.scores[system]
        cells = []
        for metric in summary.metrics:
            score = scores[metric.key]
            cell = _value(tables.cell(score, metric.key, len(summary.tracks)), score.value)
            # The interval on a line of its own: more metrics side by side.
            cells.append(cell.replace(" [", "<br>[", 1))
        rows.append([_text(system), *cells])
    head = ["system", *(tables.heading(metric) for metric in summary.metrics)]
    return _table(head, 1, rows) + _note(summary, tables.interval_note(summary))


def _published() -> str:
    head, rows = tables.published_rows()
    cells = [[_text(row[0]), *(f"<td>{escape(text)}</td>" for text in row[1:])] for row in rows]
    table = _table(head, 1, cells)
    note = f'<p class="note">{escape(SOURCE)}</p>'
    return f'<section class="published"><h2>{escape(HEADING)}</h2>{table}{note}</section>'


def _tests(summary: Summary) -> str:
    labels = {metric.key: metric.label for metric in summary.metrics}
    rows = [
        [
            _text(labels[c.metric]),
            _text(c.first),
            _text(c.second),
            _value(str(c.test.n), c.test.n),
            _value(tables.difference(c.test, c.metric), c.test.difference),
            _value(tables.p_value(c.test.p), c.test.p),
            _value(tables.p_value(c.test.p_holm), c.test.p_holm),
            _text(c.test.reason or ""),
        ]
        for c in summary.comparisons
    ]
    head = ["metric", "first", "second", "n", "first - second", "p", "p (Holm)", ""]
    return f"<h2>Paired tests</h2>{_table(head, 3, rows)}{_note(summary, tables.test_note())}"


def _tracks(summary: Summary) -> str:
    rows = []
    for track in summary.tracks:
        for system in summary.systems:
            row = summary.rows[track, system]
            cells = []
            for metric in summary.metrics:
                score = row.scores.get(metric.key)
                value = None if score is None else score.value
                cells.append(_value(tables.number(value, metric.key), value))
            rows.append([_text(track), _text(system), *cells])
    head = ["track", "system", *(tables.heading(metric).replace(" median", "") for metric in summary.metrics)]
    return f"<h2>Tracks</h2>{_table(head, 2, rows)}{_note(summary, 'A click on a heading sorts.')}"


def _undefined(summary: Summary) -> str:
    found = tables.undefined_lines(summary)
    if not found:
        return ""
    rows = [[_text(s), _text(label), _text(reason), _value(str(count), count)] for s, label, count, reason in found]
    return f"<h2>Undefined</h2>{_table(['system', 'metric', 'reason', 'tracks'], 3, rows)}{_note(summary, '')}"


def _failed(summary: Summary) -> str:
    if not summary.failures:
        return ""
    items = "".join(
        f"<li>{escape(shown(f.track))}, {escape(shown(f.system))}: {escape(shown(f.message))}</li>"
        for f in summary.failures
    )
    return f'<section class="failed"><h2>Failed</h2><ul>{items}</ul></section>'


def _note(summary: Summary, text: str) -> str:
    return f'<p class="note">{escape(tables.list_note(summary))}. {escape(text)}</p>'


def _definitions(pairs: Mapping[str, str]) -> str:
    return (
        "<dl>" + "".join(f"<dt>{escape(shown(k))}</dt><dd>{escape(shown(v))}</dd>" for k, v in pairs.items()) + "</dl>"
    )


def _settings(summary: Summary) -> str:
    settings = {
        "metrics": ", ".join(metric.key for metric in summary.metrics),
        "track list": f"SHA-256 of the sorted names, one a line, first 12 digits: {summary.track_hash}",
        "bootstrap": f"{RESAMPLES} resamples of the tracks, seed {SEED}",
        "versions": ", ".join(f"{name} {number}" for name, number in summary.versions.items()),
    }
    return _definitions(settings)


def html_report(summary: Summary, plots: Sequence[Path], sheets: Mapping[str, Path]) -> str:
    """The page. ``plots`` are figures over tracks, ``sheets`` the spectrograms by track."""
    parts = [
        "<h1>Evaluation</h1>",
        f'<p class="note">{escape(tables.list_note(summary))}; {len(summary.systems)} systems.</p>',
        _failed(summary),
        "<h2>Measured</h2>",
        _measured(summary),
        _published() if summary.published else "",
    ]
    if plots:
        images = "".join(_image(path.read_bytes(), "png", path.stem.replace("_", " ")) for path in plots)
        parts.append(f'<h2>Distributions and differences</h2><div class="plots">{images}</div>')
    if summary.comparisons:
        parts.append(_tests(summary))
    parts += [_tracks(summary), _undefined(summary)]
    if sheets:
        parts.append("<h2>Spectrograms</h2>")
        parts += [_sheet(track, path) for track, path in sheets.items()]
    parts += ["<h2>Metrics</h2>", _definitions({m.label: m.definition for m in summary.metrics})]
    parts += ["<h2>Systems</h2>", _definitions(summary.about), "<h2>Settings</h2>", _settings(summary)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>ldm-sep evaluation</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<script>{_SCRIPT}</script></body></html>\n"
    )
