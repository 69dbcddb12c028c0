"""webMUSHRA (Schoeffler et al. 2018): configurations for its page, and ratings from its results.

One configuration for each listener, so that the balanced orders hold there too. Conditions keep their random names, and
results are read back with the key. webMUSHRA shows P.835 questions one page each, and the mixture as a plain player; it
adds the hidden reference to MUSHRA pages by itself. It has no page for BS.2132 or a plain A/B, so these are refused.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from ldm_sep.errors import StudyError
from ldm_sep.files import shown
from ldm_sep.records import open_table, table_rows
from ldm_sep.study.collect import ratings_of
from ldm_sep.study.ratings import Rating
from ldm_sep.study.records import Key, Page, Question, Study, pages

# The name that webMUSHRA gives the reference among the conditions.
_REFERENCE = "reference"
_LISTENER = "listener"
_IMAGES = "configs/resources/images"
_STARS = {
    "img": f"{_IMAGES}/star_off.png",
    "imgSelected": f"{_IMAGES}/star_on.png",
    "imgHigherResponseSelected": f"{_IMAGES}/star_on.png",
}
_MUSHRA_COLUMNS = ("trial_id", "rating_stimulus", "rating_score")
_LIKERT_COLUMNS = ("trial_id", "stimuli", "stimuli_rating")


def configuration(study: Study, key: Key, number: int, place: str) -> str:
    """The YAML of listener ``number``. ``place``: where webMUSHRA finds the study's folder, relative to its own root.

    StudyError for a method that webMUSHRA has no page for, or a listener without an order.
    """
    import yaml

    if study.method not in ("mushra", "p835"):
        raise StudyError(f"webMUSHRA has no page for {study.method}; it can show mushra and p835")
    hidden = {stimulus.stimulus for stimulus in key.stimuli if stimulus.role == "reference"}
    shown_pages = [one for page in pages(study, number) for one in _pages_of(page, study, hidden, place)]
    paragraphs = "".join(
        f"<p>{escape(part)}</p>" for part in [study.texts.consent, *study.texts.instructions.split("\n\n")]
    )
    first = {"type": "generic", "id": "begin", "name": escape(study.title), "content": paragraphs}
    # What the listener types becomes a column of the results.
    who = {"type": "number", "label": "Your number", "name": _LISTENER, "min": number, "max": number, "default": number}
    last = {
        "type": "finish",
        "name": "End",
        "content": escape(study.texts.thanks),
        "showResults": False,
        "writeResults": True,
        "questionnaire": [who],
    }
    table = {
        "testname": study.title,
        "testId": f"study_{key.study_sha256[:12]}",
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": False,
        "remoteService": "service/write.php",
        "pages": [first, *shown_pages, last],
    }
    return yaml.safe_dump(table, sort_keys=False, allow_unicode=True, width=1000)


def _pages_of(page: Page, study: Study, hidden: set[str], place: str) -> list[dict[str, Any]]:
    files = {stimulus.id: f"{place}/{stimulus.audio}" for stimulus in page.stimuli}
    title, practice = ("Practice", "Practice. ") if page.training else ("Rate", "")
    if study.method == "mushra":
        return [
            {
                "type": "mushra",
                "id": page.trial.id,
                "name": title,
                "content": escape(practice + study.questions[0].text),
                "showWaveform": False,
                "enableLooping": True,
                "strict": False,
                "reference": f"{place}/{page.trial.reference}",
                "createAnchor35": False,
                "createAnchor70": False,
                # Otherwise the hidden reference would always come first.
                "randomize": True,
                "showConditionNames": False,
                "stimuli": {name: file for name, file in files.items() if name not in hidden},
            }
        ]
    player = ""
    if page.trial.reference is not None:
        source = f"{place}/{page.trial.reference}"
        player = f'<p>{escape(study.texts.reference)}: <audio controls src="{escape(source)}"></audio></p>'
    return [
        {
            "type": "likert_single_stimulus",
            "id": f"{page.trial.id}_{question.id}",
            "name": title,
            "content": f"<p>{escape(practice + question.text)}</p>{player}",
            "mustPlayback": "ended",
            "mustRate": True,
            # A copy for each question, since YAML would turn one dictionary into references.
            "stimuli": dict(files),
            "response": [{"value": f"{label.value:g}", "label": label.text, **_STARS} for label in question.labels],
        }
        for question in study.questions
    ]


def read_results(path: Path, study: Study, key: Key) -> list[Rating]:
    """Ratings in a file ``mushra.csv`` or ``lss.csv`` that webMUSHRA's service wrote; practice is left out.

    Listeners are told apart by the column ``listener``, or ``session_uuid`` where an older page did not ask for it.

    StudyError names the file, the line and what is wrong with it.
    """
    reader = open_table(path, StudyError)
    names = reader.fieldnames or []
    form = next((one for one in (_MUSHRA_COLUMNS, _LIKERT_COLUMNS) if set(one) <= set(names)), None)
    who = next((one for one in (_LISTENER, "session_uuid") if one in names), None)
    if form is None or who is None:
        raise StudyError(f"{shown(path)}: is neither mushra.csv nor lss.csv of webMUSHRA; check its first line")
    reference = {stimulus.trial: stimulus.stimulus for stimulus in key.stimuli if stimulus.role == "reference"}
    trial_of = {stimulus.stimulus: stimulus.trial for stimulus in key.stimuli}
    practice = {trial.id for trial in study.training}
    rated: dict[tuple[str, str, str], float] = {}
    for where, row in table_rows(path, reader, StudyError):
        trial, _, asked = (row[form[0]] or "").partition("_")
        question = _question(study, asked, where)
        stimulus = (row[form[1]] or "").strip()
        stimulus = reference.get(trial, stimulus) if stimulus == _REFERENCE else stimulus
        if trial_of.get(stimulus) != trial:
            raise StudyError(
                f"{where}: trial {shown(trial)} with {shown(stimulus)} is not of this study; name its own results"
            )
        value = _value(row, form[2], question, where)
        place = ((row[who] or "").strip(), stimulus, question.id)
        if not place[0]:
            raise StudyError(f"{where}: the column {who} is empty; complete the line")
        if place in rated:
            raise StudyError(f"{where}: listener {shown(place[0])} rated {stimulus} before; take one of the lines out")
        if trial not in practice:
            rated[place] = value
    if not rated:
        raise StudyError(f"{shown(path)}: no ratings in it; check the file")
    return ratings_of(key, [(*place, value) for place, value in rated.items()])


def _question(study: Study, asked: str, where: str) -> Question:
    for question in study.questions:
        if question.id == asked or (not asked and study.method == "mushra"):
            return question
    raise StudyError(f"{where}: the question '{shown(asked)}' is not of this study; name its own results")


def _value(row: Mapping[str, str], column: str, question: Question, where: str) -> float:
    try:
        value = float((row[column] or "").strip())
    except ValueError:
        raise StudyError(f"{where}: '{shown(row[column] or '')}' is no rating; complete the line") from None
    if not question.allows(value):
        raise StudyError(f"{where}: {value:g} is not on the scale of {question.id}; mend the line")
    return value
