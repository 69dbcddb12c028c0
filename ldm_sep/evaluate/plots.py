"""Figures over tracks: box plots by system, differences against the first system. PNG files, no display needed.

Systems are rows, so that long names have room; colours are those of Okabe & Ito, which colour-blind readers tell apart.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ldm_sep.evaluate.rows import write_bytes
from ldm_sep.figures import need_matplotlib
from ldm_sep.files import shown
from ldm_sep.metrics import Metric
from ldm_sep.statistics import CONFIDENCE, bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#666666")
# Tried in this order where a glyph is missing; only those that are installed are named to matplotlib.
_FONTS = ("DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Arial Unicode MS", "Hiragino Sans")
_DPI = 110
_NAME_WIDTH = 26
_ROW_INCHES = 0.62


@contextmanager
def drawing() -> Iterator[None]:
    """Settings for all figures, put back afterwards. A ``$`` in a name stays a ``$``."""
    need_matplotlib("a figure")
    import matplotlib
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    settings: dict[Any, Any] = {
        "font.family": [name for name in _FONTS if name in installed] or ["sans-serif"],
        "font.size": 10,
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Characters that no installed font has are drawn as boxes. The tables show the name.
        warnings.filterwarnings("ignore", message=".*Glyph.*missing")
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI)
    write_bytes(path, data.getvalue())


def fitted(name: str, width: int, lines: int = 2) -> str:
    """``name`` broken into at most ``lines`` of ``width`` characters, the rest as an ellipsis."""
    whole = textwrap.wrap(shown(name), width, break_on_hyphens=False) or [""]
    if len(whole) > lines:
        whole = [*whole[: lines - 1], whole[lines - 1][: width - 1].rstrip() + "…"]
    return "\n".join(whole)


def _rows(figure: Figure, names: Sequence[str]) -> Axes:
    ax = figure.add_subplot()
    ax.set_yticks(range(len(names)), [fitted(name, _NAME_WIDTH) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="0.88", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def _figure(rows: int) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(7.5, 1.5 + _ROW_INCHES * rows))


def _spread(count: int, width: float) -> np.ndarray:
    """Random offsets that keep points from covering one another; the same for the same count."""
    return np.random.default_rng(count).uniform(-width, width, count)


def _point_alpha(count: int) -> float:
    return float(np.clip(12 / max(count, 1) ** 0.6, 0.15, 0.75))


def _axis_label(metric: Metric) -> str:
    return metric.label if metric.unit in ("", "-") else f"{metric.label} [{metric.unit}]"


def draw_boxes(path: Path, metric: Metric, values: Sequence[tuple[str, Sequence[float]]], note: str) -> None:
    """Distribution over tracks of ``metric``, a row for each (system, values); ``note`` is put below."""
    with drawing():
        figure = _figure(len(values))
        ax = _rows(figure, [name for name, _ in values])
        for i, (_, numbers) in enumerate(values):
            colour = _PALETTE[i % len(_PALETTE)]
            if not len(numbers):
                ax.text(0.01, i, "undefined", transform=ax.get_yaxis_transform(), va="center", color="0.4")
                continue
            ax.boxplot(
                [np.asarray(numbers)],
                positions=[i],
                orientation="horizontal",
                widths=0.55,
                showfliers=False,
                patch_artist=True,
                manage_ticks=False,
                boxprops={"facecolor": colour, "alpha": 0.28, "edgecolor": colour},
                medianprops={"color": colour, "linewidth": 2},
                whiskerprops={"color": colour},
                capprops={"color": colour},
            )
            place = i + _spread(len(numbers), 0.2)
            ax.scatter(numbers, place, s=16, color=colour, alpha=_point_alpha(len(numbers)), linewidths=0, zorder=3)
            _diamond(ax, float(np.mean(numbers)), i)
        ax.set_xlabel(_axis_label(metric))
        ax.set_title(f"{metric.label}: {metric.better} is better", fontsize=11)
        _note(figure, f"{note}. Box: quartiles, median; whiskers: 1.5 boxes; dots: tracks; diamond: mean.")
        save(figure, path)


def draw_histograms(path: Path, metric: Metric, values: Sequence[tuple[str, Sequence[float]]], note: str) -> None:
    """How many tracks have which value of ``metric``: a panel for each (system, values), on the same bins."""
    everything = np.concatenate([np.asarray(numbers, float) for _, numbers in values])
    # About two bins per square root of the number of tracks, from 8 to 40.
    edges = np.histogram_bin_edges(everything, bins=min(40, max(8, int(2 * len(everything) ** 0.5))))
    with drawing():
        figure = _figure(len(values) + 1)
        panels = figure.subplots(len(values), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for i, (ax, (name, numbers)) in enumerate(zip(panels, values, strict=True)):
            colour = _PALETTE[i % len(_PALETTE)]
            ax.hist(numbers, edges, color=colour, alpha=0.75, edgecolor="white", linewidth=0.5)
            if len(numbers):
                ax.axvline(np.median(numbers), color="black", linewidth=1.4)
            ax.set_title(f"{fitted(name, 60, 1)}{'' if len(numbers) else ': undefined'}", fontsize=9, pad=2)
            ax.yaxis.get_major_locator().set_params(integer=True)
            ax.tick_params(labelsize=8)
        panels[-1].set_xlabel(_axis_label(metric))
        figure.suptitle(f"{metric.label}: {metric.better} is better", fontsize=11, x=0.01, ha="left")
        figure.supylabel("tracks", fontsize=9)
        _note(figure, f"{note}. Bars: tracks; line: median.")
        save(figure, path)


def draw_differences(
    path: Path, metric: Metric, first: str, differences: Sequence[tuple[str, Sequence[float]]], note: str
) -> None:
    """Differences to the system ``first``, track by track: a row for each (other system, differences)."""
    with drawing():
        figure = _figure(len(differences))
        ax = _rows(figure, [name for name, _ in differences])
        ax.axvline(0, color="0.35", linewidth=1)
        for i, (_, numbers) in enumerate(differences):
            # The same colour as in the box plots.
            colour = _PALETTE[(i + 1) % len(_PALETTE)]
            if not len(numbers):
                ax.text(0.01, i, "no pairs", transform=ax.get_yaxis_transform(), va="center", color="0.4")
                continue
            place = i + _spread(len(numbers), 0.22)
            ax.scatter(numbers, place, s=18, color=colour, alpha=_point_alpha(len(numbers)), linewidths=0)
            mean, interval = float(np.mean(numbers)), bootstrap_interval(numbers)
            if interval is not None:
                ax.plot([interval.low, interval.high], [i, i], color="black", linewidth=2.4, zorder=3)
            _diamond(ax, mean, i)
        ax.set_xlabel(f"{_axis_label(metric)}, difference to {fitted(first, 40, 1)}")
        sides = {"higher": "right of 0 is better than", "lower": "left of 0 is better than"}
        side = sides.get(metric.better, "difference to")
        ax.set_title(f"{metric.label}: {side} {fitted(first, 40, 1)}", fontsize=11)
        _note(figure, f"{note}. Dots: tracks; diamond and bar: mean and its {CONFIDENCE:.0%} bootstrap interval.")
        save(figure, path)


def _diamond(ax: Axes, value: float, row: int) -> None:
    ax.scatter([value], [row], marker="D", s=36, facecolor="white", edgecolor="black", linewidths=1.2, zorder=4)


def _note(figure: Figure, text: str) -> None:
    figure.supxlabel(textwrap.fill(text, 118), fontsize=7.5, color="0.35", x=0.01, ha="left")
