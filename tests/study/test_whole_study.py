"""One study by its commands: from folders of stems over a listener's browser to the analysed report."""

from pathlib import Path

import httpx2
from browser import chromium
from conftest import run_here
from listening import Caller
from material import SYSTEMS, make_songs
from serving import saved_ratings, server

from ldm_sep.study.records import load_key


def test_from_stems_over_a_browser_to_the_report(tmp_path: Path) -> None:
    songs = make_songs(tmp_path / "songs", 4)
    study, answers, report = tmp_path / "study", tmp_path / "answers", tmp_path / "report"
    words = [f"--estimates={name}={songs[name]}" for name in SYSTEMS]
    shape = ["--method=bs2132", "--seconds=2", "--training=0", "--listeners=4"]
    made = run_here("study", "prepare", f"--reference={songs['reference']}", *words, *shape, "-o", study)
    assert made.returncode == 0, made.stderr
    key_path = tmp_path / "study-key.json"
    key = load_key(key_path)
    quality = {one.stimulus: {"tidy": 90, "middling": 60, "bad one": 20}[one.system] for one in key.stimuli}
    seen: list[str] = []
    with server(study, answers) as (_, address, _), httpx2.Client(base_url=address) as client:
        for number in (2, 3, 4):
            tab = Caller(client, str(number))
            place = tab.arrive()
            while place["step"] == "page":
                rows = tab.answers(place)
                for row in rows:
                    row["rating"] = float(quality[row["stimulus"]] + number)
                reply = tab.rate(rows)
                seen.append(reply.text)
                place |= reply.json()
            tab.finish()
        with chromium() as browser:
            browser.to_the_first_page(address, 1)
            browser.check_headphones()
            browser.await_heading("Listen and rate")
            while "last page" not in browser.heading():
                seen.append(browser.web.page_source)
                browser.rate_page("bs2132", 5)
                browser.save()
            browser.press("Finish")
            browser.await_heading("Everything is saved")
            seen.append(browser.web.page_source)
        seen += [
            client.get(path, headers={"authorization": "Bearer 1"}).text for path in ("/api/session", "/api/progress")
        ]
    # No page and no reply told a system, a song or a place.
    told = "\n".join(seen)
    secrets = [*SYSTEMS, "söng", str(tmp_path), "key", *(one.sha256 for one in key.stimuli)]
    assert told and [word for word in secrets if word in told.replace("keys", "")] == []
    assert [line["rating"] for line in saved_ratings(answers)] == [50] * len(saved_ratings(answers, 2))
    done = run_here(
        "study", "analyse", study, f"--answers={answers}", f"--key={key_path}", "--no-mixed-model", "-o", report
    )
    assert done.returncode == 0, done.stderr
    page = (report / "report.html").read_text()
    assert all(name in page for name in SYSTEMS)
