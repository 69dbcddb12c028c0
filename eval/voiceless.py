"""How much of music without a voice separators take for vocals.

    python eval/voiceless.py MUSIC... [--system open:balanced --system spleeter] [--start 12] [--seconds 12] [--out DIR]

``MUSIC`` are files, or folders of them (each a row of its own), in which nobody sings. Of each piece ``--seconds`` are
separated, from ``--start`` on or from where a shorter piece allows. A system is a preset of a checkpoint
(``open:fast``), ``spleeter`` or ``htdemucs:FILE`` (`peers.peer`). Levels are those of the vocals relative to the
piece, in dB: -20 means that a hundredth of its energy was taken away from the instrumental.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from beside import RATE, separation_by
from script import level_under, run_script

from ldm_sep.audio import as_stereo, probe, read, resample
from ldm_sep.errors import DataError
from ldm_sep.files import make_folder, shown, write_text
from ldm_sep.listing import audio_files
from ldm_sep.markdown import markdown_table

# Of pieces with more the share is told: a hundredth of their energy.
MUCH_DB = -20.0

Vocals = Callable[[np.ndarray], np.ndarray]
Levels = dict[str, dict[str, float]]
"""In dB, by system and path."""


def excerpt(path: Path, start: float, seconds: float) -> np.ndarray:
    """``seconds`` of a file from ``start`` on, or what a shorter one has, (2, T) at 44,100 Hz."""
    info = probe(path)
    size = round(seconds * info.sample_rate)
    # A file that does not say how long it is, or says it wrongly, is read from its beginning.
    first = min(round(start * info.sample_rate), max(0, (info.frames or 0) - size))
    wave, rate = read(path, start=first, frames=size)
    return resample(as_stereo(wave[:2]), rate, RATE)


def summary(levels: Sequence[float]) -> tuple[float, float, float]:
    """Median and ninth decile of levels in dB, and the share above `MUCH_DB`."""
    median, decile = np.quantile(levels, [0.5, 0.9])
    return float(median), float(decile), float(np.mean(np.array(levels) > MUCH_DB))


def levels_of(pieces: Sequence[Path], separators: Mapping[str, Vocals], start: float, seconds: float) -> Levels:
    """Level of what each system takes of every piece that is not silent. DataError if none sounds."""
    levels: Levels = {system: {} for system in separators}
    for path in pieces:
        music = excerpt(path, start, seconds)
        if music.any():
            for system, vocals in separators.items():
                levels[system][str(path)] = level_under(vocals(music), music)
    if not all(levels.values()):
        raise DataError(f"{shown(pieces[0].parent)}: nothing sounds in these files; give music without a voice")
    return levels


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("music", nargs="+", type=Path, metavar="MUSIC", help="files or folders in which nobody sings")
    parser.add_argument(
        "--system", action="append", help="CHECKPOINT:PRESET, spleeter or htdemucs:FILE; can be repeated"
    )
    parser.add_argument("--start", type=float, default=12.0, help="seconds into each piece")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each piece")
    parser.add_argument("--out", type=Path, default=Path("results/voiceless"))
    arguments = parser.parse_args(argv)
    separators = {system: separation_by(system) for system in arguments.system or ["open:balanced"]}
    rows, record = [], {}
    for place in arguments.music:
        pieces = audio_files(place) if place.is_dir() else [place]
        if not pieces:
            raise DataError(f"{shown(place)}: holds no audio; name a folder of music without a voice")
        record[str(place)] = levels_of(pieces, separators, arguments.start, arguments.seconds)
        for system, levels in record[str(place)].items():
            median, decile, audible = summary(list(levels.values()))
            cells = [f"{median:.1f}", f"{decile:.1f}", f"{audible:.0%}"]
            rows.append([place.name, str(len(levels)), system, *cells])
    make_folder(arguments.out)
    write_text(arguments.out / "voiceless.json", json.dumps(record, indent=1))
    head = ["music", "pieces", "system", "median, dB", "ninth decile, dB", f"above {MUCH_DB:g} dB"]
    print("\n".join(markdown_table(head, rows)))


if __name__ == "__main__":
    run_script(main, __file__)
