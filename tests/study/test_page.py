"""The pages of a study in a browser, from consent to the last answer, as listeners use them."""

import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from browser import Listener, chromium, is_open
from listening import Caller
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from serving import make_study, saved_lines, server

from ldm_sep.study.records import Method

METHODS: tuple[Method, ...] = ("p835", "mushra", "bs2132", "ab")
WIDE, PHONE = 1200, 360


@pytest.fixture(scope="module")
def wide() -> Iterator[Listener]:
    with chromium(WIDE) as browser:
        yield browser


@pytest.fixture(scope="module")
def phone() -> Iterator[Listener]:
    with chromium(PHONE, 740) as browser:
        yield browser


def ratings_of(folder: Path, number: int = 1) -> list[dict[str, Any]]:
    return [line for line in saved_lines(folder, number) if line["kind"] == "answer"]


def to_the_first_page(browser: Listener, address: str, number: int = 1) -> None:
    browser.open(f"{address}/#{number}")
    browser.await_heading("About this study")
    browser.consent()
    browser.set_level()
    browser.wait(lambda: browser.all("button.sound") or "Headphone" in browser.heading())


def check_looks(browser: Listener) -> None:
    """Nothing sticks out at the side, everything can be pressed with a finger, and everything has a name."""
    width, inner = browser.script("return [document.scrollingElement.scrollWidth, window.innerWidth]")
    assert width <= inner, browser.heading()
    small = browser.script(
        "const all = [...document.querySelectorAll('main button, main label:has(input), main summary')];"
        "return all.filter((one) => one.checkVisibility() && one.offsetHeight < 36).map((one) => one.textContent);"
    )
    assert small == [], browser.heading()
    tree = browser.web.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    for node in tree:
        if node.get("role", {}).get("value") in (
            "button",
            "slider",
            "radio",
            "checkbox",
            "progressbar",
            "link",
            "textbox",
        ):
            assert node["name"]["value"].strip(), (browser.heading(), node)


@pytest.mark.parametrize(
    ("method", "width"), [("p835", "phone"), ("mushra", "wide"), ("bs2132", "phone"), ("ab", "wide")]
)
def test_from_consent_to_the_last_answer(
    tmp_path: Path, request: pytest.FixtureRequest, method: Method, width: str
) -> None:
    browser = request.getfixturevalue(width)
    checked = method in ("p835", "ab")
    stimuli = 1 if method == "p835" else 3
    study = make_study(tmp_path / "study", method, seconds=1.0, stimuli=stimuli, headphones=checked)
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
        browser.web.get_log("performance")
        browser.web.get_log("browser")
        browser.open(f"{address}/#1")
        browser.await_heading("About this study")
        check_looks(browser)
        browser.consent()
        browser.await_heading("Set the level")
        check_looks(browser)
        browser.set_level()
        if checked:
            browser.await_heading("Headphone check")
            check_looks(browser)
            browser.check_headphones()
        browser.await_heading("Practice")
        count = 0
        while "last page" not in browser.heading():
            if "practice is over" in browser.heading():
                browser.press("Start")
                browser.await_heading("prefer" if method == "ab" else "Listen and rate")
            check_looks(browser)
            count += 1
            browser.rate_page(method, 1 + count % 3)
            browser.save()
        check_looks(browser)
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
    rated = ratings_of(tmp_path / "answers")
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
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
        for number, browser in enumerate((wide, phone), 1):
            browser.open(address)
            browser.await_heading("Which listener")
            check_looks(browser)
            to_the_first_page(browser, address, number)
            browser.press("Save and go on")
            browser.one(".alert")
            browser.one("details.keys summary").click()
            check_looks(browser)
            browser.open(f"{address}/static/progress.html")
            browser.wait(lambda browser=browser: browser.all("tbody tr"))
            check_looks(browser)


def test_the_tones_of_the_headphone_check_are_those_of_woods_et_al(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=1.0)
    places = []
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
        to_the_first_page(wide, address)
        for trial in range(6):
            wide.await_heading(f"Headphone check, {trial + 1} of 6")
            # Nothing can be answered unheard.
            assert not any(button.is_enabled() for button in wide.all("button.sound"))
            wide.answer_tones()
            both = wide.script(
                "const { buffer } = started.at(-1);"
                "return [buffer.sampleRate, [...buffer.getChannelData(0)], [...buffer.getChannelData(1)]]"
            )
            rate, left, right = both[0], np.array(both[1]), np.array(both[2])
            tones = [slice(int(k * 1.5 * rate), int((k * 1.5 + 1) * rate)) for k in range(3)]
            quiet_parts = np.concatenate(
                [left[int((k * 1.5 + 1) * rate) : int((k + 1) * 1.5 * rate)] for k in range(2)]
            )
            assert len(left) == 4 * rate and not quiet_parts.any()
            levels = [20 * np.log10(np.abs(left[tone]).max()) for tone in tones]
            quiet = int(np.argmin(levels))
            assert sorted(np.round(np.array(levels) - max(levels), 2)) == [-6, 0, 0]
            phases = [round(float(np.corrcoef(left[tone], right[tone])[0, 1]), 6) for tone in tones]
            assert sorted(phases) == [-1, 1, 1] and phases[quiet] == 1
            for tone in tones:
                assert np.argmax(np.abs(np.fft.rfft(left[tone]))) == 200
                assert np.abs(left[tone][:10]).max() < 1e-3 * np.abs(left[tone]).max()
            places.append((quiet, phases.index(-1)))
        wide.wait(lambda: "Practice" in wide.heading())
    assert sorted(quiet for quiet, _ in places) == [0, 0, 1, 1, 2, 2]


def test_two_wrong_tones_fail_the_check_and_it_can_be_done_again(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=1.0)
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
        to_the_first_page(wide, address)
        wide.check_headphones(wrong=2)
        wide.await_heading("not recognised")
        assert "4 of 6" in wide.one("main").text
        check_looks(wide)
        wide.press("Try again")
        wide.check_headphones(wrong=1)
        wide.await_heading("Practice")
    assert [line["correct"] for line in saved_lines(tmp_path / "answers", 1)[2:]] == [4, 5]


def test_sounds_share_one_clock_and_one_is_heard(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "mushra", stimuli=3, seconds=4.0, headphones=False)
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
        to_the_first_page(wide, address)
        wide.script("started.length = 0")
        for name, hertz in (("Reference", 150), ("Sound B", 300), ("Sound A", 200), ("Sound C", 400)):
            wide.press(name)
            wide.wait(lambda hertz=hertz: abs((wide.audible() or 0) - hertz) < 6)
        starts = wide.script("return started.map(({ when, offset, loop }) => [when, offset, loop])")
        # All four began at one instant, at one position, and none has been started again by switching.
        assert len(starts) == 4 and len({tuple(one) for one in starts}) == 1
        wide.keys(" ")
        wide.wait(lambda: wide.audible() is None)
        # Position, loop and seeking move all of them together.
        wide.script("started.length = 0")
        wide.keys("[")
        here = float(wide.one(".track input").get_attribute("value"))
        wide.keys(".", "]", " ")
        wide.wait(lambda: wide.script("return started.length"))
        loops = wide.script("return started.map(({ when, offset, from, to }) => [when, offset, from, to])")
        assert len(loops) == 4 and len({tuple(one) for one in loops}) == 1
        assert loops[0][2] == pytest.approx(here, abs=0.02) and loops[0][3] == pytest.approx(here + 1, abs=0.02)
        seen = []
        wide.wait(lambda: seen.append(float(wide.one(".track input").get_attribute("value"))) or len(seen) > 30)
        assert min(seen) >= here - 0.02 and max(seen) <= here + 1.02 and seen != sorted(seen)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_rated_unheard_and_no_page_is_passed_unrated(tmp_path: Path, wide: Listener, method: Method) -> None:
    make_study(tmp_path / "study", method, stimuli=2 if method != "p835" else 1, seconds=1.0, headphones=False)
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
        to_the_first_page(wide, address)
        scales = "fieldset" if method in ("p835", "ab") else ".row input"
        count = len(wide.all(scales))
        assert count == {"p835": 3, "ab": 1}.get(method, 2)
        assert not any(is_open(scale) for scale in wide.all(scales))
        wide.keys("3", Keys.ARROW_RIGHT, Keys.ENTER)
        assert "Listen to:" in wide.one(".alert").text and "Rate:" in wide.one(".alert").text
        if method in ("p835", "ab"):
            wide.hear_all()
            # Questions open one after another.
            for number in range(count):
                wide.wait(lambda number=number: is_open(wide.all(scales)[number]))
                assert not any(is_open(scale) for scale in wide.all(scales)[number + 1 :])
                wide.press("Save and go on")
                assert "Rate:" in wide.one(".alert").text and "Listen" not in wide.one(".alert").text
                wide.all(scales)[number].find_elements(By.TAG_NAME, "input")[0].click()
        else:
            first, second = wide.all(scales)
            for slider, other, name in ((first, second, "Sound A"), (second, first, "Sound B")):
                wide.press(name)
                wide.wait(lambda slider=slider: is_open(slider))
                # It moves for what is playing, and for nothing else.
                assert not is_open(other)
                slider.send_keys(Keys.ARROW_RIGHT)
                wide.press("Pause")
                wide.wait(lambda slider=slider: not is_open(slider))
                if slider is first:
                    wide.press("Save and go on")
                    assert "Sound B" in wide.one(".alert").text and "Sound A" not in wide.one(".alert").text
        assert ratings_of(tmp_path / "answers") == []
        wide.save()
        assert len(ratings_of(tmp_path / "answers")) == {"p835": 3, "ab": 2}.get(method, 2)


@pytest.mark.parametrize("method", METHODS)
def test_a_page_is_done_by_keys_alone(tmp_path: Path, wide: Listener, method: Method) -> None:
    make_study(
        tmp_path / "study",
        method,
        stimuli=2 if method != "p835" else 1,
        seconds=1.0,
        training=0,
        headphones=method == "p835",
    )
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
        wide.open(f"{address}/#1")
        wide.await_heading("About this study")
        wide.keys(Keys.TAB, " ", Keys.ENTER)
        wide.await_heading("Set the level")
        wide.keys(" ")
        wide.button("The level is right")
        wide.keys(Keys.ENTER)
        for trial in range(6 if method == "p835" else 0):
            wide.await_heading(f"Headphone check, {trial + 1}")
            wide.script("started.length = 0")
            wide.keys(" ")
            wide.button("Tone 1")
            quiet = wide.script(
                "const left = started[0].buffer.getChannelData(0), third = left.length / 3;"
                "const tops = [0, 1, 2].map((k) => Math.max(...left.slice(k * third, (k + 1) * third)));"
                "return 1 + tops.indexOf(Math.min(...tops))"
            )
            wide.keys(str(quiet))
        wide.await_heading("prefer" if method == "ab" else "Listen and rate")
        for place, key in enumerate("a" if method == "p835" else "ab"):
            wide.keys(key)
            wide.wait(
                lambda place=place: (
                    "heard" in wide.all("button.sound:not(.alone)")[-2 + place].get_attribute("class")
                    if method == "ab"
                    else len(wide.all("button.heard")) > place
                )
            )
            if method in ("mushra", "bs2132"):
                wide.wait(lambda place=place: is_open(wide.all(".row input")[place]))
                wide.keys(Keys.END, Keys.ARROW_LEFT, *[Keys.ARROW_LEFT] * place)
        if method == "p835":
            wide.keys("4", "2", "5")
        elif method == "ab":
            wide.keys("3")
        wide.script("document.querySelector('h1').id = 'before'")
        wide.keys(Keys.ENTER)
        wide.wait(lambda: wide.script("return document.querySelector('h1:not(#before)') !== null"))
    expected = {"p835": [4, 2, 5], "ab": [0, 1]}.get(method, [99, 98])
    assert [line["rating"] for line in ratings_of(tmp_path / "answers")] == expected


def test_a_reload_loses_nothing_and_a_second_device_goes_on(tmp_path: Path, wide: Listener, phone: Listener) -> None:
    make_study(tmp_path / "study", "mushra", stimuli=2, seconds=1.0, headphones=False)
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
        to_the_first_page(wide, address)
        wide.rate_page("mushra", 4)
        wide.web.refresh()
        wide.wait(lambda: len(wide.all("output")) == 2)
        assert [one.text for one in wide.all("output")] == ["40", "40"]
        assert len(wide.all(".row button.heard")) == 2
        wide.save()
        wide.await_heading("The practice is over")
        # The other device begins where this one is, and what it does is known to this one on its next step.
        phone.open(f"{address}/#1")
        phone.await_heading("The practice is over")
        phone.press("Start")
        phone.await_heading("Listen and rate")
        phone.rate_page("mushra", 5)
        phone.save()
        wide.press("Start")
        wide.wait(lambda: "Page 3 of 3" in wide.one("#place").text)
    assert [line["rating"] for line in ratings_of(tmp_path / "answers")] == [40, 40, 50, 50]


def test_doubled_tabs_do_not_double_answers(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=1.0, headphones=False, training=0)
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
        to_the_first_page(wide, address)
        first = wide.web.current_window_handle
        wide.web.switch_to.new_window("tab")
        wide.web.get(f"{address}/#1")
        for value, tab in ((1, first), (3, wide.web.current_window_handle)):
            wide.web.switch_to.window(tab)
            wide.wait(lambda: wide.all("fieldset"))
            wide.rate_page("ab", value)
        for tab in (first, wide.web.current_window_handle):
            wide.web.switch_to.window(tab)
            wide.save()
            wide.wait(lambda: "Page 2 of 2" in wide.one("#place").text)
        assert "first answer counts" in wide.one("#status").get_attribute("textContent")
        wide.web.close()
        wide.web.switch_to.window(first)
    assert [line["rating"] for line in ratings_of(tmp_path / "answers")] == [1, 0]


def test_a_killed_server_and_a_full_disk_lose_nothing_on_the_page(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=1.0, headphones=False, training=0, trials=3)
    study, answers = tmp_path / "study", tmp_path / "answers"
    with server(study, answers) as (process, address, _):
        to_the_first_page(wide, address)
        wide.rate_page("ab", 1)
        process.kill()
        process.wait()
        wide.press("Save and go on")
        wide.wait(lambda: "cannot be reached" in wide.one(".alert").text and "still here" in wide.one(".alert").text)
        wide.press("Try again")
        wide.wait(lambda: "cannot be reached" in wide.one(".alert").text)
    with server(study, answers, port=int(address.rpartition(":")[2])) as (process, _, _):
        wide.press("Try again")
        wide.wait(lambda: "Page 2 of 3" in wide.one("#place").text)
        assert [line["rating"] for line in ratings_of(answers)] == [1, 0]
        # Now the system lets the file grow by no more than 50 bytes.
        wide.wait(lambda: wide.all("fieldset"))
        wide.rate_page("ab", 3)
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        size = (answers / "1.jsonl").stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 50, hard))
        wide.press("Save and go on")
        wide.wait(lambda: "could not be saved" in wide.one(".alert").text)
        assert (answers / "1.jsonl").stat().st_size == size
        assert wide.all("fieldset input")[2].is_selected()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        wide.press("Try again")
        wide.wait(lambda: "Page 3 of 3" in wide.one("#place").text)
    assert [line["rating"] for line in ratings_of(answers)] == [1, 0, 0, 1]


def test_the_experimenter_sees_how_far_and_not_how(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=0.5, headphones=True, listeners=3)
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _), httpx2.Client(base_url=address) as client:
        Caller(client, "1").finish()
        second = Caller(client, "2")
        second.rate(second.answers(second.arrive()))
        wide.open(f"{address}/static/progress.html")
        wide.wait(lambda: len(wide.all("tbody tr")) == 3)
        rows = [row.text.replace("\n", " ") for row in wide.all("tbody tr")]
        assert rows == ["1 finished 3/3 6/6 just now", "2 after practice 1/3 6/6 just now", "3 not begun 0/3 – –"]
        assert "1 of 3 listeners have finished, 1 are under way." in wide.one("main").text
        # It follows by itself.
        second.finish()
        wide.wait(lambda: "2 of 3 listeners have finished" in wide.one("main").text)


def test_without_the_own_link_nothing_opens_on_a_network(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=0.5, headphones=False)
    with server(tmp_path / "study", tmp_path / "answers", host="0.0.0.0") as (_, _, said):
        links = {line.split()[0]: line.split()[1] for line in said if "#" in line}
        wide.open(links["1"].partition("#")[0])
        wide.await_heading("Your link is needed")
        wide.open(links["1"] + "x")
        wide.await_heading("This did not work")
        assert "not valid" in wide.one("main").text
        wide.open(links["2"])
        wide.await_heading("About this study")
        wide.open(links["experimenter"])
        wide.wait(lambda: len(wide.all("tbody tr")) == 2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(tmp_path: Path, wide: Listener, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1 for text; 1.4.11: 3 to 1 for the edges of what can be pressed."""
    make_study(tmp_path / "study", "p835", seconds=0.5, headphones=False)
    with server(tmp_path / "study", tmp_path / "answers") as (_, address, _):
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
