"""``report.html`` of a study: tables, figures and sounds in one file that needs no network."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from ldm_sep.audio import read
from ldm_sep.study import tables
from ldm_sep.study.analysis import Analysis
from ldm_sep.study.collect import Collected
from ldm_sep.study.methods import SHORT

_MP3_QUALITY = 0.5  # about 160 kbit/s


def html_report(
    analysis: Analysis,
    collected: Collected,
    folder: Path | None,
    images: Mapping[str, Sequence[Path]],
    songs: int,
    kept_all: bool,
) -> str:
    """The page. ``folder``: the study's, for the sounds of its first ``songs`` songs, None for no sounds; ``images`` by
    the question's id.

    AudioError if a sound cannot be read.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("ldm_sep.study").joinpath("templates/report.html.j2")
    template = environment.from_string(source.read_text(encoding="utf-8"))
    sections = [
        {"name": r.question.id, "heading": f"{r.question.id}: {r.question.text}", "tables": tables.of_question(r)}
        for r in analysis.questions
    ]
    if chosen := tables.ab(analysis):
        text = collected.questions[0].text
        sections.append({"name": "preference", "heading": text, "tables": chosen})
    return template.render(
        analysis=analysis,
        method=SHORT[analysis.method],
        left_out=not kept_all,
        sections=sections,
        screening=tables.screening(analysis),
        images={name: [_image(path) for path in paths] for name, paths in images.items()},
        players=[] if folder is None else _players(collected, folder, songs, frozenset(analysis.listeners)),
        facts=_facts(collected),
    )


def _image(path: Path) -> dict[str, str]:
    return {"data": base64.b64encode(path.read_bytes()).decode("ascii"), "alt": path.stem.replace("_", " ")}


def _facts(collected: Collected) -> list[tuple[str, str]]:
    made = ("Made with", f"ldm-sep {version('ldm-sep')}")
    if collected.source is None:
        return [made]
    study, key = collected.source
    own = [trial for trial in key.trials if not trial.training and trial.repeats is None]
    sung = [trial.sung for trial in own if trial.sung is not None]
    heard = {len(listener.trials) for listener in study.listeners}
    return [
        ("Listeners invited", str(len(study.listeners))),
        ("Songs", str(len({trial.item for trial in own}))),
        ("Trials a listener", " or ".join(map(str, sorted(heard)))),
        ("Excerpts", f"{own[0].seconds:g} s, somebody sings in {min(sung):.0%} to {max(sung):.0%} of their frames"),
        ("Loudness", f"{study.loudness_lufs:g} LUFS (ITU-R BS.1770), per trial lower where a peak would clip"),
        ("Sample rate", f"{study.sample_rate} Hz, 16 bits"),
        ("Headphone check", "yes (Woods et al. 2017)" if study.headphones else "no"),
        ("Seed of excerpts and orders", str(key.seed)),
        ("Licence of the sources", ", ".join(sorted({stimulus.licence for stimulus in key.stimuli}))),
        ("SHA-256 of study.json", key.study_sha256),
        ("Instructions shown", study.texts.instructions),
        made,
    ]


def _players(collected: Collected, folder: Path, songs: int, counted: frozenset[str]) -> list[dict[str, Any]]:
    """Sounds of the first songs by name, every version once.

    Beside each is its mean over the first ratings of the listeners who are ``counted``, as in the tables.
    """
    if collected.source is None:
        return []
    key = collected.source[1]
    own = {trial.trial: trial.item for trial in key.trials if not trial.training and trial.repeats is None}
    chosen = sorted(set(own.values()))[:songs]
    players = []
    for item in chosen:
        heard = {s.system: s.audio for s in key.stimuli if own.get(s.trial) == item}
        sounds = []
        for system, audio in sorted(heard.items()):
            means = []
            for question in collected.questions:
                values = [
                    r.rating
                    for r in collected.ratings
                    if r[1:4] == (item, system, question.id) and r.presentation == 0 and r.listener in counted
                ]
                if values:
                    means.append(f"{question.id} {tables.number(fmean(values))}")
            sounds.append({"system": system, "means": means, "data": _mp3(folder / audio)})
        players.append({"name": item, "sounds": sounds})
    return players


def _mp3(path: Path) -> str:
    import soundfile as sf

    wave, rate = read(path)
    data = io.BytesIO()
    sf.write(data, wave.T, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=_MP3_QUALITY)
    return base64.b64encode(data.getvalue()).decode("ascii")
