"""The page in a browser: from a dropped file to a downloaded stem, by pointer and by keys, at a desk and on a phone."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from browser import Listener, window
from selenium.webdriver.common.keys import Keys
from servers import serving_here
from songs import RATE, House, as_file, song, until

wide = window(1200, 900)

DROP = """
const bytes = Uint8Array.from(atob(arguments[1]), (c) => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[0]));
for (const type of ["dragover", "drop"]) {
  const init = { dataTransfer: data, bubbles: true, cancelable: true };
  document.querySelector(".drop").dispatchEvent(new DragEvent(type, init));
}
"""
# The least contrast of text with what lies behind it (WCAG 2, 4.5 wanted), and how light the page is, 0 to 1.
CONTRAST = """
const colour = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (text) => {
  const linear = (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = colour(text).map((x) => linear(x / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (node) => {
  const own = node ? getComputedStyle(node).backgroundColor : "rgb(255, 255, 255)";
  return (colour(own)[3] ?? 1) > 0.5 ? own : behind(node.parentElement);
};
const shown = [...document.querySelectorAll("h1, h2, p, a, label, button, .state, .hint")].filter((node) =>
  node.offsetParent && node.textContent.trim() && !node.disabled);
const ratios = shown.map((node) => {
  const [low, high] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
});
return [Math.min(...ratios), light(behind(document.body)), shown.length];
"""
# The gains that both stems reach the ears with, and what was started when, of which piece, from where.
HEARD = "return [...document.querySelectorAll('.fader output')].map((one) => one.textContent)"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, untrained: Path) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house"), untrained) as one:
        yield one


@pytest.fixture(scope="module")
def address(house: House) -> Iterator[str]:
    with serving_here(house.app) as one:
        yield one


def drop(browser: Listener, name: str, data: bytes) -> None:
    browser.script(DROP, name, base64.b64encode(data).decode())


def pressed(browser: Listener, text: str) -> bool:
    return browser.button(text).get_attribute("aria-pressed") == "true"


def drawn(browser: Listener, look: str) -> bool:
    shown = [one.get_attribute("data-drawn") or "" for one in browser.all("canvas")]
    return len(shown) == 3 and all(one.startswith(look) for one in shown)


def colours(browser: Listener, lane: int) -> int:
    """How many different colours a lane's picture has."""
    return browser.script(
        "const canvas = document.querySelectorAll('canvas')[arguments[0]];"
        "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        "return new Set(new Uint32Array(data.buffer)).size;",
        lane,
    )


def phone(browser: Listener, on: bool) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.web.execute_cdp_cmd(
        *(("Emulation.setDeviceMetricsOverride", metrics) if on else ("Emulation.clearDeviceMetricsOverride", {}))
    )


def test_from_a_dropped_song_to_a_downloaded_stem(wide: Listener, house: House, address: str, tmp_path: Path) -> None:
    wide.web.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    wide.open(address)
    wide.await_heading("Separate a song")
    wide.check_looks()
    drop(wide, "broken.wav", b"Dear Sir or Madam")
    wide.wait(lambda: any("holds text" in one.text for one in wide.all(".state.bad")))
    name = "My <b>song</b> №1.wav"
    drop(wide, name, as_file(song(12)))
    link = wide.wait(lambda: next((one for one in wide.all("a.name") if one.text == "My <b>song</b> №1"), None))
    row = link.find_element("xpath", "ancestor::li")
    wide.wait(lambda: row.find_element("css selector", ".state").text == "Ready")
    [job] = [one for one in house.client.get("/api/jobs").json()["jobs"] if one["name"] == name]
    link.click()
    wide.await_heading("My <b>song</b> №1")
    wide.wait(lambda: drawn(wide, "wave"))
    assert all(colours(wide, lane) > 1 for lane in range(3))
    wide.check_looks()
    # A reload shows the same.
    wide.web.refresh()
    wide.wait(lambda: drawn(wide, "wave"))
    wide.press("Spectrogram")
    wide.wait(lambda: drawn(wide, "spectrum"))
    assert colours(wide, 0) > 50
    stems = wide.all(".stem button")
    assert [one.get_attribute("aria-label") for one in stems[:3]] == [
        f"Download the vocals as {k}" for k in ("wav", "flac", "mp3")
    ]
    stems[0].click()
    found = until(lambda: [path for path in tmp_path.iterdir() if path.suffix == ".wav"])
    assert found[0].name.endswith("vocals.wav")
    assert np.array_equal(sf.read(found[0], dtype="float32")[0].T, house.file(job, "vocals.wav")[0])
    # What is heard can be taken away: the song plus a quarter of its vocals.
    fader = wide.one("#level-vocals")
    fader.send_keys(Keys.ARROW_RIGHT * 4)
    assert wide.script(HEARD) == ["+2.0 dB", "0.0 dB"]
    assert "the song plus 26 % of the vocals" in wide.one(".sum").text
    wide.one("button[aria-label='Download what you hear as flac']").click()
    blend = until(lambda: next((path for path in tmp_path.iterdir() if path.name.endswith("blend.flac")), None))
    vocals, instrumental = (house.file(job, f"{stem}.wav")[0] for stem in ("vocals", "instrumental"))
    assert np.abs(sf.read(blend)[0].T - (1.259 * vocals + instrumental)).max() < 1e-5
    # On a phone nothing sticks out, everything is large enough for a finger and has a name.
    phone(wide, True)
    wide.check_looks()
    wide.open(address)
    wide.await_heading("Separate a song")
    wide.wait(lambda: wide.all("a.name"))
    wide.check_looks()
    phone(wide, False)
    wide.one("#about").click()
    wide.await_heading("The model: tiny")
    assert {"Licence", "What it was trained on"} <= {one.text for one in wide.all("h2")}
    assert [
        one for one in wide.web.get_log("browser") if one["level"] == "SEVERE" and "favicon" not in one["message"]
    ] == []


def test_words_stand_out_by_day_and_by_night(wide: Listener, house: House, address: str) -> None:
    job = house.await_state(house.add(as_file(song(3)), "evening.wav"), "done")
    for scheme in ("light", "dark"):
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        wide.web.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        for page, heading in ((address, "Separate a song"), (f"{address}/#/songs/{job['id']}", "evening")):
            wide.open(page)
            wide.await_heading(heading)
            contrast, page_light, words = wide.script(CONTRAST)
            assert contrast >= 4.5 and words > 5
            assert page_light > 0.8 if scheme == "light" else page_light < 0.05
    wide.web.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_playing_is_gapless_and_keys_do_what_buttons_do(wide: Listener, house: House, address: str) -> None:
    # Tones that no network changes: what plays is told by what is in the pieces.
    job = house.await_state(house.add(as_file(song(12, 5)), "keys.wav"), "done")
    wide.open(f"{address}/#/songs/{job['id']}")
    wide.wait(lambda: drawn(wide, "wave"))
    slider = "return Number(document.querySelector('input[aria-label=Position]').value)"
    wide.script("window.started.length = 0")
    wide.keys("...", " ")
    wide.wait(lambda: wide.script(slider) > 6.3)
    started = wide.script(
        "return window.started.map(({ when, offset, buffer }) => [when, offset, buffer.duration, buffer.sampleRate])"
    )
    # Both stems of a piece start at one instant; the next piece where the one before ends.
    pairs = [started[k : k + 2] for k in range(0, len(started), 2)]
    assert all(one[:2] == other[:2] and one[3] == RATE for one, other in pairs)
    first = pairs[0][0]
    assert first[1] == 1.0 or first[1] == pytest.approx(1.0)
    if len(pairs) > 1:
        assert pairs[1][0][0] == pytest.approx(first[0] + 4.0, abs=1e-4) and pairs[1][0][1] == 0
    wide.wait(lambda: wide.audible() is not None)
    wide.keys(" ")
    assert wide.button("Play")
    here = wide.script(slider)
    wide.keys("r")
    assert pressed(wide, "Loop") and wide.script(slider) == pytest.approx(here, abs=0.05)
    # The looped stretch is renewed with another seed while the old one plays.
    wide.keys("n")
    wide.wait(lambda: [one.text for one in wide.all(".past li") if "seed 1" in one.text])
    after = house.job(job)
    assert after["take"] == 2 and after["stretches"][0]["end"] - after["stretches"][0]["start"] == pytest.approx(2)
    assert wide.button("Undo")
    wide.keys("s")
    assert wide.one(".sum").text == "You hear the instrumental alone."
    wide.keys("b")
    assert wide.one(".sum").text == "You hear the song as it is." and pressed(wide, "A/B")
    wide.keys("b", "s", "q", "w")
    assert "nothing" in wide.one(".sum").text
    wide.keys("q", "w", "v")
    wide.wait(lambda: drawn(wide, "spectrum"))
    wide.keys("+")
    wide.wait(lambda: not any((one.get_attribute("data-drawn") or "").endswith(" 12") for one in wide.all("canvas")))
    # Going away ends the sound.
    wide.keys(" ")
    wide.one("#home").click()
    wide.await_heading("Separate a song")


def test_recording_and_deleting(wide: Listener, house: House, address: str) -> None:
    wide.open(address)
    wide.await_heading("Separate a song")
    wide.script(
        # A microphone that gives a tone: the browser's own recorder does the rest.
        "navigator.mediaDevices.getUserMedia = async () => {"
        "  const context = new AudioContext(), out = new MediaStreamAudioDestinationNode(context);"
        "  const tone = new OscillatorNode(context, { frequency: 440 }); tone.connect(out); tone.start();"
        "  return out.stream; };"
    )
    wide.press("Record")
    wide.wait(lambda: wide.button("Stop").text >= "Stop, 0:02")
    wide.press("Stop")
    [job] = wide.wait(
        lambda: [one for one in house.client.get("/api/jobs").json()["jobs"] if one["name"].startswith("Recording")]
    )
    done = house.await_state(job, "done", "failed")
    assert done["state"] == "done", done["error"]
    wave, rate = house.file(done, "mixture.wav")
    spectrum = np.abs(np.fft.rfft(wave[0, rate // 2 : rate // 2 + rate]))
    assert wave.shape[1] > 1.5 * rate and abs(spectrum.argmax() - 440) <= 2
    wide.wait(lambda: wide.one(f"[data-id='{job['id']}'] .state").text == "Ready")
    wide.one(f"[data-id='{job['id']}'] button[aria-label^=Delete]").click()
    wide.wait(lambda: not wide.all(f"[data-id='{job['id']}']"))
    assert house.client.get(f"/api/jobs/{job['id']}").status_code == 404
