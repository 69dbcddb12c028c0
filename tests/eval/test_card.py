"""A card says what was measured, and nothing else of it changes."""

import json
import shutil
from pathlib import Path

import card
import numpy as np
import pytest

from ldm_sep.audio import AudioWriter
from ldm_sep.checkpoint.reading import load_separator
from ldm_sep.errors import CheckpointError, DataError
from ldm_sep.evaluate import evaluate, match_tracks


def test_the_card_holds_the_measured_means_and_intervals(trained: Path, tmp_path: Path) -> None:
    checkpoint, results = tmp_path / "tiny", tmp_path / "results"
    shutil.copytree(trained / "stage2/separator", checkpoint)
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        for part in ("vocals", "mixture"):
            with AudioWriter(tmp_path / f"truth/{name}/{part}.wav", 16000, 2, subtype="int16") as writer:
                writer.write((0.1 * rng.standard_normal((2, 16000))).astype(np.float32))
    summary = evaluate(
        match_tracks(tmp_path / "truth", {}),
        ("mixture",),
        results / "noise",
        metrics=("si_sdr", "lsd"),
        spectrograms=False,
    )
    words = ["--checkpoint", str(checkpoint), "--results", str(results)]
    card.main([*words, "--metrics", "si_sdr,lsd"])
    score = summary.scores["mixture"]["lsd"]
    text = (checkpoint / "README.md").read_text()
    assert f"{score.value:.2f} [{score.interval.low:.2f}, {score.interval.high:.2f}]" in text
    assert "n = 3" in text and summary.track_hash in text
    manifest, _ = load_separator(checkpoint)
    before = json.loads((trained / "stage2/separator/config.json").read_text())
    assert {k: v for k, v in manifest.facts.items() if k != "evaluation"} == before
    # A metric that not all tracks have says how many; one that none has is undefined.
    path = results / "noise/summary.json"
    record = json.loads(path.read_text())
    record["scores"]["mixture"]["lsd"] |= {"n": 2}
    record["scores"]["mixture"]["si_sdr"] |= {"n": 0, "value": None, "interval": None}
    path.write_text(json.dumps(record))
    card.main([*words, "--metrics", "si_sdr,lsd"])
    (row,) = (line for line in (checkpoint / "README.md").read_text().splitlines() if "| noise | mixture |" in line)
    assert row.endswith("] (n = 2) |") and "| undefined |" in row
    # Once more, and it is in the place of the first.
    card.main([*words, "--metrics", "lsd"])
    assert (checkpoint / "README.md").read_text().count("| noise | mixture |") == 1


def test_mistakes_name_the_folder(trained: Path, tmp_path: Path) -> None:
    checkpoint = str(trained / "stage2/separator")
    with pytest.raises(DataError, match=r"holds no summary\.json; run"):
        card.main(["--checkpoint", checkpoint, "--results", str(tmp_path)])
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(DataError, match="evaluate again"):
        card.main(["--checkpoint", checkpoint, "--results", str(tmp_path)])
    (tmp_path / "summary.json").write_text('{"tracks": {}, "metrics": {}, "scores": {}}')
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        card.main(["--checkpoint", str(tmp_path), "--results", str(tmp_path)])
