"""`ldm-sep evaluate` as a user runs it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, run_cli


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    for name in ("A", "B"):
        wave = rng.normal(0, 0.1, (RATE, 2))
        for folder, data in (("ref", wave), ("est", 0.9 * wave), ("mix", wave + rng.normal(0, 0.1, (RATE, 2)))):
            (root / folder).mkdir(exist_ok=True)
            sf.write(root / folder / f"{name}.wav", data, RATE)
    return root


def test_one_command_gives_tables_plots_and_a_report(folders: Path) -> None:
    sf.write(folders / "est" / "C.wav", np.zeros(10), RATE)
    out = folders / "out"
    words = ["--reference", folders / "ref", "--estimates", f"ours={folders / 'est'}", "--mixtures", folders / "mix"]
    words += ["--baseline", "karaoke", "--metrics", "sdr,lsd", "--jobs", "2", "--published", "--out", out]
    # This MPLBACKEND stops the import of matplotlib.
    done = run_cli("evaluate", *words, MPLBACKEND="nonsense")
    (folders / "est" / "C.wav").unlink()
    assert done.returncode == 0, done.stderr
    # 10 log10(1 / 0.1^2) dB, less the 16-bit rounding.
    assert "20.00" in done.stdout and "SDR (dB) ↑" in done.stdout and "n = 2 tracks" in done.stdout
    assert "C.wav: no such track to compare ours with" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "excerpts",
        "plots",
        "report.html",
        "scores.csv",
        "scores.jsonl",
        "spectrograms",
        "summary.json",
        "table.md",
    ]
    assert {path.name for path in (out / "plots").iterdir()} == {
        "sdr.png",
        "sdr_histogram.png",
        "sdr_differences.png",
        "lsd.png",
        "lsd_differences.png",
    }
    assert len(list((out / "spectrograms").iterdir())) == 2
    assert "LDM-dmx" in (out / "table.md").read_text()


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`ldm-sep evaluate` in this process: exit code, stdout, stderr."""
    from ldm_sep.cli import main

    def act(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["ldm-sep", "evaluate", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return act


def test_a_track_that_cannot_be_scored_gives_exit_code_1_and_all_the_rest(
    folders: Path, tmp_path: Path, call: Call
) -> None:
    for name in ("A", "B"):
        wave, _ = sf.read(folders / "est" / f"{name}.wav")
        sf.write(tmp_path / f"{name}.wav", wave, RATE + 100 * (name == "A"))
    words = ["--reference", folders / "ref", "--estimates", f"ours={tmp_path}", "--metrics", "sdr", "--out"]
    code, out, err = call(*words, tmp_path / "out", "--no-spectrograms")
    assert code == 1
    assert f"{tmp_path / 'A.wav'}: 16100 Hz, but" in err.replace("\n", "")
    assert "1 failed" in err and "Traceback" not in err
    assert "20.00" in out and (tmp_path / "out/report.html").is_file()


def test_names_of_files_reach_the_terminal_as_text(folders: Path, tmp_path: Path, call: Call) -> None:
    nasty = "\x1b[31mA\n[bold]"
    for folder in ("ref", "est"):
        (tmp_path / folder).mkdir()
        wave, _ = sf.read(folders / folder / "A.wav")
        sf.write(tmp_path / folder / f"{nasty}.wav", wave[: None if folder == "ref" else 100], RATE)
    words = ["--reference", tmp_path / "ref", "--estimates", f"{nasty}={tmp_path / 'est'}", "--metrics", "sdr"]
    code, out, err = call(*words, "--no-spectrograms", "--out", tmp_path / "out")
    assert code == 1 and "\x1b[31mA" not in out + err
    assert "\\x1b[31mA\\n[bold]" in err.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["--reference", "{}/ref"], "nothing to evaluate"),
        (["--reference", "{}/ref", "--estimates", "{}/est"], "write NAME=DIR"),
        (["--reference", "{}/ref", "--estimates", "a={}/est", "--estimates", "a={}/mix"], "the name a is taken"),
        (["--reference", "{}/ref", "--baseline", "vocals"], "choose from irm, mixture, silence, karaoke and codec:"),
        (["--reference", "{}/ref", "--baseline", "irm"], "has no mixture, which the baseline irm needs"),
        (["--reference", "{}/none", "--baseline", "silence"], "none: no such folder"),
        (["--reference", "{}/ref", "--baseline", "silence", "--metrics", "snr"], "snr: no such metric"),
    ],
)
def test_mistakes_are_one_line_before_any_work(
    folders: Path, tmp_path: Path, words: list[str], needle: str, call: Call
) -> None:
    code, _, err = call(*(word.format(folders) for word in words), "--out", tmp_path / "out")
    assert code == 1 and needle in err and err.count("\n") == 1 and err.startswith("ldm-sep: ")
    assert not (tmp_path / "out").exists()
