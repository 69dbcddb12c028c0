"""Listening and rating in a browser: what sounds, what opens when, what the keys do."""

from pathlib import Path

import numpy as np
import pytest
from browser import Listener, is_open, window
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from serving import make_study, saved_lines, saved_ratings, study_page

from ldm_sep.study.records import Method

METHODS: tuple[Method, ...] = ("p835", "mushra", "bs2132", "ab")


wide = window(1200, 900)


def test_the_headphone_check_is_that_of_woods_et_al_and_can_be_done_again(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=1.0)
    places = []
    with study_page(tmp_path) as address:
        wide.to_the_first_page(address)
        for trial in range(6):
            wide.await_heading(f"Headphone check, {trial + 1} of 6")
            # Nothing can be answered unheard.
            assert not any(button.is_enabled() for button in wide.all("button.sound"))
            wide.answer_tones(right=trial > 1)
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
        wide.await_heading("not recognised")
        assert "4 of 6" in wide.one("main").text
        wide.check_looks()
        wide.press("Try again")
        wide.check_headphones(wrong=1)
        wide.await_heading("Practice")
    assert sorted(quiet for quiet, _ in places) == [0, 0, 1, 1, 2, 2]
    assert [line["correct"] for line in saved_lines(tmp_path / "answers", 1)[2:]] == [4, 5]


def test_sounds_share_one_clock_and_one_is_heard(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "mushra", stimuli=3, seconds=4.0, headphones=False)
    with study_page(tmp_path) as address:
        wide.to_the_first_page(address)
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
    with study_page(tmp_path) as address:
        wide.to_the_first_page(address)
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
        assert saved_ratings(tmp_path / "answers") == []
        wide.save()
        assert len(saved_ratings(tmp_path / "answers")) == {"p835": 3, "ab": 2}.get(method, 2)


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
    with study_page(tmp_path) as address:
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
    assert [line["rating"] for line in saved_ratings(tmp_path / "answers")] == expected
