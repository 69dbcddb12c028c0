"""The pages of a study in a browser: from consent to the last answer, at a desk and on a phone."""

import re
from pathlib import Path

import numpy as np
import pytest
from browser import Listener, window
from serving import make_study, saved_lines, saved_ratings, study_page

from ldm_sep.study.records import Method

METHODS: tuple[Method, ...] = ("p835", "mushra", "bs2132", "ab")


wide, phone = window(1200, 900), window(360, 740)


@pytest.mark.parametrize(
    ("method", "width"), [("p835", "phone"), ("mushra", "wide"), ("bs2132", "phone"), ("ab", "wide")]
)
def test_from_consent_to_the_last_answer(
    tmp_path: Path, request: pytest.FixtureRequest, method: Method, width: str
) -> None:
    browser = request.getfixturevalue(width)
    checked = method == "p835"
    stimuli = 1 if method == "p835" else 3
    study = make_study(tmp_path / "study", method, seconds=1.0, stimuli=stimuli, headphones=checked)
    with study_page(tmp_path) as address:
        browser.web.get_log("performance")
        browser.web.get_log("browser")
        browser.open(f"{address}/#1")
        browser.await_heading("About this study")
        browser.check_looks()
        browser.consent()
        browser.await_heading("Set the level")
        browser.check_looks()
        browser.set_level()
        if checked:
            browser.await_heading("Headphone check")
            browser.check_looks()
            browser.check_headphones()
        browser.await_heading("Practice")
        count = 0
        while "last page" not in browser.heading():
            if "practice is over" in browser.heading():
                browser.press("Start")
                browser.await_heading("prefer" if method == "ab" else "Listen and rate")
            browser.check_looks()
            count += 1
            browser.rate_page(method, 1 + count % 3)
            browser.save()
        browser.check_looks()
        browser.one("textarea").send_keys("Good loudspeakers? No, <i>headphones</i>.")
        browser.press("Finish")
        browser.await_heading("Everything is saved")
        requests = re.findall(
            r'"url":"(\w+:[^"]*)"', " ".join(e["message"] for e in browser.web.get_log("performance"))
        )
        assert requests and all(url.startswith((address, "data:", "about:", "chrome")) for url in requests)
        assert [entry["message"] for entry in browser.web.get_log("browser")] == []
    lines = saved_lines(tmp_path / "answers", 1)
    steps = [line["step"] for line in lines if line["kind"] == "milestone"]
    assert steps == ["consent", "level", *(["headphones"] if checked else []), "training", "finished"]
    assert lines[-1]["comment"] == "Good loudspeakers? No, <i>headphones</i>."
    rated = saved_ratings(tmp_path / "answers")
    order = next(o for o in study.listeners if o.number == 1)
    pages = [[s.id for s in t.stimuli] for t in study.training] + [list(t.stimuli) for t in order.trials]
    assert [line["stimulus"] for line in rated] == [name for page in pages for name in page for _ in study.questions]
    expected = []
    for number, page in enumerate(pages, 1):
        value = 1 + number % 3
        by_method = {"p835": [value] * 3, "ab": {1: [1, 0], 2: [0.5, 0.5], 3: [0, 1]}[value]}
        expected += by_method.get(method, [10 * value] * len(page))
    assert [line["rating"] for line in rated] == expected
    assert all(line["listened"] >= 0.9 and line["started"] < line["answered"] for line in rated)


@pytest.mark.parametrize("method", METHODS)
def test_every_page_fits_its_window(tmp_path: Path, wide: Listener, phone: Listener, method: Method) -> None:
    make_study(tmp_path / "study", method, seconds=1.0, stimuli=12 if method != "p835" else 1, headphones=False)
    with study_page(tmp_path) as address:
        for number, browser in enumerate((wide, phone), 1):
            browser.open(address)
            browser.await_heading("Which listener")
            browser.check_looks()
            browser.to_the_first_page(address, number)
            browser.press("Save and go on")
            browser.one(".alert")
            browser.one("details.keys summary").click()
            browser.check_looks()
            browser.open(f"{address}/static/progress.html")
            browser.wait(lambda browser=browser: browser.all("tbody tr"))
            browser.check_looks()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(tmp_path: Path, wide: Listener, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1 for text; 1.4.11: 3 to 1 for the edges of what can be pressed."""
    make_study(tmp_path / "study", "p835", seconds=0.5, headphones=False)
    with study_page(tmp_path) as address:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        wide.web.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        wide.open(f"{address}/#1")
        wide.await_heading("About this study")
        colours = wide.script(
            "const style = getComputedStyle(document.documentElement);"
            "return Object.fromEntries('page card ink soft line strong on-strong glow good bad bad-page'.split(' ')"
            ".map((name) => [name, style.getPropertyValue('--' + name).trim()]))"
        )
        wide.web.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def luminance(colour: str) -> float:
        channels = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(one: str, other: str) -> float:
        low, high = sorted(luminance(colours[name]) for name in (one, other))
        return (high + 0.05) / (low + 0.05)

    assert (luminance(colours["page"]) > 0.5) == (scheme == "light")
    text = [
        "ink page",
        "ink card",
        "ink glow",
        "ink bad-page",
        "soft page",
        "soft card",
        "strong page",
        "on-strong strong",
    ]
    for pair in (*text, "good card", "good glow", "good page"):
        assert contrast(*pair.split()) >= 4.5, pair
    for pair in ("line card", "line page", "strong card", "bad page"):
        assert contrast(*pair.split()) >= 3, pair
