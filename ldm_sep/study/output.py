"""All files of an analysis."""

from pathlib import Path

from ldm_sep.errors import StudyError, unwritable
from ldm_sep.files import make_folder, write_text
from ldm_sep.study import ratings, tables, webmushra
from ldm_sep.study.analysis import Analysis
from ldm_sep.study.collect import Collected
from ldm_sep.study.plots import draw_all
from ldm_sep.study.records import Key, Study
from ldm_sep.study.report import html_report


def write_all(
    out: Path, analysis: Analysis, collected: Collected, folder: Path | None, songs: int, kept_all: bool
) -> Path:
    """Tables, plots and the report into ``out``, each whole or not at all; returns the report's path.

    StudyError if something cannot be written, AudioError if a sound for the report cannot be read.
    """
    make_folder(out)
    images = draw_all(out, analysis)
    texts = {
        "table.md": tables.markdown(analysis),
        "means.csv": tables.means_csv(analysis),
        "differences.csv": tables.differences_csv(analysis),
        "analysis.json": tables.to_json(analysis),
        "report.html": html_report(analysis, collected, folder, images, songs, kept_all),
    }
    if collected.ratings:
        texts["ratings.csv"] = ratings.to_csv(collected.ratings)
    for name, text in texts.items():
        _write(out / name, text)
    return out / "report.html"


def write_ratings(path: Path, collected: Collected) -> None:
    """The ratings as a plain table; of A/B choices 1 for the preferred system, 0 for the other. StudyError."""
    _write(path, ratings.to_csv([*collected.ratings, *ratings.as_ratings(collected.choices)]))


def write_webmushra(folder: Path, study: Study, key: Key, place: str) -> int:
    """A configuration of webMUSHRA for each listener; how many there are. StudyError, ConfigError."""
    texts = {
        f"listener-{listener.number}.yaml": webmushra.configuration(study, key, listener.number, place)
        for listener in study.listeners
    }
    make_folder(folder)
    for name, text in texts.items():
        _write(folder / name, text)
    return len(texts)


def _write(path: Path, text: str) -> None:
    with unwritable(StudyError, path, "choose another -o"):
        write_text(path, text)
