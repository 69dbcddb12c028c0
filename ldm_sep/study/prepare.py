"""From folders of stems to a study that can be served as it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ldm_sep.audio import AudioWriter, as_stereo, probe
from ldm_sep.errors import ConfigError, DataError, StudyError, need_package, unwritable
from ldm_sep.files import replacing, shown, write_text
from ldm_sep.study import methods, stimuli
from ldm_sep.study.assemble import Version, WrittenExcerpt, key_of, order_listeners, random_ids, trials_of
from ldm_sep.study.records import STUDY_FILE, Key, Method, Role, Study, Texts
from ldm_sep.study.sources import Excerpt, Song, draw_excerpt, files_of, find_songs

# A system that needs a larger gain has hardly any output there, and its noise is raised too.
_LARGE_GAIN_DB = 20.0


@dataclass(frozen=True)
class Settings:
    """What is prepared.

    ``songs``: how many are rated, None for all that have an excerpt and are not needed for training. ``per_listener``:
    how many of them each listener hears, None for all. ``repeats``: trials that each listener hears twice.
    ``least_sung``: share of an excerpt's frames in which somebody must sing. ``sample_rate``: None for the highest
    among the sources. ``add``: roles rated beside the systems, with those that the method always has.
    """

    method: Method
    title: str
    texts: Texts
    listeners: int = 15
    songs: int | None = None
    per_listener: int | None = None
    seconds: float = 10.0
    least_sung: float = 0.5
    training: int = 1
    repeats: int = 0
    add: tuple[Role, ...] = ()
    loudness_lufs: float = -23.0
    sample_rate: int | None = None
    headphones: bool = True
    licence: str = "unstated"
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """What was written, and ``notes`` on what the experimenter should know, one line each."""

    study: Study
    key: Key
    notes: tuple[str, ...]


def prepare(
    reference: Path | None,
    estimates: Mapping[str, Path],
    mixtures: Path | None,
    out: Path,
    key_path: Path,
    settings: Settings,
    report: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Write the study's folder ``out`` and its key, both whole or not at all; ``report(done, total)`` counts excerpts.

    The same arguments give the same bytes.

    Raises:
        ConfigError: settings that do not make sense, or a folder or key that is there already.
        DataError, AudioError: sources that are missing, ambiguous or not to be read; too few of them are sung.
        StudyError: the folder or the key cannot be written.
    """
    need_package("a listening study", "pyloudnorm")
    _check_places(out, key_path)
    songs = find_songs(reference, estimates, mixtures)
    has_mixture = all(song.mixture is not None for song in songs)
    roles = methods.roles(settings.method, settings.add, reference is not None, has_mixture)
    methods.check_systems(list(estimates), settings.method, roles)
    rated, training, notes = _draw(songs, settings)
    per_listener = len(rated) if settings.per_listener is None else settings.per_listener
    if not 1 <= per_listener <= len(rated):
        raise ConfigError(f"--per-listener {per_listener}: choose from 1 to the {len(rated)} songs of the study")
    compared = len(estimates) + len(roles)
    heard = per_listener * (compared * (compared - 1) // 2 if settings.method == "ab" else 1)
    if settings.repeats > heard // 2:
        raise ConfigError(f"--repeats {settings.repeats}: at most half of a listener's {heard} trials can be repeated")
    rate = settings.sample_rate or max(probe(path).sample_rate for e in rated + training for path in files_of(e.song))
    with ExitStack() as stack:
        # Left last, so that a key whose folder did not come about goes with it.
        stack.enter_context(_not_alone(key_path, out))
        stack.enter_context(unwritable(StudyError, out, "free space or name another folder"))
        folder = stack.enter_context(replacing(out))
        (folder / "audio").mkdir(parents=True)
        ids = random_ids(settings.seed)
        written = []
        for excerpt in [*training, *rated]:
            written.append(_write_excerpt(excerpt, settings, roles, rate, folder, ids, notes))
            if report is not None:
                report(len(written), len(training) + len(rated))
        practice = [trials_of(one, settings.method, ids, training=True) for one in written[: len(training)]]
        tests = [trials_of(one, settings.method, ids, training=False) for one in written[len(training) :]]
        repeated = [[trial.again(ids) for trial in item] for item in tests] if settings.repeats else []
        study = Study(
            format=1,
            title=settings.title,
            method=settings.method,
            questions=methods.questions(settings.method),
            texts=settings.texts,
            headphones=settings.headphones,
            sample_rate=rate,
            loudness_lufs=settings.loudness_lufs,
            training=tuple(trial.trial for item in practice for trial in item),
            trials=tuple(sorted((t.trial for item in tests + repeated for t in item), key=lambda trial: trial.id)),
            listeners=order_listeners(
                tests, repeated, settings.listeners, per_listener, settings.repeats, settings.seed
            ),
        )
        (folder / STUDY_FILE).write_text(study.model_dump_json(indent=1) + "\n", encoding="utf-8")
        every = [trial for item in practice + tests + repeated for trial in item]
        key = key_of(every, folder, settings.seed, settings.licence)
        with unwritable(StudyError, key_path, "name another file with --key"):
            write_text(key_path, key.model_dump_json(indent=1) + "\n")
    return Prepared(study, key, tuple(notes))


@contextmanager
def _not_alone(key_path: Path, folder: Path) -> Iterator[None]:
    """Remove the key if the block fails and leaves no ``folder``: it would be the key of nothing."""
    try:
        yield
    except BaseException:
        if not folder.exists():
            with suppress(OSError):
                key_path.unlink(missing_ok=True)
        raise


def _check_places(out: Path, key_path: Path) -> None:
    for path, word in ((out, "-o"), (key_path, "--key")):
        if path.exists():
            raise ConfigError(
                f"{word} {shown(path)}: is there already, and answers may belong to it; choose another name"
            )
    if key_path.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"--key {shown(key_path)}: lies in the folder that is served; keep the key outside it")


def _draw(songs: Sequence[Song], settings: Settings) -> tuple[list[Excerpt], list[Excerpt], list[str]]:
    """Excerpts to rate and to train on, and notes on the songs left out."""
    rng = np.random.default_rng([settings.seed, 0])
    wanted = len(songs) if settings.songs is None else settings.songs + settings.training
    excerpts: list[Excerpt] = []
    notes: list[str] = []
    for index in rng.permutation(len(songs)):
        if len(excerpts) == wanted:
            break
        song = songs[int(index)]
        found = draw_excerpt(song, settings.seconds, settings.least_sung, rng)
        if isinstance(found, Excerpt):
            excerpts.append(found)
        else:
            best = f"at most {found:.0%} of {settings.seconds:g} s are sung" if found else "too short, or nobody sings"
            notes.append(f"{shown(song.name)}: left out, {best}")
    count = len(excerpts) - settings.training
    if count < (settings.songs or 2):
        need = f"{settings.songs or 2} songs to rate and {settings.training} for training"
        have = (
            f"{len(excerpts)} of {len(songs)} songs have {settings.seconds:g} s, {settings.least_sung:.0%} of it sung"
        )
        raise DataError(f"only {have}, and the study needs {need}; lower --sung, --seconds, --songs or --training")
    return excerpts[settings.training :], excerpts[: settings.training], notes


def _write_excerpt(
    excerpt: Excerpt,
    settings: Settings,
    roles: Sequence[Role],
    rate: int,
    folder: Path,
    ids: Iterator[str],
    notes: list[str],
) -> WrittenExcerpt:
    """Read, filter, level and write all versions of one excerpt."""
    song = excerpt.song
    others = {"reference": song.reference, "mixture": song.mixture}
    sources = song.estimates | {name: path for name, path in others.items() if path is not None}
    cut = {name: stimuli.read_excerpt(path, excerpt.start, excerpt.seconds, rate) for name, path in sources.items()}
    if any(len(wave) == 2 for wave in cut.values()):
        cut = {name: as_stereo(wave) for name, wave in cut.items()}
    waves: dict[tuple[Role | Literal["given"], str], np.ndarray] = {("system", n): cut[n] for n in song.estimates}
    waves |= {(role, role): _make(role, cut, rate) for role in roles}
    given = {"p835": "mixture", "ab": "mixture", "mushra": "reference", "bs2132": None}[settings.method]
    if given is not None and given in cut:
        waves["given", given] = cut[given]
    waves = {name: stimuli.faded(wave, rate) for name, wave in waves.items()}
    levelled, common = stimuli.matched(waves, rate, settings.loudness_lufs)
    if common < settings.loudness_lufs:
        notes.append(f"{shown(song.name)}: at {common:.1f} LUFS, so that no peak clips")
    versions: list[Version] = []
    reference = None
    for (role, name), one in levelled.items():
        if not one.wave.any():
            notes.append(f"{shown(song.name)}: {shown(name)} is silent there")
        elif one.gain_db > _LARGE_GAIN_DB:
            notes.append(f"{shown(song.name)}: {shown(name)} was {one.gain_db:.0f} dB too quiet and is raised by that")
        audio = f"audio/{next(ids)}.wav"
        with AudioWriter(folder / audio, rate, len(one.wave), subtype="int16") as writer:
            writer.write(one.wave)
        if role == "given":
            reference = audio
        else:
            made_from = {"system": name, "mixture": "mixture"}.get(role, "reference")
            versions.append(Version(role, name, audio, one.gain_db, sources[made_from]))
    return WrittenExcerpt(excerpt, common, tuple(versions), reference)


def _make(role: Role, cut: Mapping[str, np.ndarray], rate: int) -> np.ndarray:
    if role == "low_anchor":
        return stimuli.low_passed(cut["reference"], rate, stimuli.LOW_ANCHOR_HZ)
    if role == "mid_anchor":
        return stimuli.low_passed(cut["reference"], rate, stimuli.MID_ANCHOR_HZ)
    if role == "codec":
        return stimuli.through_opus(cut["reference"], rate)
    return cut["mixture" if role == "mixture" else "reference"]
