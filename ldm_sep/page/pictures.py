"""Pieces of an overview as a browser asks for them: peaks for so many pixels, tiles of a spectrogram as PNG."""

from io import BytesIO
from pathlib import Path

import numpy as np

from ldm_sep.page.overview import BANDS, PEAKS_PER_SECOND, levels_file, peaks_file

# Frames of a tile at level 0; each level has twice as many in a pixel.
TILE_WIDTH = 512
MOST_PIXELS = 4096
TOP_LEVEL = 12
# From silence to full scale: lightness rises evenly, so that louder is lighter for every eye.
_COLOURS = ((10, 12, 22), (32, 36, 90), (92, 52, 132), (176, 70, 110), (232, 124, 70), (250, 196, 104), (255, 250, 220))


def peaks(folder: Path, lane: str, start: float, end: float, pixels: int) -> list[list[int]]:
    """``pixels`` pairs of the least and the largest sample between ``start`` and ``end`` (seconds), -127 to 127."""
    table = _rows(peaks_file(folder, lane), 2, np.int8)
    edges = np.linspace(start * PEAKS_PER_SECOND, end * PEAKS_PER_SECOND, pixels + 1)
    first = np.clip(np.floor(edges[:-1]).astype(int), 0, len(table))
    behind = np.clip(np.maximum(np.ceil(edges[1:]).astype(int), first + 1), first, len(table))
    return [
        [int(part[:, 0].min()), int(part[:, 1].max())] if len(part := table[a:b]) else [0, 0]
        for a, b in zip(first, behind, strict=True)
    ]


def tile(folder: Path, lane: str, level: int, index: int) -> bytes | None:
    """The PNG of tile ``index``, at most 512 pixels wide: ``2 ** level / 50`` seconds in each, low frequencies at the
    bottom. None behind the end.
    """
    from PIL import Image

    table = _rows(levels_file(folder, lane), BANDS, np.uint8)
    each = 1 << level
    part = table[index * TILE_WIDTH * each : (index + 1) * TILE_WIDTH * each]
    if not len(part):
        return None
    columns = np.maximum.reduceat(part, np.arange(0, len(part), each), axis=0)
    picture = Image.frombytes("P", (len(columns), BANDS), columns.T[::-1].tobytes())
    picture.putpalette(_palette())
    out = BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _palette() -> bytes:
    anchors = np.array(_COLOURS, float)
    places = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(places, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, 1)).astype(np.uint8).tobytes()


def _rows(path: Path, width: int, kind: type) -> np.ndarray:
    # An empty file cannot be mapped.
    if not path.stat().st_size:
        return np.zeros((0, width), kind)
    return np.memmap(path, kind, "r").reshape(-1, width)
