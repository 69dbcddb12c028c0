"""Spectrograms of the demo song and of its stems: the README's picture.

    ldm-sep separate demo/song.ogg --out separated
    python demo/draw.py --song demo/song.ogg --stems separated/song --out docs/demo.png

Needs matplotlib (``pip install -e ".[eval]"``).
"""

import argparse
from pathlib import Path

from PIL import Image

from ldm_sep.audio import read
from ldm_sep.evaluate.excerpt import Excerpt, draw_sheet


def parse_arguments(description: str) -> argparse.Namespace:
    """``song``, the folder ``stems`` and the picture ``out`` of a script with this description."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--song", type=Path, required=True)
    parser.add_argument("--stems", type=Path, required=True, help="The folder with vocals.wav and instrumental.wav.")
    parser.add_argument("--out", type=Path, required=True, help="The PNG file to write.")
    return parser.parse_args()


def main() -> None:
    """Read the three files and draw them below each other."""
    arguments = parse_arguments(__doc__)
    files = {
        "mixture": arguments.song,
        "vocals": arguments.stems / "vocals.wav",
        "instrumental": arguments.stems / "instrumental.wav",
    }
    sounds = {name: read(path) for name, path in files.items()}
    rate = sounds["mixture"][1]
    waves = {name: wave for name, (wave, _) in sounds.items()}
    draw_sheet(arguments.out, Excerpt(arguments.song.name, waves, rate, 0.0))
    # A palette makes the file a third as large, and the eye sees no difference.
    Image.open(arguments.out).convert("RGB").quantize(96).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
