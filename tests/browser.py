"""A listener made of headless Chromium. It sees and presses what a listener sees and presses."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --disable-quic --autoplay-policy=no-user-gesture-required --mute-audio"
)
# Writes down what the page gives to the browser's sound output: the buffers that are started, when, and from where.
LISTEN = """
window.started = [];
// What reaches the listener's ears can be read from here.
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...rest) {
  if (target === this.context.destination && !(this instanceof AnalyserNode)) {
    window.ears ??= new AnalyserNode(this.context, { fftSize: 16384, smoothingTimeConstant: 0 });
    connect.call(window.ears, this.context.destination);
    return connect.call(this, window.ears);
  }
  return connect.call(this, target, ...rest);
};
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when = 0, offset = 0) {
  window.started.push({ when, offset, buffer: this.buffer, loop: this.loop, from: this.loopStart, to: this.loopEnd });
  return start.call(this, when, offset);
};
"""


@contextmanager
def chromium(width: int = 1200, height: int = 900) -> Iterator["Listener"]:
    """A browser with a window of that size. Fails, and says how to install it, where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.fail(
            "the tests of the page need Chromium; run: apt-get install -y chromium chromium-driver", pytrace=False
        )
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--window-size={width},{height}")
    if width < 500:
        # A window has a least width; a phone is emulated instead.
        metrics = {"width": width, "height": height, "pixelRatio": 1.0, "mobile": True, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    # Every request that is made and every error that a page raises.
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    web = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        web.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTEN})
        yield Listener(web)
    finally:
        web.quit()


def is_open(scale: WebElement) -> bool:
    """Whether something can be entered. Selenium's `is_enabled` says yes for every fieldset."""
    return not scale.get_property("disabled")


def window(width: int, height: int) -> Callable[[], Iterator["Listener"]]:
    """A fixture: one browser with a window of that size for all tests of a file."""

    @pytest.fixture(scope="module")
    def browser() -> Iterator["Listener"]:
        with chromium(width, height) as listener:
            yield listener

    return browser


class Listener:
    """What a test does with a page."""

    def __init__(self, web: webdriver.Chrome) -> None:
        self.web = web

    def open(self, address: str) -> None:
        self.web.get("about:blank")
        self.web.get(address)

    def wait(self, condition: Any, seconds: float = 90) -> Any:
        """What ``condition()`` returns once that is true. AssertionError that tells what the page shows instead."""
        try:
            return WebDriverWait(self.web, seconds, 0.1, (StaleElementReferenceException,)).until(lambda _: condition())
        except TimeoutException:
            raise AssertionError(f"waited in vain; the page shows:\n{self.one('body').text}") from None

    def heading(self) -> str:
        return self.script("return document.querySelector('h1')?.textContent ?? ''")

    def await_heading(self, text: str) -> None:
        self.wait(lambda: text in self.heading())

    def all(self, selector: str) -> list[WebElement]:
        return self.web.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.wait(lambda: next(iter(self.all(selector)), None))

    def button(self, text: str) -> WebElement:
        path = f"//button[not(@disabled) and descendant-or-self::*[starts-with(normalize-space(text()), '{text}')]]"
        return self.wait(lambda: next(iter(self.web.find_elements(By.XPATH, path)), None))

    def press(self, text: str) -> None:
        self.button(text).click()

    def keys(self, *keys: str) -> None:
        webdriver.ActionChains(self.web).send_keys(*keys).perform()

    def script(self, code: str, *arguments: Any) -> Any:
        return self.web.execute_script(code, *arguments)

    def picture(self, path: Path) -> None:
        """The whole page, however long."""
        size = self.web.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        area = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.web.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": area})
        import base64

        path.write_bytes(base64.b64decode(shot["data"]))

    # -- the steps of a study

    def consent(self) -> None:
        self.one("input[type=checkbox]").click()
        self.press("Begin")

    def set_level(self) -> None:
        self.await_heading("Set the level")
        self.press("Play")
        self.press("The level is right")

    def answer_tones(self, right: bool = True) -> None:
        """One trial of the headphone check, by what is in the sound itself."""
        self.script("window.started.length = 0")
        self.press("Play the tones")
        self.wait(lambda: self.script("return window.started.length"))
        loudness = self.script(
            "const left = window.started[0].buffer.getChannelData(0), third = left.length / 3;"
            "return [0, 1, 2].map((k) => Math.max(...left.slice(k * third, (k + 1) * third)))"
        )
        quiet = loudness.index(min(loudness))
        self.press(f"Tone {quiet + 1 if right else (quiet + 1) % 3 + 1}")

    def check_headphones(self, wrong: int = 0) -> None:
        for trial in range(6):
            self.await_heading(f"Headphone check, {trial + 1}")
            self.answer_tones(right=trial >= wrong)

    def audible(self) -> float | None:
        """The frequency of the strongest tone that comes out just now, in Hz; None in silence."""
        return self.script(
            "const levels = new Float32Array(ears.frequencyBinCount); ears.getFloatFrequencyData(levels);"
            "const top = levels.indexOf(Math.max(...levels));"
            "return levels[top] > -60 ? (top * ears.context.sampleRate) / ears.fftSize : null;"
        )

    def to_the_first_page(self, address: str, number: int = 1) -> None:
        self.open(f"{address}/#{number}")
        self.await_heading("About this study")
        self.consent()
        self.set_level()
        self.wait(lambda: self.all("button.sound") or "Headphone" in self.heading())

    def hear(self, button: WebElement) -> None:
        button.click()
        self.wait(lambda: "heard" in button.get_attribute("class"))

    def hear_all(self) -> None:
        for button in self.all("button.sound"):
            self.hear(button)

    def rate_page(self, method: str, value: int = 3) -> None:
        """Everything that a page asks: the radio button of ``value``, or for sliders the place on the scale."""
        if method in ("mushra", "bs2132"):
            for row in self.all(".row:not(.head)"):
                self.hear(row.find_element(By.CSS_SELECTOR, "button.sound"))
                slider = row.find_element(By.CSS_SELECTOR, "input[type=range]")
                self.wait(
                    lambda slider=slider: is_open(slider)
                )  # It opens when its sound was heard, and while that plays.
                slider.send_keys(Keys.HOME, *[Keys.PAGE_UP] * value)
        else:
            self.hear_all()
            for field in self.all("fieldset"):
                self.wait(lambda field=field: is_open(field))
                # On a phone the sounds stay at the top, above what is scrolled beneath them.
                self.script("arguments[0].scrollIntoView({ block: 'center' })", field)
                field.find_elements(By.TAG_NAME, "input")[value - 1].click()

    def save(self) -> None:
        """Press the button and wait for the page that comes next."""
        self.script("document.querySelector('h1').id = 'before'")
        self.press("Save and go on")
        self.wait(lambda: self.script("return document.querySelector('h1:not(#before)') !== null"))

    def check_looks(self) -> None:
        """Nothing sticks out at the side, everything can be pressed with a finger, and everything has a name."""
        width, inner = self.script("return [document.scrollingElement.scrollWidth, window.innerWidth]")
        assert width <= inner, self.heading()
        small = self.script(
            "const all = [...document.querySelectorAll('main button, main label:has(input), main summary')];"
            "return all.filter((one) => one.checkVisibility() && one.offsetHeight < 36).map((one) => one.textContent);"
        )
        assert small == [], self.heading()
        tree = self.web.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
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
                assert node["name"]["value"].strip(), (self.heading(), node)
