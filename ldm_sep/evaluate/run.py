"""An evaluation from matched tracks to finished tables."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from ldm_sep.errors import ConfigError, need_package
from ldm_sep.evaluate.match import CODEC_BASELINE, TrackFiles, is_baseline, need_mixtures
from ldm_sep.evaluate.output import sheet_files, write_results
from ldm_sep.evaluate.rows import Row, RowFile, identity, is_done, merged, row_key, versions
from ldm_sep.evaluate.score import CodecCache, score_track
from ldm_sep.evaluate.summary import Failure, Summary, summarise
from ldm_sep.evaluate.task import CodecFiles, Sheet, SheetFiles, Task, after_crash
from ldm_sep.figures import need_matplotlib
from ldm_sep.files import shown
from ldm_sep.metrics import DEFAULT_METRICS, METRICS, check_installed
from ldm_sep.separation.naming import Stem
from ldm_sep.workers import work_through

_ABOUT = {
    "irm": "baseline: ideal ratio mask |V| / (|V| + |A|) on the mixture's STFT (2048 / 512), A = mixture - vocals",
    "mixture": "baseline: the mixture itself",
    "silence": "baseline: digital silence",
    "karaoke": "baseline: what centre cancellation (L - R) takes away, (L + R) / 2 in both channels",
}


def evaluate(
    tracks: Sequence[TrackFiles],
    systems: Sequence[str],
    out: Path,
    *,
    jobs: int = 1,
    metrics: Sequence[str] = DEFAULT_METRICS,
    stem: Stem = "vocals",
    spectrograms: bool = True,
    published: bool = False,
    codec_weights: Path | None = None,
    report: Callable[[int, int, Row | None], None] | None = None,
) -> Summary:
    """Score ``systems`` on ``tracks`` and write ``out``.

    A system is a name in the tracks' estimates or a baseline: ``irm``, ``mixture``, ``silence``, ``karaoke``, or
    ``codec:CHECKPOINT``, the true vocals through a checkpoint's codec and back. Rows go to ``scores.jsonl`` as they
    are finished; rows in it that still hold are not computed again. Then ``summary.json``, ``table.md``,
    ``scores.csv``, ``plots/*.png``, ``spectrograms/*.png``, ``excerpts/*/*.flac`` and ``report.html`` are written, each
    whole or not at all.

    Args:
        jobs: processes, of one thread each; the numbers do not depend on it.
        metrics: keys of `ldm_sep.metrics.METRICS`.
        stem: ``instrumental`` scores the mixture without an estimate against the mixture without the true vocals.
        spectrograms: whether to make a sheet of spectrograms and excerpts to listen to for each track.
        published: whether to put the paper's rows in a table of their own beside the measured ones.
        codec_weights: the pretrained EnCodec's file, for ``codec:`` checkpoints made on it.
        report: called with (rows done, rows in all, the row) for each new row, and before the first with None.

    Raises:
        ConfigError: unknown metrics or systems, or none.
        DataError: a baseline needs mixtures that are not there, or ``out`` cannot be written.
        CheckpointError: a codec's checkpoint cannot be found or read.
        DependencyError: a package of the extra ``eval`` is missing.

    A pair that cannot be scored raises nothing: it becomes an error of its row, one of ``Summary.failures``.
    """
    _check(tracks, systems, metrics, jobs)
    if stem == "instrumental":
        need_mixtures(tracks, ["mixture"])
    codecs = {name: _codec_files(name, codec_weights) for name in systems if name.startswith(CODEC_BASELINE)}
    failures: list[Failure] = []
    with RowFile(out / "scores.jsonl") as kept:
        tasks, sheets = _plan(tracks, systems, metrics, stem, out if spectrograms else None, codecs, kept)
        total = len(tracks) * len(systems)
        before = total - sum(len(task.wanted) for task in tasks)
        finished: set[tuple[str, str]] = set()
        if report is not None:
            report(before, total, None)
        score = partial(score_track, cache=CodecCache())
        with closing(work_through(score, tasks, jobs, after_crash)) as results:
            for result in results:
                if isinstance(result, Sheet):
                    if result.error:
                        failures.append(Failure(result.track, "spectrograms", result.error))
                    continue
                row = merged(kept.rows.get((result.track, result.system)), result)
                kept.append(row)
                # After a crash the metrics of a row come one by one.
                whole = row.error is not None or set(metrics) <= row.scores.keys() | row.failed.keys()
                if whole and (row.track, row.system) not in finished:
                    finished.add((row.track, row.system))
                    if report is not None:
                        report(before + len(finished), total, row)
        rows = dict(kept.rows)
    summary = summarise(
        rows,
        [track.name for track in tracks],
        systems,
        metrics,
        about={system: _about(system, tracks, stem) for system in systems},
        versions=versions(),
        failures=failures,
        published=published,
    )
    write_results(summary, out, {track: files for track, files in sheets.items() if files.picture.is_file()})
    return summary


def parse_metrics(text: str) -> tuple[str, ...]:
    """``sdr,lsd`` in any order to keys in the order of tables. ConfigError for other words."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    _check_metrics(words)
    return tuple(metric.key for metric in METRICS if metric.key in words)


def _check_metrics(metrics: Sequence[str]) -> None:
    known = [metric.key for metric in METRICS]
    unknown = [word for word in metrics if word not in known]
    if unknown or not metrics:
        what = f"{unknown[0]}: no such metric" if unknown else "no metrics"
        raise ConfigError(f"{what}; choose from {', '.join(known)}")


def _check(tracks: Sequence[TrackFiles], systems: Sequence[str], metrics: Sequence[str], jobs: int) -> None:
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, not {jobs}")
    _check_metrics(metrics)
    if not systems or not tracks:
        raise ConfigError("nothing to evaluate; name estimates with --estimates NAME=DIR, or a --baseline")
    for i, system in enumerate(systems):
        if system in systems[:i]:
            raise ConfigError(f"the system '{system}' is named twice; give each a name of its own")
        lacking = [track.name for track in tracks if system not in track.estimates]
        if lacking and not is_baseline(system):
            raise ConfigError(f"the system '{system}' has no estimate of the track '{lacking[0]}'")
    need_mixtures(tracks, systems)
    check_installed(metrics)
    need_matplotlib("evaluation")
    for package in ("scipy", "jinja2"):
        need_package("evaluation", package)


def _codec_files(name: str, weights: Path | None) -> CodecFiles:
    from ldm_sep.checkpoint.manifest import read_manifest
    from ldm_sep.checkpoint.names import find_checkpoint

    folder = find_checkpoint(name.removeprefix(CODEC_BASELINE))
    read_manifest(folder)
    return CodecFiles(folder, weights)


def _codec_parts(files: CodecFiles) -> list[Path]:
    """The files that a codec's output rests on."""
    parts = [files.folder / "config.json", files.folder / "codec.safetensors"]
    return [path for path in parts if path.is_file()] + ([files.weights] if files.weights else [])


def _plan(
    tracks: Sequence[TrackFiles],
    systems: Sequence[str],
    metrics: Sequence[str],
    stem: Stem,
    out: Path | None,
    codecs: Mapping[str, CodecFiles],
    kept: RowFile,
) -> tuple[list[Task], dict[str, SheetFiles]]:
    """What is left to do, and the files of each track's sheet; ``out`` None for no sheets."""
    tasks: list[Task] = []
    sheets: dict[str, SheetFiles] = {}
    packages = versions()
    parts = {name: _codec_parts(files) for name, files in codecs.items()}
    for track in tracks:
        wanted: list[tuple[str, tuple[str, ...]]] = []
        keys = {system: row_key(track, system, stem, parts.get(system, ()), packages) for system in systems}
        for system, key in keys.items():
            old = kept.rows.get((track.name, system))
            if not is_done(old, key, metrics):
                # Metrics that a valid row lacks. A failed row is computed as a whole again.
                have = old.scores if old is not None and old.key == key and old.error is None else {}
                wanted.append((system, tuple(metric for metric in metrics if metric not in have)))
        sheet = None
        if out is not None:
            files = sheets[track.name] = sheet_files(out, track.name, list(keys.values()), systems)
            # A system that failed is missing on the sheet and may succeed now.
            failed = any((row := kept.rows.get((track.name, s))) is not None and row.error for s in systems)
            sheet = None if files.picture.is_file() and not failed else files
        if wanted or sheet:
            tasks.append(Task(track, stem, tuple(wanted), keys, tuple(systems), sheet, dict(codecs)))
    # The longest tracks first, so that no process works alone on one at the end.
    tasks.sort(key=lambda task: -int(identity(task.track.reference)[1]))
    return tasks, sheets


def _about(system: str, tracks: Sequence[TrackFiles], stem: Stem) -> str:
    if stem == "instrumental":
        about = _about(system, tracks, "vocals")
        return about if system in ("mixture", "silence") else f"the mixture without its vocals; {about}"
    files = [track.estimates[system] for track in tracks if system in track.estimates]
    if files:
        return f"estimates in {shown(os.path.commonpath([path.parent for path in files]))}"
    if system.startswith(CODEC_BASELINE):
        name = system.removeprefix(CODEC_BASELINE)
        return f"baseline: the true vocals encoded and decoded by the codec of {shown(name)}"
    return _ABOUT[system]
