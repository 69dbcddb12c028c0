"""An evaluation from folders to rows: values, resuming, failures, processes."""

import os
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, ROOT, played, sung

from ldm_sep.build import build_codec
from ldm_sep.checkpoint.reading import load_codec
from ldm_sep.checkpoint.writing import Provenance, save_codec
from ldm_sep.config import parse_config
from ldm_sep.errors import CheckpointError, ConfigError, DataError
from ldm_sep.evaluate import Row, Summary, codec_round_trip, evaluate, irm, match_tracks
from ldm_sep.evaluate.excerpt import loudest_part
from ldm_sep.evaluate.rows import RowFile
from ldm_sep.method.whitening import Whitening
from ldm_sep.metrics import DEFAULT_METRICS, measure

NAMES = ("a $1 & <b>x</b> | y$", "b – ü 日本", "c")
SECONDS = 2.0


def write(path: Path, wave: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wave.T, rate, subtype="PCM_16")


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """ref/<song>/{vocals,mixture}.wav and ours/<song>.wav, which has 0.1 to 0.3 of the accompaniment left."""
    for i, name in enumerate(NAMES):
        voice = np.stack([sung(SECONDS, 200 + 40 * i, i)] * 2)
        band = played(SECONDS, i)
        write(tmp_path / "ref" / name / "vocals.wav", voice)
        write(tmp_path / "ref" / name / "mixture.wav", voice + band)
        write(tmp_path / "ours" / f"{name}.wav", voice + 0.1 * (i + 1) * band)
    return tmp_path


class Told:
    """Remembers the rows that were computed."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.counts: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int, row: Row | None) -> None:
        if row is None:
            return
        self.rows.append((row.track, row.system))
        self.counts.append((done, total))


def run(
    songs: Path, *systems: str, jobs: int = 1, metrics: tuple[str, ...] = ("sdr",), sheets: bool = False, out: str = "o"
) -> tuple[Summary, Told]:
    told = Told()
    tracks = match_tracks(songs / "ref", {"ours": songs / "ours"})
    chosen = systems or ("ours",)
    summary = evaluate(
        tracks, chosen, songs / out, jobs=jobs, metrics=metrics, spectrograms=sheets, report=told
    )  # fmt: skip
    return summary, told


def value(summary: Summary, track: str, system: str, metric: str = "sdr") -> float | None:
    return summary.rows[track, system].scores[metric].value


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(sf.read(path, dtype="float32", always_2d=True)[0].T)


def test_values_are_those_of_the_metrics_on_the_files_and_two_jobs_equal_one(songs: Path) -> None:
    metrics = ("csdr", "bleed")
    one, told = run(songs, "ours", "irm", "mixture", metrics=metrics)
    two, _ = run(songs, "ours", "irm", "mixture", metrics=metrics, jobs=2, out="two")
    for track in NAMES:
        vocals, mixture = (read(songs / "ref" / track / f"{stem}.wav") for stem in ("vocals", "mixture"))
        waves = {"ours": read(songs / "ours" / f"{track}.wav"), "irm": irm(vocals, mixture), "mixture": mixture}
        for system, wave in waves.items():
            assert one.rows[track, system].scores == measure(vocals, wave, RATE, mixture, metrics)
            assert one.rows[track, system].scores == two.rows[track, system].scores
    assert one.scores == two.scores and one.comparisons == two.comparisons
    assert (songs / "o/table.md").read_bytes() == (songs / "two/table.md").read_bytes()
    assert sorted(told.rows) == sorted((track, system) for track in NAMES for system in ("ours", "irm", "mixture"))
    assert told.counts == [(i, 9) for i in range(1, 10)]
    assert one.failures == ()


def test_another_run_computes_nothing_and_a_torn_line_only_itself(songs: Path) -> None:
    first, _ = run(songs)
    lines = (songs / "o/scores.jsonl").read_bytes()
    again, told = run(songs)
    assert told.rows == [] and again == first
    assert (songs / "o/scores.jsonl").read_bytes() == lines
    (songs / "o/scores.jsonl").write_bytes(lines[:-60])
    mended, told = run(songs)
    assert told.rows == [(NAMES[2], "ours")] and told.counts == [(3, 3)]
    assert mended.scores == first.scores


def test_a_changed_file_is_scored_again_and_leaves_one_line(songs: Path) -> None:
    first, _ = run(songs, "ours", "silence")
    write(songs / "ours" / f"{NAMES[1]}.wav", np.zeros((2, int(SECONDS * RATE)), np.float32))
    second, told = run(songs, "ours", "silence")
    assert told.rows == [(NAMES[1], "ours")]
    assert value(second, NAMES[1], "ours") == 0.0
    assert value(second, NAMES[0], "ours") == value(first, NAMES[0], "ours")
    assert len((songs / "o/scores.jsonl").read_text().splitlines()) == 6


def test_whatever_a_row_rests_on_makes_it_anew(songs: Path) -> None:
    run(songs, "ours", "mixture", "irm")
    reference, mixture = (songs / f"ref/{NAMES[2]}/{stem}.wav" for stem in ("vocals", "mixture"))
    for file, concerned in ((reference, {"ours", "mixture", "irm"}), (mixture, {"ours", "mixture", "irm"})):
        write(file, 0.5 * read(file))
        _, told = run(songs, "ours", "mixture", "irm")
        assert set(told.rows) == {(NAMES[2], system) for system in concerned}
    # A tool that sets a new file's times back, as an archive does.
    estimate = songs / "ours/c.wav"
    times = estimate.stat()
    write(estimate, 0.5 * read(estimate))
    os.utime(estimate, ns=(times.st_atime_ns, times.st_mtime_ns))
    _, told = run(songs, "ours", "mixture", "irm")
    assert told.rows == [(NAMES[2], "ours")]


def test_two_evaluations_do_not_share_a_folder(songs: Path) -> None:
    with RowFile(songs / "o/scores.jsonl"), pytest.raises(DataError, match="another evaluation is writing it"):
        run(songs)
    run(songs)


def test_files_of_somebody_else_are_left_alone(songs: Path) -> None:
    (songs / "o").mkdir()
    (songs / "o/scores.jsonl").write_text("notes of mine\n")
    with pytest.raises(DataError, match="is no file of scores; choose another --out"):
        run(songs)
    assert (songs / "o/scores.jsonl").read_text() == "notes of mine\n"
    (songs / "o/scores.jsonl").write_text('{"track": "a", "syst')
    run(songs)


def test_packages_come_from_the_environment_not_from_the_current_folder(
    songs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (songs / "scipy.py").write_text("raise SystemExit('not the package')\n")
    monkeypatch.chdir(songs)
    summary, _ = run(songs, "irm")
    assert summary.failures == ()


def test_floats_on_the_scale_of_integers_are_refused_by_name(songs: Path) -> None:
    path = songs / "ours/c.wav"
    sf.write(path, 32768 * read(path).T, RATE, subtype="FLOAT")
    summary, _ = run(songs)
    (failure,) = summary.failures
    assert str(path) in failure.message and "full scale is 1; export it again" in failure.message


def test_one_more_metric_is_added_to_what_is_there(songs: Path) -> None:
    run(songs, metrics=("sdr",))
    both, told = run(songs, metrics=("sdr", "si_sdr"))
    assert len(told.rows) == 3
    assert all(value(both, track, "ours", metric) is not None for track in NAMES for metric in ("sdr", "si_sdr"))
    _, told = run(songs, metrics=("si_sdr",))
    assert told.rows == []


def test_rows_are_in_the_file_as_soon_as_they_are_told(songs: Path) -> None:
    class Killed(Exception):  # noqa: N818 - stands for a kill
        pass

    def stop(done: int, total: int, row: Row | None) -> None:
        if done == 2:
            raise Killed

    tracks = match_tracks(songs / "ref", {"ours": songs / "ours"})
    with pytest.raises(Killed):
        evaluate(tracks, ["ours"], songs / "o", metrics=("sdr",), spectrograms=False, report=stop)
    assert len((songs / "o/scores.jsonl").read_text().splitlines()) == 2
    assert not (songs / "o/summary.json").exists()
    _, told = run(songs)
    assert len(told.rows) == 1


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


def test_lengths_that_rounding_explains_are_cut_to_the_shorter(songs: Path) -> None:
    vocals, mixture, ours = (
        songs / f"ref/{NAMES[0]}/vocals.wav",
        songs / f"ref/{NAMES[0]}/mixture.wav",
        songs / "ours",
    )
    estimate = read(ours / f"{NAMES[0]}.wav")
    write(ours / f"{NAMES[1]}.wav", np.pad(read(ours / f"{NAMES[1]}.wav"), ((0, 0), (0, 8))))
    write(ours / f"{NAMES[0]}.wav", estimate[:, :-3])
    write(mixture, read(mixture)[:, :-1])
    metrics = ("sdr", "lsd", "bleed")
    summary, _ = run(songs, "ours", "irm", "mixture", metrics=metrics)
    assert summary.failures == ()
    truth, mixed = read(vocals), read(mixture)
    expected = measure(truth[:, :-3], estimate[:, :-3], RATE, mixed[:, :-2], metrics)
    assert summary.rows[NAMES[0], "ours"].scores == expected
    expected = measure(truth[:, :-1], mixed, RATE, mixed, metrics)
    assert summary.rows[NAMES[0], "mixture"].scores == expected
    assert value(summary, NAMES[0], "irm") == measure(truth[:, :-1], irm(truth[:, :-1], mixed), RATE)["sdr"].value


# Imported by every Python process that finds it: a metric that raises, one that ends its process.
SPOILT = """
import importlib, os
target = importlib.import_module("ldm_sep.metrics.measure")

def fails(*_):
    raise OSError("no table of pitches")

def crashes(*_):
    os._exit(7)

target.log_f0_rmse_of, target.pesq_of = fails, crashes
"""


def test_a_metric_that_fails_costs_no_other_and_is_tried_again(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (songs / "spoilt").mkdir()
    (songs / "spoilt/sitecustomize.py").write_text(SPOILT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(songs / "spoilt"), str(ROOT)]))
    metrics = ("sdr", "lsd", "log_f0_rmse", "pesq", "mr_stft")
    summary, told = run(songs, "ours", "mixture", metrics=metrics, sheets=True)
    assert sorted(told.rows) == sorted((track, system) for track in NAMES for system in ("ours", "mixture"))
    assert told.counts == [(i, 6) for i in range(1, 7)]
    for row in summary.rows.values():
        assert row.error is None and [*row.scores] == ["sdr", "lsd", "mr_stft"]
        assert row.failed["log_f0_rmse"] == "OSError: no table of pitches"
        assert "exit code 7" in row.failed["pesq"] and "\n" not in row.failed["pesq"]
    assert {(f.track, f.system, f.message.split(":")[0]) for f in summary.failures} == {
        (track, system, label) for track in NAMES for system in ("ours", "mixture") for label in ("log-F0 RMSE", "PESQ")
    }
    assert summary.scores["ours"]["pesq"].reasons == {"failed": 3} and summary.scores["ours"]["lsd"].n == 3
    assert len(list((songs / "o/spectrograms").glob("*.png"))) == 3
    monkeypatch.undo()
    mended, told = run(songs, "ours", "mixture", metrics=metrics)
    assert len(told.rows) == 6 and mended.failures == ()
    assert [*mended.rows[NAMES[0], "ours"].scores] == [*metrics]


def test_a_full_disk_is_one_line_that_names_the_file(songs: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    tracks = match_tracks(songs / "ref", {"ours": songs / "ours"})
    # Longer files than this fail as they do on a full disk.
    for limit, name in ((300, "scores.jsonl"), (3000, "plots/sdr.png")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(DataError) as error:
                evaluate(tracks, ["ours"], songs / "o", metrics=("sdr",), spectrograms=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert str(error.value).startswith(f"{songs / 'o' / name}: cannot be written (")
        assert "\n" not in str(error.value)
    # What was known before is known still.
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


def test_karaoke_of_mono_is_undefined_and_no_failure(songs: Path) -> None:
    for path in songs.rglob("*.wav"):
        write(path, read(path)[:1])
    summary, _ = run(songs, "karaoke")
    assert summary.failures == ()
    assert summary.scores["karaoke"]["sdr"].reasons == {"the karaoke trick needs two channels, the mixture has 1": 3}


def test_a_codec_is_scored_on_the_true_vocals(songs: Path) -> None:
    config = parse_config(
        {"name": "t", "codec": {"kind": "spectral", "sample_rate": RATE}, "data": {"layout": "stems"}}, "test"
    )
    codec = build_codec(config.codec)
    folder = songs / "codec"
    save_codec(folder, config, codec, Whitening(codec.latent_channels), Provenance())
    summary, _ = run(songs, f"codec:{folder}")
    _, loaded, _ = load_codec(folder)
    for track in NAMES:
        vocals = read(songs / "ref" / track / "vocals.wav")
        expected = measure(vocals, codec_round_trip(loaded, vocals, RATE), RATE, metrics=("sdr",))["sdr"].value
        # The process has one thread, this one may have more: sums of floats in another order.
        assert value(summary, track, f"codec:{folder}") == pytest.approx(expected, abs=1e-3)
    assert "encoded and decoded" in summary.about[f"codec:{folder}"]
    with pytest.raises(CheckpointError, match="no checkpoint"):
        run(songs, "codec:nowhere")


def test_all_default_metrics(songs: Path) -> None:
    tracks = match_tracks(songs / "ref", {"ours": songs / "ours"})[2:]
    summary = evaluate(tracks, ["ours"], songs / "o", spectrograms=False)
    assert summary.failures == ()
    vocals, mixture = (read(songs / "ref/c" / f"{stem}.wav") for stem in ("vocals", "mixture"))
    expected = measure(vocals, read(songs / "ours/c.wav"), RATE, mixture)
    scores = summary.rows["c", "ours"].scores
    assert tuple(scores) == DEFAULT_METRICS
    for metric, score in scores.items():
        assert score.reason == expected[metric].reason
        assert score.value == pytest.approx(expected[metric].value, rel=1e-6)
    assert sum(score.value is not None for score in scores.values()) >= 8


def test_a_sheet_for_each_track_is_drawn_when_something_changed(songs: Path) -> None:
    run(songs, "ours", "irm", sheets=True)
    sheets = sorted((songs / "o/spectrograms").glob("*.png"))
    assert len(sheets) == 3 and all(path.read_bytes().startswith(b"\x89PNG") for path in sheets)
    report = (songs / "o/report.html").read_text()
    assert report.count("<details") == 3 and report.count("<audio ") == 12
    # What is heard is what was scored, from the page's own folder on.
    sounds = [unquote(url) for url in re.findall(r'<audio [^>]*src="([^"]+)"', report)]
    vocals, ours = (read(songs / place / "c" / "vocals.wav") for place in ("ref",)), read(songs / "ours/c.wav")
    heard = {Path(sound).name[3:-5]: read(songs / "o" / sound) for sound in sounds if "/c " in sound}
    assert set(heard) == {"mixture", "reference", "ours", "irm"}
    assert np.array_equal(heard["ours"], ours) and np.array_equal(heard["reference"], next(vocals))
    before = {path: path.stat().st_mtime_ns for path in sheets}
    bystander = songs / "o/spectrograms/mine.png"
    bystander.write_bytes(b"x")
    write(songs / "ours" / "c.wav", 0.5 * read(songs / "ours" / "c.wav"))
    run(songs, "ours", "irm", sheets=True)
    after = {path: path.stat().st_mtime_ns for path in (songs / "o/spectrograms").glob("*.png")}
    assert bystander.exists()
    # The changed track's sheet is another file now, the old one is gone.
    assert len(after) == 4 and len(before.items() & after.items()) == 2
    assert len(list((songs / "o/excerpts").iterdir())) == 3


def test_a_system_that_failed_for_once_is_on_the_next_sheet(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = match_tracks(songs / "ref", {"ours": songs / "ours"})[:1]
    # Nothing can be computed by processes that find no packages.
    monkeypatch.setattr("ldm_sep.workers.pool._COMMAND", (sys.executable, "-c", "import sys; sys.exit(3)"))
    assert evaluate(tracks, ["ours"], songs / "o", metrics=("sdr",)).failures
    monkeypatch.undo()
    assert not evaluate(tracks, ["ours"], songs / "o", metrics=("sdr",)).failures
    assert len(list((songs / "o/spectrograms").glob("*.png"))) == 1


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


def test_the_loudest_part_holds_the_loudest_second() -> None:
    wave = np.full((2, 100 * RATE), 0.01, np.float32)
    wave[:, 70 * RATE : 75 * RATE] = 0.5
    part = loudest_part(wave, RATE)
    assert part.stop - part.start == 30 * RATE and part.start <= 70 * RATE and part.stop >= 75 * RATE
    assert loudest_part(wave[:, -20 * RATE :], RATE) == slice(0, 20 * RATE)
    wave[:, -RATE:] = 1
    assert loudest_part(wave, RATE).stop == 100 * RATE
