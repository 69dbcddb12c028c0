"""Answers of a browser on their way to the disk: reloads, devices, tabs, a killed server, a full disk, links."""

import resource
from pathlib import Path

import httpx2
from browser import Listener, window
from listening import Caller
from serving import make_study, saved_ratings, server, study_page

wide, phone = window(1200, 900), window(360, 740)


def test_a_reload_loses_nothing_and_a_second_device_goes_on(tmp_path: Path, wide: Listener, phone: Listener) -> None:
    make_study(tmp_path / "study", "mushra", stimuli=2, seconds=1.0, headphones=False)
    with study_page(tmp_path) as address:
        wide.to_the_first_page(address)
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
    assert [line["rating"] for line in saved_ratings(tmp_path / "answers")] == [40, 40, 50, 50]


def test_doubled_tabs_do_not_double_answers(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=1.0, headphones=False, training=0)
    with study_page(tmp_path) as address:
        wide.to_the_first_page(address)
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
    assert [line["rating"] for line in saved_ratings(tmp_path / "answers")] == [1, 0]


def test_a_killed_server_and_a_full_disk_lose_nothing_on_the_page(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=1.0, headphones=False, training=0, trials=3)
    study, answers = tmp_path / "study", tmp_path / "answers"
    with server(study, answers) as (process, address, _):
        wide.to_the_first_page(address)
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
        assert [line["rating"] for line in saved_ratings(answers)] == [1, 0]
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
    assert [line["rating"] for line in saved_ratings(answers)] == [1, 0, 0, 1]


def test_the_experimenter_sees_how_far_and_not_how(tmp_path: Path, wide: Listener) -> None:
    make_study(tmp_path / "study", "ab", seconds=0.5, headphones=True, listeners=3)
    with study_page(tmp_path) as address, httpx2.Client(base_url=address) as client:
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
