"""What goes wrong in an evaluation: bad files, failing metrics, full disks, rubbish in the place of rows."""

import os
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, ROOT
from scored_songs import NAMES, Told, make_songs, read, run, value, write

from ldm_sep.errors import ConfigError, DataError
from ldm_sep.evaluate import Row, Summary, evaluate, match_tracks
from ldm_sep.evaluate.rows import RowFile


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    return make_songs(tmp_path)


def test_floats_on_the_scale_of_integers_are_refused_by_name(songs: Path) -> None:
    path = songs / "ours/c.wav"
    sf.write(path, 32768 * read(path).T, RATE, subtype="FLOAT")
    summary, _ = run(songs)
    (failure,) = summary.failures
    assert str(path) in failure.message and "full scale is 1; export it again" in failure.message


def test_a_bad_estimate_is_its_rows_error_and_the_rest_goes_on(songs: Path) -> None:
    good = {track: read(songs / "ours" / f"{track}.wav") for track in NAMES}
    spoils: dict[str, tuple[Callable[[Path, np.ndarray], None], str]] = {
        "rate": (lambda p, w: write(p, w, 2 * RATE), "32000 Hz, but .*vocals.wav has 16000; resample"),
        "length": (
            lambda p, w: write(p, w[:, 10:]),
            r"31990 samples .*\(1.999 s\), but .*vocals.wav has 32000 \(2.000 s\); export",
        ),
        "channels": (lambda p, w: write(p, w[:1]), "1 channels, but .*vocals.wav has 2; export"),
        "cut": (lambda p, w: p.write_bytes(p.read_bytes()[:1000]), "is cut off, only about 0.01 s of 2.00 s"),
        "nan": (lambda p, w: sf.write(p, 0 * w.T + np.nan, RATE, subtype="FLOAT"), "not a finite number"),
    }
    for system, (spoil, _) in spoils.items():
        for track in NAMES:
            write(songs / system / f"{track}.wav", good[track])
        spoil(songs / system / f"{NAMES[0]}.wav", good[NAMES[0]])
    tracks = match_tracks(songs / "ref", {system: songs / system for system in spoils})

    def again() -> tuple[Summary, Told]:
        told = Told()
        return evaluate(tracks, [*spoils], songs / "o", metrics=("sdr",), spectrograms=False, report=told), told

    summary, _ = again()
    assert [(f.track, f.system) for f in summary.failures] == [(NAMES[0], system) for system in spoils]
    for failure, (system, (_, needle)) in zip(summary.failures, spoils.items(), strict=True):
        assert failure.message.startswith(str(songs / system / NAMES[0])) and "\n" not in failure.message
        assert re.search(needle, failure.message)
        assert summary.scores[system]["sdr"].n == 2 and summary.scores[system]["sdr"].reasons == {"failed": 1}
    for system in ("rate", "nan"):
        write(songs / system / f"{NAMES[0]}.wav", good[NAMES[0]])
    mended, told = again()
    # What failed is tried again, what has been mended succeeds.
    assert told.rows == [(NAMES[0], system) for system in spoils]
    assert [f.system for f in mended.failures] == ["length", "channels", "cut"]


def test_a_bad_reference_costs_its_track_and_a_bad_mixture_what_needs_it(songs: Path) -> None:
    (songs / "ref" / NAMES[0] / "vocals.wav").write_bytes(b"RIFF")
    mixture = songs / "ref" / NAMES[1] / "mixture.wav"
    write(mixture, read(mixture)[:, 500:])
    summary, _ = run(songs, "ours", "irm", metrics=("sdr", "bleed"))
    assert {(f.track, f.system) for f in summary.failures} == {(NAMES[0], s) for s in ("ours", "irm")} | {
        (NAMES[1], "irm")
    }
    assert value(summary, NAMES[1], "ours") is not None
    reason = summary.rows[NAMES[1], "ours"].scores["bleed"].reason
    assert reason is not None and str(mixture) in reason and "31500 samples" in reason
    assert value(summary, NAMES[2], "irm") is not None


# Imported by every Python process that finds it: a metric that raises, one that ends its process.
SPOILT = """
import importlib, os
target = importlib.import_module("ldm_sep.metrics.measure")

def fails(*_):
    raise OSError("no table of pitches")

def crashes(*_):
    os._exit(7)

target.pitches_of, target.pesq_of = fails, crashes
"""


def test_a_metric_that_fails_costs_no_other_and_is_tried_again(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every crash costs a process: one song is enough.
    for name in NAMES[1:]:
        shutil.rmtree(songs / "ref" / name)
    (songs / "spoilt").mkdir()
    (songs / "spoilt/sitecustomize.py").write_text(SPOILT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(songs / "spoilt"), str(ROOT)]))
    metrics = ("sdr", "lsd", "log_f0_rmse", "pesq", "mr_stft")
    summary, told = run(songs, "ours", "mixture", metrics=metrics, sheets=True)
    assert told.rows == [(NAMES[0], "ours"), (NAMES[0], "mixture")] and told.counts == [(1, 2), (2, 2)]
    for row in summary.rows.values():
        assert row.error is None and [*row.scores] == ["sdr", "lsd", "mr_stft"]
        assert row.failed["log_f0_rmse"] == "OSError: no table of pitches"
        assert "exit code 7" in row.failed["pesq"] and "\n" not in row.failed["pesq"]
    assert {(f.track, f.system, f.message.split(":")[0]) for f in summary.failures} == {
        (NAMES[0], system, label) for system in ("ours", "mixture") for label in ("log-F0 RMSE", "PESQ")
    }
    assert summary.scores["ours"]["pesq"].reasons == {"failed": 1} and summary.scores["ours"]["lsd"].n == 1
    assert len(list((songs / "o/spectrograms").glob("*.png"))) == 1
    monkeypatch.undo()
    mended, told = run(songs, "ours", "mixture", metrics=metrics)
    assert len(told.rows) == 2 and mended.failures == ()
    assert [*mended.rows[NAMES[0], "ours"].scores] == [*metrics]


def test_a_full_disk_is_one_line_that_names_the_file(songs: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    tracks = match_tracks(songs / "ref", {"ours": songs / "ours"})
    # Files beyond this size fail as on a full disk.
    for limit, name in ((300, "scores.jsonl"), (3000, "plots/sdr.png")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(DataError) as error:
                evaluate(tracks, ["ours"], songs / "o", metrics=("sdr",), spectrograms=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert str(error.value).startswith(f"{songs / 'o' / name}: cannot be written (")
        assert "\n" not in str(error.value)
    # The scores from before are kept.
    _, told = run(songs)
    assert told.rows == []
    assert sorted(path.name for path in (songs / "o").iterdir()) == sorted(
        ["plots", "report.html", "scores.csv", "scores.jsonl", "summary.json", "table.md"]
    )


def test_a_pipe_in_the_place_of_the_scores_is_refused(songs: Path) -> None:
    (songs / "o").mkdir()
    os.mkfifo(songs / "o/scores.jsonl")
    with pytest.raises(DataError, match="is no file; choose another --out"):
        run(songs)


def test_what_makes_no_sense_is_refused_before_any_work(songs: Path) -> None:
    tracks = match_tracks(songs / "ref", {})
    for systems, metrics, needle in (
        (["ours"], ("sdr",), "no estimate of the track"),
        (["irm", "irm"], ("sdr",), "named twice"),
        ([], ("sdr",), "nothing to evaluate"),
        (["irm"], ("snr",), "snr: no such metric; choose from sdr, csdr"),
    ):
        with pytest.raises(ConfigError, match=needle):
            evaluate(tracks, systems, songs / "o", metrics=metrics)
    assert not (songs / "o").exists()


def test_a_line_of_rubbish_or_of_another_version_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    row = Row("t\u2028", "s", "k", {}, None, 1.0)
    spoilt = [
        row.to_json().replace('"seconds": 1.0', f'"seconds": {value}').replace("\u2028", name)
        for name, value in (("a", "NaN"), ("b", "1e999"), ("c", "[]"), ("d", "[" * 100000))
    ]
    rubbish = b'\xff\xfe\n{"track": 1}\n[]\n' + "\n".join(spoilt).encode() + b"\n"
    path.write_bytes(rubbish + row.to_json().encode() + b'\n{"track": "x", "sys')
    with RowFile(path) as kept:
        assert kept.rows == {("t\u2028", "s"): row}
    assert path.read_text() == row.to_json() + "\n"


def test_files_of_somebody_else_are_left_alone(songs: Path) -> None:
    (songs / "o").mkdir()
    (songs / "o/scores.jsonl").write_text("notes of mine\n")
    with pytest.raises(DataError, match="is no file of scores; choose another --out"):
        run(songs)
    assert (songs / "o/scores.jsonl").read_text() == "notes of mine\n"
    (songs / "o/scores.jsonl").write_text('{"track": "a", "syst')
    run(songs)
