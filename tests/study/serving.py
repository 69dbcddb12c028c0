"""Small studies to serve, and a real server process to serve them."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import soundfile as sf
from listening import Caller
from servers import Served, serving, serving_here
from starlette.testclient import TestClient

from ldm_sep.study.desk import Desk
from ldm_sep.study.methods import questions, texts
from ldm_sep.study.records import Method, Study, load_study
from ldm_sep.study.server import Entrance, study_app
from ldm_sep.web.guard import LOOPBACK_NAMES

RATE = 48000
ADDRESS = "http://127.0.0.1:8765"


def make_study(
    folder: Path,
    method: Method,
    *,
    listeners: int = 2,
    trials: int = 2,
    training: int = 1,
    stimuli: int = 2,
    seconds: float = 4.0,
    headphones: bool = True,
) -> Study:
    """A study of tones in ``folder``: sound k of a trial is a tone of 200 + 100 k Hz, the reference one of 150 Hz."""
    (folder / "audio").mkdir(parents=True)
    time_axis = np.arange(int(seconds * RATE)) / RATE

    def sound(name: str, hertz: float) -> str:
        wave = 0.1 * np.sin(2 * np.pi * hertz * time_axis)
        sf.write(folder / f"audio/{name}.wav", np.stack([wave, wave], 1), RATE, subtype="PCM_16")
        return f"audio/{name}.wav"

    def trial(number: int) -> dict[str, Any]:
        count = 2 if method == "ab" else stimuli
        return {
            "id": f"t{number:06x}",
            "seconds": seconds,
            "reference": None if method == "bs2132" else sound(f"r{number:06x}", 150),
            "stimuli": [
                {"id": f"s{number:06x}{k:02x}", "audio": sound(f"a{number:06x}{k:02x}", 200 + 100 * k)}
                for k in range(count)
            ],
        }

    every = [trial(number) for number in range(training + trials)]
    rated = every[training:]
    orders = [
        {
            "number": number,
            "trials": [
                {"trial": t["id"], "stimuli": [s["id"] for s in t["stimuli"]][:: 1 if number % 2 else -1]}
                for t in (rated if number % 2 else rated[::-1])
            ],
        }
        for number in range(1, listeners + 1)
    ]
    table = {
        "format": 1,
        "title": "Voices <b>taken</b> out of songs",
        "method": method,
        "questions": [question.model_dump() for question in questions(method)],
        "texts": texts(method).model_dump(),
        "headphones": headphones,
        "sample_rate": RATE,
        "loudness_lufs": -23.0,
        "training": every[:training],
        "trials": rated,
        "listeners": orders,
    }
    (folder / "study.json").write_text(json.dumps(table))
    return load_study(folder)


@contextmanager
def server(study: Path, answers: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[Served]:
    """`serving` of a study, once it answers."""
    words = ["study", "serve", study, "--answers", answers, f"--host={host}", f"--port={port}"]
    with serving(*words) as served:
        wait_until_up(served[0], served[1])
        yield served


@contextmanager
def study_page(folder: Path) -> Iterator[str]:
    """The address of the study in ``folder``/study, served by this process; its answers go to ``folder``/answers."""
    (folder / "answers").mkdir(exist_ok=True)
    with (
        closing(Desk(load_study(folder / "study"), folder / "answers")) as desk,
        serving_here(study_app(folder / "study", desk, Entrance(desk, None), LOOPBACK_NAMES)) as address,
    ):
        yield address


def wait_until_up(process: subprocess.Popen[str], address: str) -> None:
    # What is asked before the server runs waits in the socket, and is answered then.
    try:
        assert httpx2.get(f"{address}/api/door", timeout=60).status_code == 200
    except httpx2.TransportError as error:
        process.kill()
        assert process.stdout is not None
        raise AssertionError(process.stdout.read()) from error


def saved_lines(answers: Path, number: int) -> Sequence[dict[str, Any]]:
    """The lines on the disk, read without any of the code under test."""
    return [json.loads(line) for line in (answers / f"{number}.jsonl").read_text().splitlines()]


def saved_ratings(answers: Path, number: int = 1) -> list[dict[str, Any]]:
    """Of those lines the ratings."""
    return [line for line in saved_lines(answers, number) if line["kind"] == "answer"]


class Lab:
    """A study of one method and its server within this process."""

    def __init__(self, folder: Path, method: Method, **study: Any) -> None:
        self.folder = folder
        self.study = make_study(folder / "study", method, **study)
        self.answers = folder / "answers"
        self.answers.mkdir()
        self.start()

    def start(self) -> None:
        self.desk = Desk(load_study(self.folder / "study"), self.answers)
        app = study_app(self.folder / "study", self.desk, Entrance(self.desk, None), LOOPBACK_NAMES)
        self.client = TestClient(app, ADDRESS)

    def restart(self) -> None:
        self.desk.close()
        self.start()

    def tab(self, number: int = 1) -> Caller:
        return Caller(self.client, str(number))
