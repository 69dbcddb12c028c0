"""What a study is on disk: three places that are never mixed.

::

    STUDY/                 served as it is; nothing in it tells one system from another
        study.json         `Study`: questions, texts, trials, and the orders of every listener
        audio/<id>.wav     stimuli and references, of one sample rate and one length within a trial
    key.json               `Key`, never served, kept where the experimenter says: what each stimulus is
    ANSWERS/               written by the server, never served
        <number>.jsonl     `Line` after line in the order of their arrival: the answers of listener <number>

Listeners are numbers from 1 on: an order belongs to each number, and no answer holds a name. Every trial, stimulus and
audio file has a random id, drawn anew for each. A stimulus belongs to one trial.

How the methods differ, and what one page is:

``p835``    One stimulus a page, with the trial's reference (the mixture); the questions are rated one after another in
            their order (ITU-T P.835 as in the paper: intelligibility, interferences, artefacts).
``mushra``  All stimuli of a trial on one page, one rating each, beside the given reference (ITU-R BS.1534).
``bs2132``  The same without a given reference (ITU-R BS.2132).
``ab``      Two stimuli a page. Both get a rating: 1 the preferred and 0 the other, or 0.5 each for no preference.

An answer counts once. A line whose `event` was there before is a repeated delivery; a second rating of one stimulus and
question by one listener is a doubled tab. In both cases the first line counts and later ones are passed over.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, NonNegativeFloat, StringConstraints, TypeAdapter, model_validator

from ldm_sep.config.fields import Hash, Positive, Share
from ldm_sep.errors import StudyError
from ldm_sep.records import Record, checked, read_json

STUDY_FILE = "study.json"
# Right answers of the six headphone trials (Woods et al. 2017).
HEADPHONES_PASSED = 5
# Limit in bytes of study.json and key.json. The orders of a hundred listeners are a few million.
_LARGEST = 256 << 20

Method = Literal["p835", "mushra", "bs2132", "ab"]
Role = Literal["system", "reference", "low_anchor", "mid_anchor", "mixture", "codec"]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{6,40}$")]
AudioPath = Annotated[str, StringConstraints(pattern=r"^audio/[a-z0-9]{6,40}\.wav$")]
# What the page draws for itself: a random id of a browser session or of one click.
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Words = Annotated[str, StringConstraints(min_length=1)]


class Label(Record):
    """The word that stands at ``value`` of a scale."""

    value: float
    text: str


class Question(Record):
    """One scale. Ratings are ``minimum``, ``minimum + step``, ... up to ``maximum``."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,30}$")]
    text: Words
    minimum: float
    maximum: float
    step: Annotated[float, Field(gt=0)]
    labels: tuple[Label, ...]

    @model_validator(mode="after")
    def _a_scale(self) -> Self:
        if self.minimum >= self.maximum:
            raise ValueError("the minimum of a scale lies below its maximum")
        if not all(self.allows(label.value) for label in self.labels):
            raise ValueError("a label stands beside the scale")
        return self

    def allows(self, rating: float) -> bool:
        """Whether ``rating`` is a value of the scale."""
        steps = (rating - self.minimum) / self.step
        return self.minimum <= rating <= self.maximum and abs(steps - round(steps)) < 1e-6


class Stimulus(Record):
    """What is rated. Two stimuli of A/B trials may share one audio file."""

    id: Id
    audio: AudioPath


class Trial(Record):
    """One excerpt. ``reference`` is the file given as the reference, if one is: it is not rated (the hidden reference
    of MUSHRA is a stimulus with a file of its own). ``seconds``: length of all its files.
    """

    id: Id
    seconds: Annotated[float, Field(gt=0)]
    reference: AudioPath | None
    stimuli: Annotated[tuple[Stimulus, ...], Field(min_length=1)]


class TrialOrder(Record):
    """A trial that a listener hears, and the order of its stimuli."""

    trial: Id
    stimuli: Annotated[tuple[Id, ...], Field(min_length=1)]


class ListenerOrder(Record):
    """What listener ``number`` hears, in order: every listener may have other trials (balanced subsets)."""

    number: Positive
    trials: Annotated[tuple[TrialOrder, ...], Field(min_length=1)]


class Texts(Record):
    """What the page says in the experimenter's name. ``reference`` names the given reference on the page's button.

    Paragraphs are parted by an empty line; it is plain text, never markup.
    """

    consent: str
    instructions: str
    training: str
    thanks: str
    reference: str


class Study(Record):
    """``study.json``: all that the page needs, and nothing that tells what a stimulus is.

    ``training``: trials for practice before the others, the same for every listener, in this order; their ratings are
    kept and never analysed. ``headphones``: whether the page begins with the anti-phase check (Woods et al. 2017).
    ``loudness_lufs``: target of all stimuli (ITU-R BS.1770-4); a trial may lie below it where a peak would clip.
    """

    format: Literal[1]
    title: Words
    method: Method
    questions: Annotated[tuple[Question, ...], Field(min_length=1)]
    texts: Texts
    headphones: bool
    sample_rate: Positive
    loudness_lufs: float
    training: tuple[Trial, ...]
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]
    listeners: Annotated[tuple[ListenerOrder, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        every = [*self.training, *self.trials]
        _unique([question.id for question in self.questions], "questions")
        _unique([trial.id for trial in every], "trials")
        _unique([stimulus.id for trial in every for stimulus in trial.stimuli], "stimuli")
        _unique([listener.number for listener in self.listeners], "listeners")
        if self.method != "p835" and len(self.questions) != 1:
            raise ValueError(f"{self.method} asks one question")
        for trial in every:
            if self.method == "ab" and len(trial.stimuli) != 2:
                raise ValueError(f"trial {trial.id}: A/B compares two stimuli")
            if self.method == "mushra" and trial.reference is None:
                raise ValueError(f"trial {trial.id}: MUSHRA gives a reference")
            if self.method == "bs2132" and trial.reference is not None:
                raise ValueError(f"trial {trial.id}: BS.2132 gives no reference")
        known = {trial.id: sorted(stimulus.id for stimulus in trial.stimuli) for trial in self.trials}
        for listener in self.listeners:
            _unique([order.trial for order in listener.trials], f"trials of listener {listener.number}")
            for order in listener.trials:
                if sorted(order.stimuli) != known.get(order.trial):
                    raise ValueError(f"listener {listener.number}: trial {order.trial}: not this study's stimuli")
        return self


class Page(Record):
    """What a listener sees at once: stimuli of one trial in their order, all to be rated on all questions."""

    trial: Trial
    stimuli: tuple[Stimulus, ...]
    training: bool


class TrialKey(Record):
    """What a trial is: the excerpt of ``item`` from ``start`` on. ``sung``: share of the excerpt's frames in which
    somebody sings. ``loudness_lufs``: of all its stimuli. ``repeats``: the trial of which this one is the second
    presentation.
    """

    trial: Id
    item: str
    training: bool
    repeats: Id | None
    start: NonNegativeFloat
    seconds: NonNegativeFloat
    sung: Share | None
    loudness_lufs: float
    reference: AudioPath | None


class StimulusKey(Record):
    """What a stimulus is. ``system``: the system's name, or the role's where it is none. ``gain_db``: applied to the
    source. ``sha256`` of the written file; ``source_sha256`` of the file it was cut from.
    """

    stimulus: Id
    trial: Id
    audio: AudioPath
    role: Role
    system: Words
    gain_db: float
    sha256: Hash
    source: str
    source_sha256: Hash
    licence: str


class Key(Record):
    """``key.json``: never served. ``study_sha256``: of the study.json it belongs to."""

    format: Literal[1]
    study_sha256: Hash
    seed: Annotated[int, Field(ge=0)]
    trials: tuple[TrialKey, ...]
    stimuli: tuple[StimulusKey, ...]


class Answer(Record):
    """One rating. ``started`` and ``answered``: when the page came up and when this was rated, by the listener's clock.
    ``listened``: seconds for which this stimulus played on the page. ``event``: drawn once for each rating by the
    page, and the same when the same rating is sent again.
    """

    kind: Literal["answer"] = "answer"
    listener: Positive
    session: Token
    event: Token
    trial: Id
    stimulus: Id
    question: str
    rating: float
    started: AwareDatetime
    answered: AwareDatetime
    listened: NonNegativeFloat


class Milestone(Record):
    """A step that a listener has passed. ``correct``: right answers of the six headphone trials, else None.
    ``comment``: what the listener wrote at the end.
    """

    kind: Literal["milestone"] = "milestone"
    listener: Positive
    session: Token
    event: Token
    step: Literal["consent", "level", "headphones", "training", "finished"]
    at: AwareDatetime
    correct: Annotated[int, Field(ge=0, le=6)] | None = None
    comment: Annotated[str, StringConstraints(max_length=4000)] = ""


Line = Annotated[Answer | Milestone, Field(discriminator="kind")]
LINE: TypeAdapter[Answer | Milestone] = TypeAdapter(Line)


def load_study(folder: Path) -> Study:
    """The study in ``folder``; StudyError or ConfigError names the file and what is wrong with it."""
    path = folder / STUDY_FILE
    table = read_json(path, StudyError, "name a folder that `ldm-sep study prepare` made", _LARGEST)
    return checked(Study, table, str(path))


def load_key(path: Path) -> Key:
    """The key at ``path``; StudyError or ConfigError names the file and what is wrong with it."""
    table = read_json(path, StudyError, "name the key that `ldm-sep study prepare` wrote", _LARGEST)
    return checked(Key, table, str(path))


def pages(study: Study, number: int) -> list[Page]:
    """The pages of listener ``number``, training first. StudyError for a number the study has no order for."""
    order = next((listener for listener in study.listeners if listener.number == number), None)
    if order is None:
        raise StudyError(f"listener {number}: this study has orders for {len(study.listeners)} listeners only")
    trials = {trial.id: trial for trial in study.trials}
    shown = [(trial, trial.stimuli, True) for trial in study.training]
    for one in order.trials:
        stimuli = {stimulus.id: stimulus for stimulus in trials[one.trial].stimuli}
        shown.append((trials[one.trial], tuple(stimuli[name] for name in one.stimuli), False))
    if study.method == "p835":
        return [Page(trial=t, stimuli=(stimulus,), training=kind) for t, some, kind in shown for stimulus in some]
    return [Page(trial=t, stimuli=some, training=kind) for t, some, kind in shown]


def _unique(names: Sequence[str] | Sequence[int], what: str) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"two {what} have one name")
