"""Table II on two tiny songs, and on the held-out items of a table."""

import json
import shutil
from pathlib import Path

import musdb
import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, played, sung

from ldm_sep.errors import ConfigError, DataError
from ldm_sep.separation.separator import Options

# test_evaluate_report looks at the figures.
pytestmark = pytest.mark.usefixtures("undrawn")


def test_two_songs_make_the_table_and_are_separated_once(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        song = tmp_path / f"musdb/test/Artist – Söng {number}"
        song.mkdir(parents=True)
        vocals = np.stack([sung(2, 200 + 40 * number, number)] * 2)
        sf.write(song / "vocals.wav", vocals.T, RATE)
        sf.write(song / "mixture.wav", (vocals + played(2, number)).T, RATE)
    checkpoint = trained / "stage2/separator"
    words = ["--musdb", tmp_path / "musdb", "--name", checkpoint, "--metrics", "sdr,lsd", "--no-spectrograms"]
    words = [*map(str, words), "--device", "cpu", "--steps", "1", "--out", str(tmp_path / "out")]
    musdb.main(words)
    printed = capsys.readouterr().out
    for text in ("separated 2/2", "| separator", "| irm", "| karaoke", "Published", "H-Demucs", "s per audio second"):
        assert text in printed, text
    rows = [json.loads(line) for line in (tmp_path / "out/scores.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 5
    best = {row["track"]: row["scores"]["sdr"] for row in rows if row["system"] == "irm"}
    for row in rows:
        if row["system"] in ("mixture", "karaoke", "separator"):
            assert row["scores"]["sdr"] < best[row["track"]]
    musdb.main(words)
    again = capsys.readouterr().out
    assert "separated" not in again
    # What it cost is still known.
    line = next(line for line in printed.splitlines() if "M parameters" in line)
    assert "nan" not in line and line in again
    (other,) = (tmp_path / "out/estimates").iterdir()
    musdb.main([*words[:-4], "--steps", "2", *words[-2:]])
    assert len(list((tmp_path / "out/estimates").iterdir())) == 2 and other.is_dir()


def test_held_out_items_are_evaluated_by_group(
    trained: Path, stems_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "items.csv"
    header = "group,vocals,vocals_start,accompaniment,accompaniment_start,gain_db,seconds\n"
    songs = {"pair": "valid/song 2 – ü", "known": "train/song 0 – ü"}
    rows = "".join(f"{g},{song}/vocals.wav,1,{song}/drums.wav,1,-6,1.5\n" for g, song in songs.items())
    table.write_text(header + rows, encoding="utf-8")
    words = ["--data", stems_folder, "--items", table, "--name", trained / "stage2/separator", "--metrics", "si_sdr"]
    musdb.main([*map(str, words), "--no-spectrograms", "--device", "cpu", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "# pair" in printed and "# known" in printed and "Published" not in printed
    (reference,) = (tmp_path / "out/references").glob("*/pair/*/vocals.wav")
    wave, _ = sf.read(reference, dtype="float32")
    source, _ = sf.read(stems_folder / songs["pair"] / "vocals.wav", dtype="float32")
    expected = source[RATE : RATE + len(wave)] * 10 ** (-6 / 20)
    assert len(wave) == 1.5 * RATE
    np.testing.assert_allclose(wave[:, 0], expected, atol=1e-4)
    # Another table has items of the same names: nothing of the first may be scored for it.
    changed = next(line for line in rows.splitlines() if line.startswith("known")).replace(
        songs["known"], songs["pair"]
    )
    table.write_text(header + changed + "\n", encoding="utf-8")
    musdb.main([*map(str, words), "--no-spectrograms", "--device", "cpu", "--out", str(tmp_path / "fresh")])
    fresh = json.loads((tmp_path / "fresh/known/summary.json").read_text())["scores"]
    musdb.main([*map(str, words), "--no-spectrograms", "--device", "cpu", "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out/known/summary.json").read_text())["scores"] == fresh
    # Once more: everything is there, nothing is computed.
    before = (tmp_path / "out/known/scores.jsonl").read_bytes()
    musdb.main([*map(str, words), "--no-spectrograms", "--device", "cpu", "--out", str(tmp_path / "out")])
    assert (tmp_path / "out/known/scores.jsonl").read_bytes() == before


def test_other_settings_of_the_same_weights_are_separated_anew(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained / "stage2/separator", tmp_path / "separator"))
    before = musdb.estimates_folder(tmp_path, str(folder), Options())
    facts = json.loads((folder / "config.json").read_text())
    facts["config"]["separator"]["texture_above"] = 4000.0
    (folder / "config.json").write_text(json.dumps(facts))
    assert musdb.estimates_folder(tmp_path, str(folder), Options()) != before


def test_mistakes_come_before_the_work(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--jobs must be at least 1"):
        musdb.main(["--musdb", str(tmp_path), "--jobs", "0"])
    with pytest.raises(DataError, match="no such table"):
        words = ["--data", tmp_path, "--items", tmp_path / "none.csv", "--name", trained / "stage2/separator"]
        musdb.main([*map(str, words), "--out", str(tmp_path / "out")])


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder test"):
        musdb.main(["--musdb", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
