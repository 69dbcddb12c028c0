"""An evaluation from folders to rows: values, resuming, sheets."""

import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import psutil
import pytest
from conftest import RATE
from scored_songs import NAMES, SECONDS, make_songs, read, run, value, write

from ldm_sep.build import build_codec
from ldm_sep.checkpoint.manifest import Provenance
from ldm_sep.checkpoint.reading import load_codec
from ldm_sep.checkpoint.writing import save_codec
from ldm_sep.config import parse_config
from ldm_sep.errors import CheckpointError, DataError
from ldm_sep.evaluate import Row, codec_round_trip, evaluate, irm, karaoke, match_tracks
from ldm_sep.evaluate.excerpt import loudest_part
from ldm_sep.evaluate.rows import RowFile
from ldm_sep.method.whitening import Whitening
from ldm_sep.metrics import DEFAULT_METRICS, measure

# test_evaluate_report looks at the figures.
pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    return make_songs(tmp_path)


def test_values_are_those_of_the_metrics_on_the_files_and_two_jobs_equal_one(songs: Path) -> None:
    metrics = ("csdr", "bleed")
    one, told = run(songs, "ours", "karaoke", "mixture", metrics=metrics)
    two, _ = run(songs, "ours", "karaoke", "mixture", metrics=metrics, jobs=2, out="two")
    for track in NAMES:
        vocals, mixture = (read(songs / "ref" / track / f"{stem}.wav") for stem in ("vocals", "mixture"))
        waves = {"ours": read(songs / "ours" / f"{track}.wav"), "karaoke": karaoke(mixture), "mixture": mixture}
        for system, wave in waves.items():
            assert one.rows[track, system].scores == measure(vocals, wave, RATE, mixture, metrics)
            assert one.rows[track, system].scores == two.rows[track, system].scores
    assert one.scores == two.scores and one.comparisons == two.comparisons
    assert (songs / "o/table.md").read_bytes() == (songs / "two/table.md").read_bytes()
    assert sorted(told.rows) == sorted((track, system) for track in NAMES for system in ("ours", "karaoke", "mixture"))
    assert told.counts == [(i, 9) for i in range(1, 10)]
    assert one.failures == ()


def test_the_instrumental_is_what_estimates_leave_of_the_mixture(songs: Path) -> None:
    metrics = ("sdr", "lsd", "bleed", "air")
    baselines = ("ours", "irm", "mixture", "karaoke")
    rest, _ = run(songs, *baselines, metrics=metrics, stem="instrumental")
    for track in NAMES:
        vocals, mixture = (read(songs / "ref" / track / f"{stem}.wav") for stem in ("vocals", "mixture"))
        left = {
            "ours": mixture - read(songs / "ours" / f"{track}.wav"),
            "irm": mixture - irm(vocals, mixture),
            # The mixture is not what is left when all of it is taken away.
            "mixture": mixture,
            "karaoke": mixture - karaoke(mixture),
        }
        for system, wave in left.items():
            assert rest.rows[track, system].scores == measure(mixture - vocals, wave, RATE, mixture, metrics)
    # In one folder the scores of one stem are never taken for those of the other.
    voices, told = run(songs, *baselines, metrics=metrics)
    assert len(told.rows) == len(NAMES) * len(baselines)
    assert value(voices, NAMES[0], "ours") != value(rest, NAMES[0], "ours")


def test_without_mixtures_there_is_no_instrumental(songs: Path) -> None:
    for track in NAMES:
        (songs / "ref" / track / "mixture.wav").unlink()
    with pytest.raises(DataError, match="has no mixture"):
        run(songs, stem="instrumental")


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
    run(songs, "ours", "mixture", "karaoke")
    reference, mixture = (songs / f"ref/{NAMES[2]}/{stem}.wav" for stem in ("vocals", "mixture"))
    for file in (reference, mixture):
        write(file, 0.5 * read(file))
        _, told = run(songs, "ours", "mixture", "karaoke")
        assert set(told.rows) == {(NAMES[2], system) for system in ("ours", "mixture", "karaoke")}
    # A tool that sets a new file's times back, as an archive does.
    estimate = songs / "ours/c.wav"
    times = estimate.stat()
    write(estimate, 0.5 * read(estimate))
    os.utime(estimate, ns=(times.st_atime_ns, times.st_mtime_ns))
    _, told = run(songs, "ours", "mixture", "karaoke")
    assert told.rows == [(NAMES[2], "ours")]


def test_two_evaluations_do_not_share_a_folder(songs: Path) -> None:
    with RowFile(songs / "o/scores.jsonl"), pytest.raises(DataError, match="another evaluation is writing it"):
        run(songs)
    run(songs)


def test_packages_come_from_the_environment_not_from_the_current_folder(
    songs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package that the ratio mask is computed with.
    (songs / "torch.py").write_text("raise SystemExit('not the package')\n")
    monkeypatch.chdir(songs)
    summary, _ = run(songs, "irm")
    assert summary.failures == ()


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
    before = psutil.Process().children()
    with pytest.raises(Killed) as held:
        evaluate(tracks, ["ours"], songs / "o", metrics=("sdr",), spectrograms=False, report=stop)
    # The workers have ended, although the error is still held, and with it the frames it passed through.
    assert psutil.Process().children() == before and held.value
    assert len((songs / "o/scores.jsonl").read_text().splitlines()) == 2
    assert not (songs / "o/summary.json").exists()
    _, told = run(songs)
    assert len(told.rows) == 1


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
    run(songs, "ours", "karaoke", sheets=True)
    sheets = sorted((songs / "o/spectrograms").glob("*.png"))
    assert len(sheets) == 3 and all(path.read_bytes().startswith(b"\x89PNG") for path in sheets)
    report = (songs / "o/report.html").read_text()
    assert report.count("<details") == 3 and report.count("<audio ") == 12
    # What is heard is what was scored, from the page's own folder on.
    sounds = [unquote(url) for url in re.findall(r'<audio [^>]*src="([^"]+)"', report)]
    vocals, ours = (read(songs / place / "c" / "vocals.wav") for place in ("ref",)), read(songs / "ours/c.wav")
    heard = {Path(sound).name[3:-5]: read(songs / "o" / sound) for sound in sounds if "/c " in sound}
    assert set(heard) == {"mixture", "reference", "ours", "karaoke"}
    assert np.array_equal(heard["ours"], ours) and np.array_equal(heard["reference"], next(vocals))
    before = {path: path.stat().st_mtime_ns for path in sheets}
    bystander = songs / "o/spectrograms/mine.png"
    bystander.write_bytes(b"x")
    write(songs / "ours" / "c.wav", 0.5 * read(songs / "ours" / "c.wav"))
    run(songs, "ours", "karaoke", sheets=True)
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


def test_the_loudest_part_holds_the_loudest_second() -> None:
    wave = np.full((2, 100 * RATE), 0.01, np.float32)
    wave[:, 70 * RATE : 75 * RATE] = 0.5
    part = loudest_part(wave, RATE)
    assert part.stop - part.start == 30 * RATE and part.start <= 70 * RATE and part.stop >= 75 * RATE
    assert loudest_part(wave[:, -20 * RATE :], RATE) == slice(0, 20 * RATE)
    wave[:, -RATE:] = 1
    assert loudest_part(wave, RATE).stop == 100 * RATE
