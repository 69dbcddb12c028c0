"""`study prepare`: what is served tells nothing, what is heard is comparable, who hears it is balanced."""

import errno
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, run_here
from material import SYSTEMS, make_songs

from ldm_sep import files
from ldm_sep.errors import ConfigError, DataError, LdmSepError, StudyError
from ldm_sep.files import sha256_of
from ldm_sep.metrics import active_frames
from ldm_sep.study import methods
from ldm_sep.study.prepare import Prepared, Settings, prepare
from ldm_sep.study.records import Role, load_key, load_study, pages
from ldm_sep.study.stimuli import loudness


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_songs(tmp_path_factory.mktemp("songs"))


def make(folders: dict[str, Path], out: Path, method: Any = "p835", reference: bool = True, **changes: Any) -> Prepared:
    wanted = Settings(
        method=method,
        title="Who sings best?",
        texts=methods.texts(method),
        **{"listeners": 6, "per_listener": 2, "seconds": 4.0} | changes,
    )
    return prepare(
        folders["reference"] if reference else None,
        {name: folders[name] for name in SYSTEMS},
        None if reference else folders["mixtures"],
        out,
        out.with_name("key.json"),
        wanted,
    )


@pytest.fixture(scope="module")
def mushra(songs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mushra") / "study"
    roles: tuple[Role, ...] = ("mixture", "codec")
    make(songs, out, "mushra", add=roles, repeats=1)
    return out


def test_nothing_that_is_served_names_a_system_a_song_or_a_place(songs: dict[str, Path], mushra: Path) -> None:
    text = (mushra / "study.json").read_text()
    words = [*SYSTEMS, "söng", "anchor", "hidden", "mixture", "codec", str(songs["reference"].parent), "_db", "sha256"]
    assert [word for word in words if word in text] == []
    for path in mushra.rglob("*"):
        assert re.fullmatch(r"study\.json|audio|[0-9a-f]{16}\.wav", path.name)
        if path.suffix == ".wav":
            head = path.read_bytes()[:200]
            assert not any(word.encode() in head for word in words)
    sizes = {path.stat().st_size for path in mushra.rglob("*.wav")}
    assert len(sizes) == 1, "a file's size could tell what it is"


def test_the_order_in_the_file_tells_nothing(mushra: Path) -> None:
    study, key = load_study(mushra), load_key(mushra.with_name("key.json"))
    role = {stimulus.stimulus: stimulus.system for stimulus in key.stimuli}
    orders = {tuple(role[s.id] for s in trial.stimuli) for trial in study.trials}
    assert len(orders) > 1


def test_all_versions_are_equally_long_and_loud_at_one_rate(mushra: Path) -> None:
    study = load_study(mushra)
    for trial in (*study.training, *study.trials):
        levels = []
        for audio in [trial.reference, *(s.audio for s in trial.stimuli)]:
            wave, rate = sf.read(mushra / str(audio), always_2d=True)
            assert rate == study.sample_rate == RATE and wave.shape == (4 * RATE, 2)
            assert np.abs(wave).max() < 1
            levels.append(loudness(wave.T, rate))
        assert np.ptp(levels) < 0.1 and levels[0] == pytest.approx(study.loudness_lufs, abs=0.1)


def test_the_key_says_what_each_sound_is(songs: dict[str, Path], mushra: Path) -> None:
    study, key = load_study(mushra), load_key(mushra.with_name("key.json"))
    assert key.study_sha256 == sha256_of(mushra / "study.json")
    assert {s.stimulus for s in key.stimuli} == {s.id for t in (*study.training, *study.trials) for s in t.stimuli}
    trials = {trial.trial: trial for trial in key.trials}
    given = {trial.id: trial.reference for trial in study.trials}
    assert {s.system for s in key.stimuli} == {*SYSTEMS, "reference", "low_anchor", "mid_anchor", "mixture", "codec"}
    for one in key.stimuli:
        assert sha256_of(mushra / one.audio) == one.sha256 and sha256_of(Path(one.source)) == one.source_sha256
        if one.role == "reference" and one.trial in given:
            # Hidden, so a file of its own, with the same sound.
            assert one.audio != given[one.trial]
            assert sha256_of(mushra / one.audio) == sha256_of(mushra / str(given[one.trial]))
        if one.role == "system":
            trial = trials[one.trial]
            source, rate = sf.read(songs[one.system] / trial.item / "vocals.wav", always_2d=True)
            start = round(trial.start * rate)
            cut = source[start : start + 4 * rate] * 10 ** (one.gain_db / 20)
            heard = sf.read(mushra / one.audio, always_2d=True)[0]
            np.testing.assert_allclose(heard[400:-400], cut[400:-400], atol=1e-4)


def test_the_excerpts_are_those_where_somebody_sings(songs: dict[str, Path], tmp_path: Path) -> None:
    made = make(songs, tmp_path / "study", least_sung=0.6)
    for trial in made.key.trials:
        wave, rate = sf.read(songs["reference"] / trial.item / "vocals.wav", always_2d=True)
        mask = active_frames(wave.T, rate).mask[round(trial.start * 100) :][: round(trial.seconds * 100)]
        assert trial.sung == pytest.approx(mask.mean(), abs=0.01) and mask.mean() >= 0.59


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_excerpts(
    songs: dict[str, Path], tmp_path: Path
) -> None:
    made = [make(songs, tmp_path / name / "study", seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    files = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))}
        for name in "abc"
    ]
    assert files[0] == files[1]
    assert {t.start for t in made[0].key.trials} != {t.start for t in made[2].key.trials}
    assert not files[0].keys() & {path for path in files[2] if path.suffix == ".wav"}


@pytest.mark.parametrize(("listeners", "per_listener"), [(6, 2), (7, 3), (5, 4), (3, 1)])
def test_every_song_and_system_is_heard_equally_often(
    songs: dict[str, Path], tmp_path: Path, listeners: int, per_listener: int
) -> None:
    made = make(songs, tmp_path / "study", listeners=listeners, per_listener=per_listener)
    cell = {s.stimulus: (s.trial, s.system) for s in made.key.stimuli}
    heard = Counter(
        cell[s.id]
        for listener in made.study.listeners
        for page in pages(made.study, listener.number)
        for s in page.stimuli
        if not page.training
    )
    assert sum(heard.values()) == listeners * per_listener * len(SYSTEMS)
    assert (
        max(heard.values()) - min([heard[c] for c in cell.values() if c[0] in {t.id for t in made.study.trials}]) <= 1
    )
    for listener in made.study.listeners:
        assert len({order.trial for order in listener.trials}) == per_listener
    assert len({listener.trials for listener in made.study.listeners}) > 1


def test_training_songs_are_not_rated(songs: dict[str, Path], tmp_path: Path) -> None:
    key = make(songs, tmp_path / "study", training=2).key
    practised, rated = ({t.item for t in key.trials if t.training is kind} for kind in (True, False))
    assert len(practised) == 2 and len(rated) == 3 and not practised & rated


def test_each_pair_of_an_ab_study_is_heard_in_both_orders(songs: dict[str, Path], tmp_path: Path) -> None:
    study = make(songs, tmp_path / "study", "ab", listeners=8, per_listener=4).study
    first = Counter((o.trial, o.stimuli[0]) for listener in study.listeners for o in listener.trials)
    assert len(study.trials) == 4 * 3 and set(first.values()) == {4}
    assert {trial.reference is not None for trial in study.trials} == {True}


def test_a_repeated_trial_is_the_same_sound_under_another_name_and_comes_later(mushra: Path) -> None:
    study, key = load_study(mushra), load_key(mushra.with_name("key.json"))
    original = {trial.trial: trial.repeats for trial in key.trials if trial.repeats}
    audio = {trial.id: sorted(s.audio for s in trial.stimuli) for trial in study.trials}
    for listener in study.listeners:
        order = [one.trial for one in listener.trials]
        again = [trial for trial in order if trial in original]
        assert len(order) == 3 and len(again) == 1
        assert order.index(original[again[0]]) + 1 < order.index(again[0])
        assert audio[again[0]] == audio[original[again[0]]]


def test_real_songs_need_no_true_vocals(songs: dict[str, Path], tmp_path: Path) -> None:
    made = make(songs, tmp_path / "study", "bs2132", reference=False)
    assert {s.role for s in made.key.stimuli} == {"system"}
    assert all(trial.reference is None and len(trial.stimuli) == 3 for trial in made.study.trials)
    assert all((trial.sung or 0) >= 0.5 for trial in made.key.trials)


@pytest.mark.parametrize(
    ("method", "reference", "changes", "needle"),
    [
        ("mushra", False, {}, "--reference"),
        ("bs2132", False, {"add": ("codec",)}, "--add codec"),
        ("p835", True, {"per_listener": 9}, "--per-listener 9"),
        ("p835", True, {"repeats": 2}, "--repeats 2"),
        ("p835", True, {"songs": 5}, "5 songs to rate and 1 for training"),
        ("p835", True, {"least_sung": 0.99}, "lower --sung"),
        ("p835", True, {"seconds": 30.0}, "lower --sung"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_left(
    songs: dict[str, Path], tmp_path: Path, method: str, reference: bool, changes: dict[str, Any], needle: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=re.escape(needle)) as error:
        make(songs, tmp_path / "study", method, reference, **changes)
    assert "\n" not in str(error.value) and not any(tmp_path.iterdir())


def test_a_file_out_of_step_is_named_before_anything_is_written(songs: dict[str, Path], tmp_path: Path) -> None:
    folders = make_songs(tmp_path / "songs", 3)
    late = folders["tidy"] / "söng 1" / "vocals.wav"
    wave, rate = sf.read(late)
    sf.write(late, wave[rate:], rate)
    with pytest.raises(DataError, match="begin and end together") as error:
        make(folders, tmp_path / "study")
    assert str(late) in str(error.value) and not (tmp_path / "study").exists()


def test_a_study_that_may_have_answers_is_never_written_over(songs: dict[str, Path], tmp_path: Path) -> None:
    make(songs, tmp_path / "study")
    before = (tmp_path / "key.json").read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        make(songs, tmp_path / "study", seed=1)
    with pytest.raises(ConfigError, match="is there already"):
        make(songs, tmp_path / "other", seed=1)
    assert (tmp_path / "key.json").read_bytes() == before and not (tmp_path / "other").exists()


def test_the_key_may_not_lie_where_it_is_served(songs: dict[str, Path], tmp_path: Path) -> None:
    wanted = Settings(method="p835", title="x", texts=methods.texts("p835"))
    out = tmp_path / "study"
    with pytest.raises(LdmSepError, match="outside"):
        prepare(songs["reference"], {"tidy": songs["tidy"], "bad": songs["bad one"]}, None, out, out / "k.json", wanted)


def test_the_command(songs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "words.toml").write_text('consent = "Ask Ana."\n')
    words = [f"--estimates={name}={songs[name]}" for name in SYSTEMS]
    out = tmp_path / "study"
    common = ("study", "prepare", "--reference", songs["reference"], *words, "-o", out, "--seconds", 4)
    done = run_here(*common, "--texts", tmp_path / "words.toml", "--listeners", 3)
    assert done.returncode == 0, done.stderr
    assert "3 listeners, 4 songs" in done.stdout and f"{out}-key.json" in done.stdout
    study = json.loads((out / "study.json").read_text())
    assert study["texts"]["consent"] == "Ask Ana." and len(study["questions"]) == 3
    again = run_here(*common)
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and "is there already" in again.stderr


def test_folder_and_key_come_together_or_not_at_all(
    songs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, study = files.sync, tmp_path / "out" / "study"

    def full(path: Path) -> None:
        if (path / "study.json").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", full)
        with pytest.raises(StudyError, match=r"study: cannot be written .*free space"):
            make(songs, study)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def no_key(path: Path, text: str) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("ldm_sep.study.prepare.write_text", no_key)
        with pytest.raises(StudyError, match=r"key\.json: cannot be written .*--key"):
            make(songs, study)
    assert make(songs, study).study.title
