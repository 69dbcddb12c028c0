"""The web server of a study: what `ldm-sep study serve` runs."""

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldm_sep.errors import BusyError, StudyError, need_package, reason
from ldm_sep.files import locked, make_folder, sha256_of, write_text
from ldm_sep.records import Record, checked
from ldm_sep.study.desk import HEARD_SECONDS, Desk, OutOfTurnError, Position
from ldm_sep.study.ledger import SaveError
from ldm_sep.study.records import HEADPHONES_PASSED, STUDY_FILE, Answer, Milestone, Study, load_study, pages
from ldm_sep.web.app import Endpoint, address_of, create_app, names_for, open_socket, packaged_files, run
from ldm_sep.web.door import Door
from ldm_sep.web.guard import Limits
from ldm_sep.web.replies import RefusedError, file_reply, json_reply, read_json
from ldm_sep.web.tokens import Tokens, load_tokens

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

# A MUSHRA page has some 15 ratings of 300 bytes each.
LIMITS = Limits(body=64 * 1024)
EXPERIMENTER = "experimenter"


class Delivery(Record):
    """What the page sends when a page is rated."""

    answers: tuple[Answer, ...]


class Entrance:
    """Who a request comes from. ``tokens`` None: this machine's own user, who says the listener's number.

    Otherwise the token says it.
    """

    def __init__(self, desk: Desk, tokens: Tokens | None) -> None:
        self._desk = desk
        self._door = Door(tokens)
        self.local = self._door.local

    def listener(self, request: "Request") -> int:
        """The listener's number. RefusedError if the request says none."""
        name = self._door.name(request)
        number = int(name) if name.isascii() and name.isdecimal() and len(name) < 10 else 0
        if number not in self._desk.numbers:
            raise RefusedError(401, "This link is not valid. Please use the link that you were given.")
        return number

    def experimenter(self, request: "Request") -> None:
        """RefusedError unless the request may see how far everybody is."""
        if not self.local and self._door.name(request) != EXPERIMENTER:
            raise RefusedError(401, "This page is for the experimenter's own link.")


def study_app(folder: Path, desk: Desk, door: Entrance, names: frozenset[str]) -> "ASGIApp":
    """The application: the page of `static/`, the study's audio from ``folder``, and what ``desk`` takes.

    Replies hold trial and stimulus ids, texts and questions; no name of a system and no path is known here.
    """
    from starlette.concurrency import run_in_threadpool

    study = desk.study

    async def session(request: "Request") -> "Response":
        number = door.listener(request)
        # In a thread, as everything that waits for the disk or a lock, so that other requests are served meanwhile.
        return json_reply(_session(study, number) | _place(await run_in_threadpool(desk.position, number)))

    async def audio(request: "Request") -> "Response":
        path = f"audio/{request.path_params['id']}.wav"
        if path not in desk.audio_of(door.listener(request)):
            raise RefusedError(404, "There is no such sound on your pages.")
        return file_reply(folder / path, "audio/wav")

    async def answers(request: "Request") -> "Response":
        number = door.listener(request)
        table = await read_json(request)
        if isinstance(table, dict) and isinstance(table.get("answers"), list):
            table = {"answers": [_of(number, row) for row in table["answers"]]}
        given = checked(Delivery, table, "the request").answers
        return json_reply(_place(await _recorded(run_in_threadpool(desk.rate, number, given))))

    async def milestone(request: "Request") -> "Response":
        number = door.listener(request)
        given = checked(Milestone, _of(number, await read_json(request)), "the request")
        return json_reply(_place(await _recorded(run_in_threadpool(desk.pass_milestone, number, given))))

    async def progress(request: "Request") -> "Response":
        door.experimenter(request)
        listeners = [one.model_dump(mode="json") for one in await run_in_threadpool(desk.progress)]
        return json_reply({"title": study.title, "listeners": listeners, "now": datetime.now(UTC).isoformat()})

    async def door_state(request: "Request") -> "Response":
        return json_reply({"local": door.local, "title": study.title})

    endpoints = [
        Endpoint("GET", "/api/door", door_state),
        Endpoint("GET", "/api/session", session),
        Endpoint("GET", "/api/audio/{id}", audio),
        Endpoint("POST", "/api/answers", answers),
        Endpoint("POST", "/api/milestones", milestone),
        Endpoint("GET", "/api/progress", progress),
    ]
    assets = packaged_files("ldm_sep.study")
    return create_app(endpoints, assets, names=names, limits=LIMITS)


def serve(
    study: Path,
    answers: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    listeners: int | None = None,
    names: Sequence[str] = (),
    report: Callable[[str], None] = print,
) -> None:
    """Serve the study in the folder ``study`` and write what listeners answer below ``answers``, until told to stop.

    ``listeners``: how many take part, at most (default) as many as the study has orders for. At a loopback ``host``
    nobody needs a link; at any other, every listener and the experimenter get one of their own, reported once.
    ``names``: what else the server is called in the network, for a reverse proxy. ``report`` takes lines for the user.

    LdmSepError for a study, a folder or an address that cannot be used, and for a folder that another server writes to.
    """
    for package in ("starlette", "uvicorn"):
        need_package("ldm-sep study serve", package)
    table = load_study(study)
    _check_audio(study, table)
    if answers.resolve().is_relative_to(study.resolve()):
        raise StudyError(f"{answers}: lies in the folder that is served; name a folder outside {study}")
    make_folder(answers)
    try:
        with locked(answers):
            _check_same_study(answers, study)
            with closing(Desk(table, answers, listeners)) as desk:
                _serve(study, desk, answers, host, port, names, report)
    except BusyError:
        raise StudyError(f"{answers}: another server writes to it; stop that one or name another folder") from None
    except OSError as error:
        raise StudyError(f"{answers}: cannot be written ({reason(error)}); free space or name another folder") from None
    report(f"stopped; the answers are in {answers}")


def _serve(
    folder: Path, desk: Desk, answers: Path, host: str, port: int, names: Sequence[str], report: Callable[[str], None]
) -> None:
    for note in desk.notes:
        report(note)
    opened, local = open_socket(host, port)
    with opened:
        address = address_of(host, opened)
        tokens = None if local else _tokens(answers, desk, address, report)
        allowed = names_for(host, address, names)
        report(f"{desk.study.title}: {len(desk.numbers)} listeners; answers go to {answers}")
        report(f"open {address}/ (Ctrl+C stops; everything that was answered is saved)")
        run(study_app(folder, desk, Entrance(desk, tokens), allowed), opened)


def _session(study: Study, number: int) -> dict[str, Any]:
    shown = {"title", "method", "questions", "texts", "sample_rate", "loudness_lufs"}
    table = study.model_dump(mode="json", include=shown)
    first = pages(study, number)[0]
    return table | {
        "listener": number,
        "heard": HEARD_SECONDS,
        "headphones_passed": HEADPHONES_PASSED,
        "level_audio": first.trial.reference or first.stimuli[0].audio,
    }


def _place(position: Position) -> dict[str, Any]:
    # The page lists what it plays. The trial's own list would also name the stimuli of other pages.
    return position.model_dump(mode="json", exclude={"page": {"trial": {"stimuli"}}})


def _of(number: int, row: Any) -> Any:
    # Who answers is decided by the token, whatever the row says.
    return {**row, "listener": number} if isinstance(row, dict) else row


async def _recorded(work: Any) -> Position:
    try:
        return await work
    except OutOfTurnError as error:
        raise RefusedError(409, str(error)) from None
    except SaveError as error:
        raise RefusedError(507, f"Your answer could not be saved on the server ({error}).") from None


def _tokens(answers: Path, desk: Desk, address: str, report: Callable[[str], None]) -> Tokens:
    path = answers / "access.json"
    tokens, made = load_tokens(path, [*map(str, desk.numbers), EXPERIMENTER])
    if made:
        report("links, shown this once; give each listener one:")
    else:
        report(f"the links given out before are valid; for a new one delete its line in {path} and start again")
    for name, token in made.items():
        page = "static/progress.html" if name == EXPERIMENTER else ""
        report(f"  {name:>12}  {address}/{page}#{token}")
    return tokens


def _check_audio(folder: Path, study: Study) -> None:
    every = (*study.training, *study.trials)
    named = [s.audio for trial in every for s in trial.stimuli] + [t.reference for t in every if t.reference]
    for name in named:
        if not (folder / name).is_file():
            raise StudyError(f"{folder / name}: no such file; prepare the study again")


def _check_same_study(answers: Path, study: Path) -> None:
    """Answers to one study are not mixed with those to another: the folder remembers which it is for."""
    path = answers / "study.sha256"
    ours = sha256_of(study / STUDY_FILE)
    if not path.exists():
        write_text(path, ours + "\n")
    elif path.read_text(encoding="utf-8", errors="replace").strip() != ours:
        raise StudyError(f"{answers}: holds answers to another study; name another folder")
