"""Simulated listeners with known preferences: they answer a prepared study, so that every later step can be tried.

    python eval/listening/simulate.py STUDY --key KEY --answers ANSWERS

A rating is the system's true mean plus what listeners, songs and chance add to it (`ldm_sep.study.variance`), rounded
to the scale. What is written is what the server would write.
"""

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ldm_sep.study.records import Answer, Key, Milestone, Page, Question, Study, load_key, load_study, pages
from ldm_sep.study.variance import PUBLIC_RATINGS, PUBLIC_SCALE, Components

# As a share of the scale, where nothing is said of a system.
TYPICAL = {"reference": 0.97, "low_anchor": 0.25, "mid_anchor": 0.5, "mixture": 0.2, "codec": 0.35}
# The reference is known by ear, so that nothing but a little chance moves it.
_REFERENCE_SPREAD = 0.05
_START = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


def true_means(key: Key, stated: Mapping[str, float]) -> dict[str, float]:
    """Mean of every version as a share of the scale: ``stated``, `TYPICAL`, or, for systems, spread evenly by name."""
    systems = sorted({stimulus.system for stimulus in key.stimuli if stimulus.role == "system"})
    even = {name: 0.35 + 0.4 * (i + 0.5) / len(systems) for i, name in enumerate(systems)}
    return {**TYPICAL, **even, **stated}


def deviations(study: Study, key: Key, components: Components, seed: int) -> dict[tuple[int, str, str], float]:
    """What listener, song and chance add, by listener, stimulus and question, in units of a scale from 1 to 5."""
    rng = np.random.default_rng(seed)
    items = {trial.trial: trial.item for trial in key.trials}
    drawn: dict[tuple[object, ...], float] = {}

    def effect(variance: float, *names: object) -> float:
        if names not in drawn:
            drawn[names] = float(rng.normal(0, np.sqrt(variance)))
        return drawn[names]

    found = {}
    for listener in study.listeners:
        for question in study.questions:
            for one in key.stimuli:
                item = items[one.trial]
                spread = _REFERENCE_SPREAD if one.role == "reference" else 1.0
                q, n, s = question.id, listener.number, one.system
                found[n, one.stimulus, q] = spread * (
                    effect(components.listener, q, "listener", n)
                    + effect(components.item, q, "item", item)
                    + effect(components.item_system, q, "item x system", item, s)
                    + effect(components.listener_system, q, "listener x system", n, s)
                    + effect(components.listener_item, q, "listener x item", n, item)
                    + float(rng.normal(0, np.sqrt(components.residual)))
                )
    return found


def on_scale(share: float, deviation: float, question: Question) -> float:
    """The nearest value of the scale."""
    length = question.maximum - question.minimum
    value = question.minimum + share * length + deviation * length / (PUBLIC_SCALE[1] - PUBLIC_SCALE[0])
    steps = round((min(max(value, question.minimum), question.maximum) - question.minimum) / question.step)
    return question.minimum + steps * question.step


def answer_page(
    study: Study, page: Page, listener: int, values: Mapping[tuple[str, str], float], minute: int
) -> list[str]:
    """The lines of one page. ``values`` by stimulus and question: where an A/B listener's preference lies, the higher
    of two wins and nearly equal ones are a tie.
    """
    started = _START + timedelta(minutes=minute)
    rated = {(s.id, q.id): values[s.id, q.id] for s in page.stimuli for q in study.questions}
    if study.method == "ab":
        (first, a), (second, b) = rated.items()
        share = 0.5 if abs(a - b) < 0.05 else float(a > b)
        rated = {first: share, second: 1 - share}
    return [
        Answer(
            listener=listener,
            session=f"simulated{listener}",
            event=f"{listener}-{stimulus}-{question}",
            trial=page.trial.id,
            stimulus=stimulus,
            question=question,
            rating=value,
            started=started,
            answered=started + timedelta(seconds=20 + 5 * place),
            listened=page.trial.seconds * 1.5,
        ).model_dump_json()
        for place, ((stimulus, question), value) in enumerate(rated.items())
    ]


def simulate(
    study: Study, key: Key, answers: Path, stated: Mapping[str, float], components: Components, seed: int
) -> None:
    """Write the answers of all listeners of ``study`` below ``answers``."""
    share = true_means(key, stated)
    system = {stimulus.stimulus: stimulus.system for stimulus in key.stimuli}
    drawn = deviations(study, key, components, seed)
    answers.mkdir(parents=True, exist_ok=True)
    for listener in study.listeners:
        n = listener.number
        lines = []
        for step, correct in (("consent", None), ("level", None), ("headphones", 6), ("training", None)):
            event = f"{n}-{step}"
            lines.append(
                Milestone.model_validate(
                    {
                        "listener": n,
                        "session": f"simulated{n}",
                        "event": event,
                        "step": step,
                        "at": _START,
                        "correct": correct,
                    }
                ).model_dump_json()
            )
        for minute, page in enumerate(pages(study, n)):
            values = {}
            for stimulus in page.stimuli:
                for question in study.questions:
                    deviation = drawn[n, stimulus.id, question.id]
                    exact = share[system[stimulus.id]] + deviation / 4
                    rounded = on_scale(share[system[stimulus.id]], deviation, question)
                    values[stimulus.id, question.id] = exact if study.method == "ab" else rounded
            lines += answer_page(study, page, n, values, minute)
        (answers / f"{n}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Answer a prepared study with simulated listeners.")
    parser.add_argument("study", type=Path)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument(
        "--mean", action="append", default=[], metavar="NAME=SHARE", help="true mean, 0 to 1 of the scale"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    stated = {name: float(share) for name, _, share in (word.rpartition("=") for word in arguments.mean)}
    study, key = load_study(arguments.study), load_key(arguments.key)
    simulate(study, key, arguments.answers, stated, PUBLIC_RATINGS, arguments.seed)


if __name__ == "__main__":
    main()
