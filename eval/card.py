"""Put the scores of an evaluation into a checkpoint's card.

    python eval/musdb.py --data DATA --out results/held_out
    python eval/card.py --checkpoint checkpoints/open --results results/held_out

Reads the ``summary.json`` of every group below ``--results`` (or the one in it) and rewrites config.json and README.md
of the checkpoint's folder with a table of them: each system's mean and 95 % interval by metric, with the number of
tracks and the hash of their list.
"""

import argparse
import json
from pathlib import Path

from script import run_script

from ldm_sep.checkpoint.writing import add_evaluation
from ldm_sep.errors import DataError

METRICS = "si_sdr,lsd,mel_mae,log_f0_rmse,voicing_recall,pesq,mr_stft"


def rows_of(summary: Path, group: str, metrics: list[str]) -> list[dict]:
    """One record a system: group, system, n, hash, ``scores`` as metric label -> [value, low, high], None where no
    track has one, and ``defined`` as label -> tracks for those that not all tracks have.
    """
    try:
        record = json.loads(summary.read_text(encoding="utf-8"))
        tracks, labels = record["tracks"], record["metrics"]
        rows = []
        for system, scores in record["scores"].items():
            found, defined = {}, {}
            for metric in metrics:
                score, unit = scores[metric], labels[metric]["unit"]
                label = labels[metric]["label"] + (f", {unit}" if unit not in ("", "-") else "")
                found[label] = [score["value"], *(score["interval"] or ())] if score["n"] else None
                # Such a mean does not compare with one over all tracks.
                if 0 < score["n"] < tracks["n"]:
                    defined[label] = score["n"]
            row = {"group": group, "system": system, "n": tracks["n"], "hash": tracks["hash"], "scores": found}
            rows.append(row | {"defined": defined})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{summary}: not a summary with these metrics ({error}); evaluate again") from None
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Parse, read, write the card, print its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint's folder")
    parser.add_argument("--results", type=Path, required=True, help="what eval/musdb.py or ldm-sep evaluate wrote")
    parser.add_argument("--metrics", default=METRICS, help="joined by commas")
    options = parser.parse_args(arguments)
    summaries = [options.results / "summary.json", *sorted(options.results.glob("*/summary.json"))]
    summaries = [path for path in summaries if path.is_file()]
    if not summaries:
        raise DataError(f"{options.results}: holds no summary.json; run eval/musdb.py or ldm-sep evaluate first")
    rows = []
    for path in summaries:
        group = "" if path.parent == options.results else path.parent.name
        rows += rows_of(path, group, options.metrics.split(","))
    add_evaluation(options.checkpoint, rows)
    print(options.checkpoint / "README.md")


if __name__ == "__main__":
    run_script(main, __file__)
