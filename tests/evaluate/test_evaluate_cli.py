"""`ldm-sep evaluate` as a user runs it."""

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
    words += ["--baseline", "irm", "--metrics", "sdr,lsd", "--jobs", "2", "--published", "--out", out]
    # A setting that stops the import of matplotlib.
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


def test_a_track_that_cannot_be_scored_gives_exit_code_1_and_all_the_rest(folders: Path, tmp_path: Path) -> None:
    for name in ("A", "B"):
        wave, _ = sf.read(folders / "est" / f"{name}.wav")
        sf.write(tmp_path / f"{name}.wav", wave, RATE + 100 * (name == "A"))
    words = ["--reference", folders / "ref", "--estimates", f"ours={tmp_path}", "--metrics", "sdr", "--out"]
    done = run_cli("evaluate", *words, tmp_path / "out", "--no-spectrograms")
    assert done.returncode == 1
    assert f"{tmp_path / 'A.wav'}: 16100 Hz, but" in done.stderr.replace("\n", "")
    assert "1 failed" in done.stderr and "Traceback" not in done.stderr
    assert "20.00" in done.stdout and (tmp_path / "out/report.html").is_file()


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
    folders: Path,
    tmp_path: Path,
    words: list[str],
    needle: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ldm_sep.cli import main

    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["ldm-sep", "evaluate", *(w.format(folders) for w in words), "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 1 and needle in said and said.count("\n") == 1 and said.startswith("ldm-sep: ")
    assert not out.exists()
