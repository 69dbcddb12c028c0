"""What each method asks and plays: questions in this project's words, texts to adapt, roles beside the systems."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ldm_sep.config import checked
from ldm_sep.errors import ConfigError
from ldm_sep.study.records import Label, Method, Question, Role, Texts

SHORT: dict[Method | None, str] = {
    None: "Ratings from a table",
    "p835": "ITU-T P.835",
    "mushra": "ITU-R BS.1534 (MUSHRA)",
    "bs2132": "ITU-R BS.2132",
    "ab": "A/B preference",
}
# Parts of the scale from 0 to 100.
_FIFTHS = ("bad", "poor", "fair", "good", "excellent")


def questions(method: Method) -> tuple[Question, ...]:
    """The questions of ``method`` in the order in which they are asked."""
    if method == "p835":
        # Intelligibility first, before the words become familiar.
        return (
            _five(
                "intelligibility",
                "How well can you make out the words that are sung?",
                ("not a word", "few words", "about half", "nearly all", "every word"),
            ),
            _five(
                "interferences",
                "How much of the other instruments is left beside the voice?",
                ("very much", "much", "some", "a little", "nothing"),
            ),
            _five(
                "artefacts",
                "How natural does the voice itself sound, with all that is left beside it put aside?",
                ("badly damaged", "clearly damaged", "somewhat damaged", "slightly damaged", "undamaged"),
            ),
        )
    if method == "ab":
        labels = (
            Label(value=0, text="the other"),
            Label(value=0.5, text="no preference"),
            Label(value=1, text="this one"),
        )
        text = "Which of the two is the better solo voice of this song?"
        return (Question(id="preference", text=text, minimum=0, maximum=1, step=0.5, labels=labels),)
    text = {
        "mushra": "How close is the quality of each sound to that of the reference?",
        "bs2132": "How good is each sound as the solo voice of a song?",
    }[method]
    fifths = tuple(Label(value=10 + 20 * i, text=word) for i, word in enumerate(_FIFTHS))
    return (Question(id="quality", text=text, minimum=0, maximum=100, step=1, labels=fifths),)


def _five(name: str, text: str, words: tuple[str, ...]) -> Question:
    labels = tuple(Label(value=value, text=f"{value}: {word}") for value, word in enumerate(words, 1))
    return Question(id=name, text=text, minimum=1, maximum=5, step=1, labels=labels)


def texts(method: Method) -> Texts:
    """Texts to begin with; the experimenter's own name, contact and rules of consent belong in them."""
    reference = "Reference" if method == "mushra" else "Original song"
    how = {
        "p835": "You will hear short pieces of singing that a computer took out of songs, one at a time. Rate each on "
        f"three questions, one after another. '{reference}' plays the song it was taken from.",
        "mushra": "You will hear several versions of one voice on each page. Rate each against the reference. One of "
        "them is the reference itself, so at least one should be at the top of the scale.",
        "bs2132": "You will hear several versions of one voice on each page. Compare them and rate each.",
        "ab": "You will hear two versions of one voice on each page. Say which you prefer.",
    }[method]
    return Texts(
        consent="You are asked to rate sounds by ear. Your ratings are stored under a number, together with the times "
        "at which they were given, and without your name. You may stop at any time without giving a reason.",
        instructions=f"{how}\n\nYou can play and switch as often as you like. Please listen with headphones in a quiet "
        "room and leave the volume as it is once you have set it. There are no right or wrong answers.",
        training="First a few sounds for practice. They show how different the versions can be; their ratings are not "
        "used.",
        thanks="Thank you. All your answers are stored; you can close this page.",
        reference=reference,
    )


def read_texts(path: Path, method: Method) -> Texts:
    """`texts` with what the TOML file at ``path`` says instead. ConfigError names the file and the key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error})") from None
    return checked(Texts, texts(method).model_dump() | table, str(path))


def roles(method: Method, add: Sequence[Role], has_reference: bool, has_mixture: bool) -> tuple[Role, ...]:
    """What is rated beside the systems: with MUSHRA the hidden reference and both low-pass anchors, and what is in
    ``add``. ConfigError where the files for it are missing.
    """
    if method == "mushra" and not has_reference:
        raise ConfigError("--method mushra: compares with the true vocals; name --reference, or take bs2132")
    usual: tuple[Role, ...] = ("reference", "low_anchor", "mid_anchor") if method == "mushra" else ()
    found = tuple(dict.fromkeys([*usual, *add]))
    for role in found:
        if role == "mixture" and not has_mixture:
            raise ConfigError("--add mixture: some songs have no mixture; name the folder of mixtures with --mixtures")
        if role != "mixture" and not has_reference:
            raise ConfigError(f"--add {role}: is made from the true vocals; name their folder with --reference")
    return found


def check_systems(systems: Sequence[str], method: Method, extra: Sequence[Role]) -> None:
    """ConfigError where there is too little to compare, or more than a page holds."""
    count = len(systems) + len(extra)
    for system in systems:
        if system in get_args(Role):
            raise ConfigError(f"--estimates {system}=...: the name means something else here; choose another")
    if not systems or count < 2:
        raise ConfigError("a study compares; name two systems or more with --estimates NAME=DIR")
    if method in ("mushra", "bs2132") and count > 12:
        raise ConfigError(f"{count} versions on a page are too many to compare (BS.1534 allows 12); take some out")
