"""The words of `ldm-sep separate`: parts of songs, names, streams, what is told on the way, other tools' words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, ROOT, mistake_of, mixture, run_cli, run_here
from typer.testing import CliRunner

from ldm_sep.cli import app
from ldm_sep.cli.choices import seconds_of
from ldm_sep.errors import ConfigError


@pytest.fixture
def song(tmp_path: Path) -> Path:
    sf.write(tmp_path / "song.wav", mixture(3).T, RATE)
    return tmp_path / "song.wav"


@pytest.fixture(scope="module")
def model(trained: Path) -> tuple[object, ...]:
    return "-n", trained / "stage2/separator", "-d", "cpu", "--steps", 1


def test_a_part_of_a_song_is_separated_as_a_song_of_its_own(song: Path, model: tuple, tmp_path: Path) -> None:
    words = ("-o", tmp_path / "out", "--start", "0:01", "--duration", "1.5", *model)
    assert run_here("separate", song, *words).returncode == 0
    sf.write(tmp_path / "part.wav", mixture(3)[:, RATE : RATE + 3 * RATE // 2].T, RATE)
    assert run_here("separate", tmp_path / "part.wav", "-o", tmp_path / "out", *model).returncode == 0
    for name in ("vocals.wav", "instrumental.wav"):
        assert (tmp_path / "out/song" / name).read_bytes() == (tmp_path / "out/part" / name).read_bytes()
    late = run_here("separate", song, "-o", tmp_path / "late", "--start", "3", *model)
    assert late.returncode == 1 and "ends at 3.000 s; choose an earlier start" in late.stderr
    rest = run_here("separate", song, "-o", tmp_path / "rest", "--start", "2.75", "--duration", "9", *model)
    assert rest.returncode == 0 and sf.info(tmp_path / "rest/song/vocals.wav").frames == RATE // 4


def test_a_preview_is_a_part_that_its_record_tells(song: Path, model: tuple, tmp_path: Path) -> None:
    assert run_here("separate", song, "-o", tmp_path / "out", "--preview", *model).returncode == 0
    settings = json.loads((tmp_path / "out/song/separation.json").read_text())["settings"]
    assert (settings["start"], settings["duration"]) == (0, 30)
    again = run_here("separate", song, "-o", tmp_path / "out", "--preview", "--skip-existing", *model)
    assert again.stdout.splitlines()[-1].startswith("0 separated, 1 skipped")


@pytest.mark.parametrize(
    ("text", "seconds"), [("62.5", 62.5), ("1:02.5", 62.5), ("0:01:02.5", 62.5), ("7", 7), ("0", 0)]
)
def test_times_are_written_in_seconds_or_with_colons(text: str, seconds: float) -> None:
    assert seconds_of(text, "--start") == seconds


@pytest.mark.parametrize("text", ["", "-1", "1m", "1:2:3:4", "1e3", "nan", ":30"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--start .*: write seconds"):
        seconds_of(text, "--start")


def test_a_song_comes_from_standard_input_and_a_stem_goes_to_standard_output(
    song: Path, model: tuple, tmp_path: Path
) -> None:
    assert run_here("separate", song, "-o", tmp_path, *model).returncode == 0
    words = ["separate", "-", "-o", "-", *map(str, model)]
    done = subprocess.run(
        [sys.executable, "-m", "ldm_sep", *words], input=song.read_bytes(), capture_output=True, cwd=ROOT, check=True
    )
    assert done.stdout == (tmp_path / "song/vocals.wav").read_bytes() and b"device: cpu" in done.stderr
    other = CliRunner().invoke(app, [*words, "--stems", "instrumental"], input=song.read_bytes())
    assert other.stdout_bytes == (tmp_path / "song/instrumental.wav").read_bytes() and "device: cpu" in other.stderr
    files = run_here("separate", "-", "-o", tmp_path, *model, stdin=song.read_bytes())
    assert files.returncode == 0
    facts = json.loads((tmp_path / "stdin/separation.json").read_text())
    assert facts["input"]["file"] == "-"
    assert facts["key"] == json.loads((tmp_path / "song/separation.json").read_text())["key"]
    empty = run_here("separate", "-", "-o", tmp_path / "none", *model, stdin=b"")
    assert empty.returncode == 1 and "stdin: is empty" in empty.stderr and not (tmp_path / "none").exists()


def test_a_reader_that_goes_away_is_one_line(song: Path, model: tuple) -> None:
    words = [sys.executable, "-m", "ldm_sep", "separate", str(song), "-o", "-", "--quiet", *map(str, model)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    process.stdout.close()
    told = process.stderr.read().decode()
    assert process.wait() == 1 and "standard output: was closed before the end" in told and "Traceback" not in told
    process.stderr.close()


def test_names_follow_the_template_and_songs_of_one_name_keep_their_suffix(
    song: Path, model: tuple, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    sf.write(folder / "a.wav", mixture(1).T, RATE)
    sf.write(folder / "a.flac", mixture(1).T, RATE)
    done = run_here("separate", folder, "-o", tmp_path / "out", *model)
    assert done.returncode == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.flac", "a.wav"]
    done = run_here("separate", song, "-o", tmp_path / "flat", "--filename", "{track} ({stem}).{ext}", "--flac", *model)
    assert done.returncode == 0
    assert sorted(p.name for p in (tmp_path / "flat").iterdir()) == [
        "song (instrumental).flac",
        "song (separation).json",
        "song (vocals).flac",
    ]
    wrong = run_here("separate", song, "-o", tmp_path / "never", "--filename", "{stem}/{track}.{ext}", *model)
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1 and not (tmp_path / "never").exists()


def test_progress_is_lines_where_no_terminal_is_and_says_which_song_it_is(
    song: Path, model: tuple, tmp_path: Path
) -> None:
    sf.write(tmp_path / "other.wav", mixture(1).T, RATE)
    words = ("separate", song, tmp_path / "other.wav", "-o", tmp_path / "out", *model)
    told = run_here(*words).stderr.splitlines()
    assert told[0] == "song 1 of 2: song.wav" and "song 2 of 2: other.wav" in told
    assert told[-1] == "other.wav: 100 %" and all("\x1b" not in line for line in told)
    again = run_here(*words, "--skip-existing")
    assert again.stderr.splitlines() == [
        f"song {n} of 2: {name}: skipped, made by the same settings before"
        for n, name in ((1, "song.wav"), (2, "other.wav"))
    ]
    changed = run_here(*words, "--skip-existing", "--seed", "3")
    assert changed.stdout.splitlines()[-1].startswith("2 separated, 0 skipped")
    quiet = run_here(*words, "--overwrite", "--quiet")
    assert quiet.returncode == 0 and quiet.stdout == quiet.stderr == ""


def test_programs_get_an_object_a_line(song: Path, model: tuple, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    words = ("separate", song, tmp_path / "broken.wav", "-o", tmp_path / "out", *model, "--progress", "json")
    done = run_here(*words)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert events[0] == {"event": "song", "number": 1, "total": 2, "name": "song.wav"}
    steps = [event for event in events if event["event"] == "progress"]
    fractions = [step["fraction"] for step in steps if step["stage"] != "reading"]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert {step["stage"] for step in steps} == {"reading", "separating", "writing"}
    assert steps[0]["eta"] is None and min(s["eta"] for s in steps if s["eta"] is not None) >= 0
    assert [event["outcome"] for event in events if event["event"] == "end"] == ["separated", "failed"]
    assert events[-1]["event"] == "error" and "broken.wav" in events[-1]["text"]
    assert done.stdout.splitlines()[-1].startswith("1 separated, 0 skipped, 1 failed")


def test_the_bit_rate_of_mp3_is_what_was_asked_for(song: Path, model: tuple, tmp_path: Path) -> None:
    for rate in (64, 96):
        words = ("-o", tmp_path / str(rate), "--mp3", "--mp3-bitrate", rate, "--stems", "vocals", *model)
        assert run_here("separate", song, *words).returncode == 0
        with av.open(tmp_path / str(rate) / "song/vocals.mp3") as file:
            assert file.streams.audio[0].bit_rate == 1000 * rate


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (("--flac", "--mp3"), "--flac and --mp3 name different file types"),
        (("--format", "wav", "--flac"), "--format and --flac name different file types"),
        (("--int24", "--float32"), "--int24 and --float32 name different sample types"),
        (("--flac", "--float32"), "flac holds whole numbers"),
        (("--mp3-bitrate", "128"), "--mp3-bitrate: is for mp3"),
        (("--two-stems", "drums"), "only vocals and the rest"),
        (("--two-stems", "vocals", "--stems", "vocals"), "keep one"),
        (("--stems", "vocals", "--filename", "{track}/x.{ext}", "--stems", "vocals,instrumental"), "one name"),
        (("--preview", "--start", "3"), "leave --start and --duration out"),
        (("-o", "-", "--stems", "vocals,instrumental"), "standard output takes one stem"),
        (("-o", "-", "--two-stems", "vocals"), "standard output takes one stem"),
        (("-",), "standard input is one song"),
    ],
)
def test_words_that_contradict_one_another_are_one_line_before_any_work(
    song: Path, tmp_path: Path, words: tuple[str, ...], needle: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = run_here("separate", song, *words, "-n", "nowhere")
    assert done.returncode == 1 and needle in done.stderr and done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_root_says_its_version_and_lists_models() -> None:
    import ldm_sep

    assert run_here("--version").stdout == f"ldm-sep {ldm_sep.__version__}\n"
    listed = run_here("separate", "--list-models").stdout
    assert "open\tseparator\t" in listed and listed == run_here("models", "list").stdout


def test_a_song_without_a_command_is_told_which_one_it_wants(song: Path) -> None:
    from ldm_sep import cli

    for words in ([str(song)], [str(song.parent), "-o", "out"]):
        with pytest.raises(ConfigError, match=f"not a command; write: ldm-sep separate {words[0]}"):
            cli._check_command(words)
    for words in ([], ["separate", str(song)], ["models", "list"], ["--version"], ["nothing"]):
        cli._check_command(words)


def test_candidates_are_compared_beside_the_stems(song: Path, model: tuple, tmp_path: Path) -> None:
    done = run_here("separate", song, "-o", tmp_path / "out", "--candidates", 2, *model)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 7
    table = (tmp_path / "out/song/separation_candidates.csv").read_text().splitlines()
    assert table[0] == "second,level_db,spread_db" and len(table) == 4
    assert (tmp_path / "out/song/separation_candidates.png").stat().st_size > 1000


@pytest.mark.skipif(sys.platform != "linux", reason="binds a process to a core")
def test_one_core_and_all_give_the_same_bytes(song: Path, model: tuple, tmp_path: Path) -> None:
    code = (
        "import os\nos.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[:1]))\n"
        "from ldm_sep.__main__ import main\nmain()"
    )
    words = ["separate", song, "-o", tmp_path / "one", *model, "--segment", 1]
    subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=ROOT, check=True, capture_output=True)
    assert run_here("separate", song, "-o", tmp_path / "all", *model, "--segment", 1).returncode == 0
    one, several = ((tmp_path / cores / "song/vocals.wav").read_bytes() for cores in ("one", "all"))
    assert one == several and np.frombuffer(one[-4000:], np.float32).any()


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_wait_passively_unless_the_user_says_otherwise(given: str | None) -> None:
    code = (
        "import os, sys\nsys.argv[1:] = ['--version']\n"
        "from ldm_sep.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    env = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    env |= {"OMP_WAIT_POLICY": given} if given else {}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{given or 'PASSIVE'} False"


def test_candidates_need_a_folder_for_their_table(song: Path) -> None:
    told = mistake_of("separate", song, "-o", "-", "--candidates", 2, "-n", "nowhere")
    assert told == "--candidates: writes a table and a plot beside the stems; name a folder by -o"


def test_a_first_word_that_no_file_can_have_is_an_unknown_command(song: Path) -> None:
    done = run_cli("a" * 300)
    assert done.returncode == 2 and "No such command" in done.stderr and "Traceback" not in done.stderr
    assert "write: ldm-sep separate" in run_cli(song).stderr
