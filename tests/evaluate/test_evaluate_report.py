"""What an evaluation says: tables, figures and the report, from rows made up for it."""

import csv
import io
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from ldm_sep.evaluate import PUBLISHED, Row, Summary
from ldm_sep.evaluate.excerpt import Player
from ldm_sep.evaluate.plots import draw_boxes, draw_differences, draw_histograms, fitted
from ldm_sep.evaluate.published import HEADING
from ldm_sep.evaluate.report import html_report
from ldm_sep.evaluate.rows import track_hash
from ldm_sep.evaluate.summary import summarise
from ldm_sep.evaluate.tables import heading, markdown, scores_csv, summary_json
from ldm_sep.metrics import METRICS, Score
from ldm_sep.statistics import paired_test

NASTY = "<script>alert('x')</script> a|b *c* \"q\" $1 & $2 – ünï 日本 " + "long " * 30
TRACKS = [NASTY, *(f"track {i}" for i in range(1, 9))]
SYSTEMS = ["one|<b>", "two", "three"]
METRIC_KEYS = ["sdr", "csdr", "pesq"]


@pytest.fixture(scope="module")
def summary() -> Summary:
    rng = np.random.default_rng(0)
    rows = {}
    for i, (track, system) in enumerate(itertools.product(TRACKS, SYSTEMS)):
        scores = {key: Score(float(rng.normal(5 + SYSTEMS.index(system), 1))) for key in METRIC_KEYS}
        if system == "two" and track == "track 3":
            scores["pesq"] = Score(None, "the reference | is silent")
        error = "file <x>: 2 Hz, but y has 3; resample" if (track, system) == ("track 4", "three") else None
        rows[track, system] = Row(track, system, str(i), {} if error else scores, error, 0.5)
    return summarise(
        rows, TRACKS, SYSTEMS, METRIC_KEYS, about=dict.fromkeys(SYSTEMS, "made up"), versions={"x": "1"}, published=True
    )


def test_aggregates_are_over_what_is_defined(summary: Summary) -> None:
    values = [summary.rows[t, "two"].scores["pesq"].value for t in TRACKS if t != "track 3"]
    score = summary.scores["two"]["pesq"]
    assert score.n == 8 and score.undefined == 1 and score.reasons == {"the reference | is silent": 1}
    assert score.mean == score.value == pytest.approx(np.mean(values))
    assert summary.scores["three"]["sdr"].reasons == {"failed": 1}
    medians = [summary.rows[t, "two"].scores["csdr"].value for t in TRACKS]
    assert summary.scores["two"]["csdr"].value == np.median(medians) != summary.scores["two"]["csdr"].mean


def test_pairs_are_the_tracks_that_both_systems_have(summary: Summary) -> None:
    found = {(c.first, c.second): c.test for c in summary.comparisons if c.metric == "pesq"}
    assert list(found) == [("one|<b>", "two"), ("one|<b>", "three"), ("two", "three")]
    common = [t for t in TRACKS if t not in ("track 3", "track 4")]
    two, three = ([summary.rows[t, s].scores["pesq"].value for t in common] for s in ("two", "three"))
    expected = paired_test(two, three)
    test = found["two", "three"]
    assert (test.n, test.p, test.difference) == (7, expected.p, expected.difference)
    assert sorted(t.p_holm for t in found.values())[0] == pytest.approx(min(3 * min(t.p for t in found.values()), 1))


def test_json_has_everything_and_nothing_that_json_has_not(summary: Summary) -> None:
    record = json.loads(summary_json(summary), parse_constant=lambda word: pytest.fail(word))
    assert record["tracks"] == {"n": 9, "hash": track_hash(TRACKS), "names": TRACKS}
    one = record["scores"]["two"]["pesq"]
    assert one["n"] == 8 and one["interval"][0] < one["value"] < one["interval"][1]
    assert one["reasons"] == {"the reference | is silent": 1}
    assert record["failures"][0]["track"] == "track 4"
    assert len(record["paired_tests"]) == 9 and record["metrics"]["csdr"]["aggregate"] == "median"
    assert [row["name"] for row in record["published"]["rows"]] == [row.name for row in PUBLISHED]


def test_csv_reads_back(summary: Summary) -> None:
    rows = list(csv.DictReader(io.StringIO(scores_csv(summary))))
    assert [(row["track"], row["system"]) for row in rows] == list(itertools.product(TRACKS, SYSTEMS))
    for row in rows:
        for key in METRIC_KEYS:
            score = summary.rows[row["track"], row["system"]].scores.get(key)
            assert row[key] == ("" if score is None or score.value is None else repr(score.value))
    missing = next(row for row in rows if row["track"] == "track 3" and row["system"] == "two")
    assert missing["undefined"] == "pesq: the reference | is silent" and missing["error"] == ""


def tables_of(text: str) -> dict[str, list[list[str]]]:
    """The cells of the first table below each heading."""
    found = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, *lines = part.splitlines()
        rows = [line for line in lines if line.startswith("|")]
        found[title] = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    return found


def test_markdown_tables_keep_their_columns_and_say_n_and_hash(summary: Summary) -> None:
    text = markdown(summary)
    tables = tables_of(text)
    assert list(tables) == ["Measured", HEADING, "Paired tests", "Undefined", "Failed"]
    for rows in tables.values():
        assert len({len(row) for row in rows}) <= 1
    assert [row[0] for row in tables["Measured"][2:]] == [r"one\|&lt;b&gt;", "two", "three"]
    assert tables["Measured"][0] == ["system", "SDR (dB) ↑", "cSDR median (dB) ↑", "PESQ (MOS-LQO) ↑"]
    score = summary.scores["two"]["pesq"]
    assert tables["Measured"][3][3].startswith(f"{score.mean:.2f} [") and tables["Measured"][3][3].endswith("(n = 8)")
    assert text.count(f"n = 9 tracks, track list {track_hash(TRACKS)}") == 3


def test_published_rows_are_never_among_the_measured(summary: Summary) -> None:
    tables = tables_of(markdown(summary))
    published = {row.name for row in PUBLISHED}
    assert {row[0] for row in tables[HEADING][2:]} == published
    assert not published & {row[0] for row in tables["Measured"]}
    # Table II of the paper.
    ldm = next(row for row in tables[HEADING] if row[0] == "LDM-dmx")
    assert ldm[1:] == ["116 M", "1.74", "1.30", "6.43", "0.198", "1.29"]
    bare = Summary(**{**vars(summary), "published": False})
    assert HEADING not in markdown(bare) and HEADING not in html_report(bare, [], {})
    assert "published" not in json.loads(summary_json(bare))


class Page(HTMLParser):
    """Tags, their attributes, and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_report_is_one_file_without_network_and_shows_names_as_text(summary: Summary, tmp_path: Path) -> None:
    metric = next(m for m in METRICS if m.key == "sdr")
    draw_boxes(tmp_path / "sdr.png", metric, [(s, list(summary.values(s, "sdr").values())) for s in SYSTEMS], "n = 9")
    players = {NASTY: [Player("reference", "excerpts/a/00%20reference.flac"), Player(SYSTEMS[0], "excerpts/a/01.flac")]}
    text = html_report(summary, [tmp_path / "sdr.png"], {NASTY: tmp_path / "sdr.png"}, players)
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "srcset", "data"):
            address = attributes.get(name) or "#"
            # Embedded in the page, a place on it, or in the folder beside it.
            assert address.startswith(("data:image/", "#", "excerpts/"))
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert [tag for tag, _ in page.tags].count("img") == 2
    assert [tag for tag, _ in page.tags].count("audio") == 2
    assert NASTY in page.texts and "one|<b>" in page.texts
    assert any("file <x>: 2 Hz, but y has 3; resample" in said for said in page.texts)
    for metric in summary.metrics:
        assert metric.definition in page.texts
    assert sum(track_hash(TRACKS) in said for said in page.texts) >= 5


def test_tests_that_cannot_be_made_are_one_line(summary: Summary) -> None:
    few = TRACKS[:4]
    small = summarise(summary.rows, few, SYSTEMS, METRIC_KEYS, about=summary.about, versions={})
    for text in (markdown(small), html_report(small, [], {})):
        (line,) = (line for line in text.splitlines() if "No test for 9 of 9 comparisons" in line)
        assert "only 4 pairs, the test needs 6 (" in line and "only 3 pairs" in line
        assert "p (Holm)" not in text
    assert json.loads(summary_json(small))["paired_tests"][0]["mean_difference"] is not None
    assert "No test for" not in markdown(summary)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", " =", "\t=", "\r="])
def test_no_cell_of_the_csv_is_a_formula(sign: str) -> None:
    nasty = f"{sign}HYPERLINK(1)"
    row = Row(nasty, nasty, "k", {}, nasty, 0.5)
    one = summarise({(nasty, nasty): row}, [nasty], [nasty], ["sdr"], about={nasty: ""}, versions={})
    (read,) = csv.DictReader(io.StringIO(scores_csv(one), newline=""))
    for column in ("track", "system", "error"):
        assert read[column].strip()[0] not in "=+-@" and read[column].isprintable() and "HYPERLINK(1)" in read[column]


def test_a_metric_that_failed_is_listed_with_its_reason(summary: Summary) -> None:
    rows = {("t", "s"): Row("t", "s", "k", {"sdr": Score(1.0)}, None, 0.5, {"pesq": "OSError: gone"})}
    one = summarise(rows, ["t"], ["s"], ["sdr", "pesq"], about={"s": ""}, versions={})
    assert "- t, s: PESQ: OSError: gone" in markdown(one)
    assert "PESQ: OSError: gone" in html_report(one, [], {}) and "pesq: OSError: gone" in scores_csv(one)
    assert summarise(rows, ["t"], ["s"], ["sdr"], about={"s": ""}, versions={}).failures == ()


def test_the_report_gives_every_system_its_own_numbers(summary: Summary) -> None:
    page = Page()
    page.feed(html_report(summary, [], {}))
    texts = [text.strip() for text in page.texts]
    first = texts.index("Measured")
    for system in SYSTEMS:
        place = texts.index(system, first)
        score = summary.scores[system]["sdr"]
        assert texts[place + 1] == f"{score.value:.2f}"
        assert texts[place + 2].startswith(f"[{score.interval.low:.2f}, {score.interval.high:.2f}]")
    test = next(c for c in summary.comparisons if c.metric == "sdr")
    place = texts.index("Paired tests")
    row = texts[texts.index("SDR", place) :]
    cells = [text for text in row[:12] if text]
    assert cells[1:4] == [test.first, test.second, str(test.test.n)]
    assert cells[4].startswith(f"{test.test.difference:+.2f} [")
    assert cells[5:7] == [f"{p:.3f}" if p >= 0.001 else "< 0.001" for p in (test.test.p, test.test.p_holm)]


def test_a_difference_is_the_first_minus_the_second(summary: Summary) -> None:
    rows = summary.rows
    expected = [rows[t, "two"].scores["sdr"].value - rows[t, "one|<b>"].scores["sdr"].value for t in TRACKS]
    assert sorted(summary.differences("two", "one|<b>", "sdr")) == pytest.approx(sorted(expected))
    test = next(c.test for c in summary.comparisons if (c.metric, c.second) == ("sdr", "two"))
    assert test.difference == pytest.approx(-np.mean(expected))


def test_figures_bear_any_name_and_any_number_of_values(tmp_path: Path) -> None:
    metric = next(m for m in METRICS if m.key == "lsd")
    rng = np.random.default_rng(0)
    values = [(NASTY, rng.normal(size=500)), ("one value", [1.0]), ("none", []), ("", [2.0, 2.0])]
    draw_boxes(tmp_path / "a.png", metric, values, "n = 500 tracks")
    draw_differences(tmp_path / "b.png", metric, NASTY, values, "n = 500 tracks")
    draw_histograms(tmp_path / "c.png", metric, values, "n = 500 tracks")
    draw_histograms(tmp_path / "d.png", metric, [("none", [])], "n = 1 track")
    for name in ("a.png", "b.png", "c.png", "d.png"):
        picture = imread(tmp_path / name)[..., :3]
        # Nothing is cut: the outermost pixels are paper.
        edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (edge == 1).all() and (picture < 0.5).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png", "d.png"]


def test_long_names_are_cut_to_what_fits() -> None:
    lines = fitted(NASTY, 26).split("\n")
    assert len(lines) == 2 and max(map(len, lines)) <= 26 and lines[-1].endswith("…")
    assert fitted("short", 26) == "short"


def test_no_arrow_says_that_more_air_is_better() -> None:
    (air,) = (metric for metric in METRICS if metric.key == "air")
    assert heading(air) == "Air (dB) → 0"


def test_a_plot_of_differences_names_the_better_side_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr(
        "ldm_sep.evaluate.plots.save", lambda figure, path: titles.append(figure.axes[0].get_title("left"))
    )
    chosen = {metric.key: metric for metric in METRICS}
    for key in ("sdr", "lsd", "air"):
        draw_differences(tmp_path / "x.png", chosen[key], "A", [("B", [1.0, 2.0])], "n = 2 tracks")
    assert titles == [
        "SDR: right of 0 is better than A",
        "LSD: left of 0 is better than A",
        "Air: difference to A",
    ]
