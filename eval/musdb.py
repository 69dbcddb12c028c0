"""The paper's Table II: separate the test songs, score them beside oracles and baselines, with the published rows.

    python eval/musdb.py --musdb MUSDB18HQ [--name open] [--preset balanced] [--jobs 4] [--out results/musdb]
    python eval/musdb.py --data DATA [--items configs/open_valid.csv] [--out results/held_out]

``--musdb`` takes the folder with ``test/<song>/{mixture,vocals}.wav``. ``--data`` takes the held-out items of a table
in its place, one evaluation for each of its groups, on references written as 16-bit files. References are kept in a
folder named by the table's content, estimates in one named by checkpoint and settings as well, so that a second run
separates only what is missing. What is written for each evaluation is described in ``ldm-sep evaluate --help``; the
tables are printed, with parameters and seconds per audio second, which ``separation.json`` keeps.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from script import items_digest, run_script

from ldm_sep.audio import AudioWriter, probe
from ldm_sep.build import codec_sample_rate
from ldm_sep.checkpoint.manifest import read_manifest
from ldm_sep.checkpoint.names import find_checkpoint
from ldm_sep.data.items import read_items
from ldm_sep.errors import ConfigError, DataError
from ldm_sep.evaluate import TrackFiles, evaluate, match_tracks, parse_metrics
from ldm_sep.metrics import DEFAULT_METRICS, check_installed
from ldm_sep.separation.separator import Options, Separator


def write_items(table: Path, data: Path, out: Path, sample_rate: int) -> dict[str, Path]:
    """Items as ``out/<group>/<item>/{vocals,mixture}.wav``, 16 bits; returns the folder of each group.

    Files that are there are kept: ``out`` belongs to this table (`items_digest`) and rate.
    """
    folders = {}
    for item in read_items(table, data, sample_rate, 1):
        folders[item.group] = out / item.group
        for name, wave in (("vocals", item.vocals), ("mixture", item.mixture)):
            path = out / item.group / item.name / f"{name}.wav"
            if not path.is_file():
                with AudioWriter(path, sample_rate, 2, subtype="int16") as writer:
                    writer.write(wave)
    return folders


def estimates_folder(out: Path, name: str, options: Options) -> Path:
    """Where the estimates of a checkpoint at these settings are kept: other weights or settings, another folder."""
    facts = read_manifest(find_checkpoint(name)).facts
    # What a checkpoint does hangs on its configuration as well: exponents, presets, refinement.
    said = json.dumps([facts["sha256"], facts["config"], repr(options)], sort_keys=True)
    key = hashlib.sha256(said.encode()).hexdigest()
    return out / "estimates" / f"{Path(name).name}-{key[:8]}"


def separate_tracks(
    tracks: Sequence[TrackFiles], name: str, device: str, options: Options, folder: Path
) -> float | None:
    """Separate what is missing in ``folder``; returns seconds per audio second, None if nothing was."""
    missing = [t for t in tracks if not (folder / t.name / "vocals.wav").is_file()]
    if not missing:
        return None
    separator = Separator.load(name, device=device)
    started, seconds = time.perf_counter(), 0.0
    for number, track in enumerate(missing, 1):
        # Scores are of 16-bit files, and so is what clips in them.
        separator.separate_file(
            track.mixture,
            folder / track.name,
            options,
            stems=("vocals",),
            subtype="int16",
            notice=lambda text: print(f"warning: {text}", file=sys.stderr),
        )
        info = probe(track.mixture)
        seconds += (info.frames or 0) / info.sample_rate
        print(f"separated {number}/{len(missing)}: {track.name}", flush=True)
    return (time.perf_counter() - started) / seconds


class Costs:
    """Seconds per audio second by group, kept in a JSON file: a run that has nothing to separate measures none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}

    def keep(self, group: str, cost: float | None) -> float:
        """The ``cost`` of a group, or the one of an earlier run where there is none; NaN if nobody knows."""
        if cost is not None:
            self.seconds[group] = cost
            self.path.write_text(json.dumps(self.seconds, indent=2))
        return self.seconds.get(group, float("nan"))


def main(arguments: list[str] | None = None) -> None:
    """Parse, separate, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--musdb", type=Path, help="the folder of MUSDB18-HQ")
    source.add_argument("--data", type=Path, help="the folder that the table of items refers to")
    parser.add_argument("--items", type=Path, default=Path("configs/open_valid.csv"))
    parser.add_argument("--name", default="open", help="checkpoint: a name or a folder")
    parser.add_argument("--preset", help="of the checkpoint")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--metrics", help="joined by commas; default all but visqol")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-spectrograms", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    metrics = parse_metrics(options.metrics) if options.metrics else DEFAULT_METRICS
    # Before hours of separation, not after.
    check_installed(metrics)
    if options.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, not {options.jobs}")
    out = options.out or Path("results/musdb" if options.musdb else "results/held_out")
    if options.musdb is not None:
        if not (options.musdb / "test").is_dir():
            raise DataError(f"{options.musdb}: has no folder test; name the folder of MUSDB18-HQ")
        references, items = {"": options.musdb / "test"}, ""
    else:
        rate = codec_sample_rate(read_manifest(find_checkpoint(options.name)).config.codec)
        items = f"{items_digest(options.items)}-{rate}"
        references = write_items(options.items, options.data, out / "references" / items, rate)
    settings = Options(preset=options.preset, steps=options.steps)
    estimates = estimates_folder(out, options.name, settings) / items
    system = Path(options.name).name
    baselines = ("irm", f"codec:{options.name}", "mixture", "karaoke")
    failed = False
    costs = Costs(estimates / "separation.json")
    parameters = sum(read_manifest(find_checkpoint(options.name)).facts["parameters"].values())
    for group, reference in references.items():
        unseparated = match_tracks(reference, {})
        if any(track.mixture is None for track in unseparated):
            raise DataError(f"{reference}: every song needs a mixture.wav beside its vocals.wav")
        cost = separate_tracks(unseparated, options.name, options.device, settings, estimates / group)
        # Kept before the scoring: a run that ends there has no second chance to measure it.
        known = costs.keep(group, cost)
        summary = evaluate(
            match_tracks(reference, {system: estimates / group}),
            (system, *baselines),
            out / group,
            jobs=options.jobs,
            metrics=metrics,
            spectrograms=not options.no_spectrograms,
            published=options.musdb is not None,
        )
        failed = failed or bool(summary.failures)
        print(f"\n# {group or 'MUSDB18-HQ test'}\n\n{(out / group / 'table.md').read_text(encoding='utf-8')}")
        print(f"{system}: {parameters / 1e6:.1f} M parameters, {known:.3f} s per audio second")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    run_script(main, __file__)
