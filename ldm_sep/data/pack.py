"""Frozen training items: vocals, mixture, estimate and their latents, written once as memory maps.

A pack is a folder of one flat file for each array, every item at a fixed stride, and an ``index.json`` that says what
the arrays are, how many items there will be, and what they were made with. Latents are fp16 as the codec gives them,
not whitened. Waves are int16 q with one scale s for each item, x = s q |q|: finer than fp16 where it is loud, and
finer than evenly spaced steps where it is quiet. Items are appended in order and the small file ``facts.f32`` last, so
its length says how many items are whole after a kill.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field

from ldm_sep.errors import DataError, unwritable
from ldm_sep.files import sync, write_text
from ldm_sep.records import Record, checked, read_json

ArrayName = Literal["vocals", "mixture", "estimate", "z0", "cond"]
FORMAT: Final = 1
WAVES = ("vocals", "mixture", "estimate")
LATENTS = ("z0", "cond")
# Columns of facts.f32: the scale of each wave, and the level of the vocals relative to the mixture in dB.
_FACTS = (*WAVES, "level_db")
_LARGEST = 32767
_MAKE_ROOM = "make room and give the same command again"
_Size = Annotated[int, Field(gt=0, le=2**32)]


class PackIndex(Record):
    """``items`` in the pack when it is complete; the shape of one item of every array, (channels, samples) of waves and
    (channels, frames) of latents; and the settings and hashes that the items depend on, by name.
    """

    format: Literal[1] = FORMAT
    items: Annotated[int, Field(ge=0, le=2**40)]
    shapes: dict[ArrayName, tuple[_Size, _Size]]
    made_with: dict[str, Any]


def read_index(folder: Path) -> PackIndex:
    """``index.json`` of a pack. DataError if there is none or it cannot be used."""
    path = folder / "index.json"
    if not path.exists():
        raise DataError(f"{folder}: not a pack (it has no index.json); make one with 'ldm-sep data freeze'")
    return checked(PackIndex, read_json(path, DataError, "make the pack again"), str(path), DataError)


def require_made_with(folder: Path, index: PackIndex, wanted: Mapping[str, Any]) -> None:
    """DataError that names the first of the ``wanted`` settings that the pack's ``index`` has otherwise."""
    for key, value in wanted.items():
        # Compared as JSON, in which tuples are lists.
        before, now = (json.dumps(v, sort_keys=True) for v in (index.made_with.get(key), value))
        if before != now:
            raise DataError(f"{folder}: made with {key} {before}, not {now}; make them equal, or freeze another pack")


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.{'i16' if name in WAVES else 'f16' if name in LATENTS else 'f32'}"


def _strides(index: PackIndex) -> dict[str, int]:
    """Bytes of one item in each file."""
    return {name: 2 * a * b for name, (a, b) in index.shapes.items()} | {"facts": 4 * len(_FACTS)}


def _whole_items(folder: Path, index: PackIndex) -> int:
    """How many items every file has in full."""
    sizes = {name: path.stat().st_size for name in _strides(index) if (path := _file(folder, name)).is_file()}
    return min(sizes.get(name, 0) // stride for name, stride in _strides(index).items())


class PackWriter:
    """Appends items to the pack in ``folder``; one that is there already is gone on with.

    DataError if it was made with other settings than those of ``index``, or ``folder`` cannot be written.
    """

    def __init__(self, folder: Path, index: PackIndex) -> None:
        self.folder, self.index = folder, index
        with unwritable(DataError, folder, _MAKE_ROOM):
            if (folder / "index.json").exists():
                before = read_index(folder)
                require_made_with(folder, before, index.made_with)
                if before.shapes != index.shapes:
                    raise DataError(f"{folder}: holds other arrays than are wanted now; name another folder")
            elif folder.exists() and any(folder.iterdir()):
                raise DataError(f"{folder}: holds something else than a pack; name another folder")
            write_text(folder / "index.json", index.model_dump_json(indent=2) + "\n")
            self.done = _whole_items(folder, index)
            self.rewind(self.done)

    def rewind(self, items: int) -> None:
        """Keep the first ``items``, or all that are ``done`` if these are fewer, and continue there."""
        self.done = min(self.done, items)
        for name, stride in _strides(self.index).items():
            with _file(self.folder, name).open("ab") as file:
                file.truncate(self.done * stride)

    def append(self, arrays: Mapping[str, np.ndarray], level_db: Sequence[float]) -> None:
        """Add items: float arrays (B, ...) of the index's shapes, and the level of the vocals of each."""
        facts = np.ones((len(level_db), len(_FACTS)), np.float32)
        facts[:, -1] = level_db
        with unwritable(DataError, self.folder, _MAKE_ROOM):
            for name in self.index.shapes:
                values = arrays[name]
                if name in WAVES:
                    scale = np.maximum(np.abs(values).max((1, 2)), 1e-9).astype(np.float32) / _LARGEST**2
                    facts[:, _FACTS.index(name)] = scale
                    roots = np.sign(values) * np.sqrt(np.abs(values) / scale[:, None, None])
                    stored = np.round(roots).clip(-_LARGEST, _LARGEST).astype("<i2")
                else:
                    stored = values.astype("<f2")
                self._write(name, stored)
            self._write("facts", facts.astype("<f4"))
        self.done += len(level_db)

    def _write(self, name: str, values: np.ndarray) -> None:
        path = _file(self.folder, name)
        with path.open("ab") as file:
            file.write(values.tobytes())
        sync(path)


class Pack:
    """A complete pack, read item by item from memory maps. DataError if it is incomplete or damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.index = folder, read_index(folder)
        whole = _whole_items(folder, self.index)
        if whole < self.index.items:
            raise DataError(f"{folder}: {whole} of {self.index.items} items; go on with the same 'ldm-sep data freeze'")
        self._arrays: dict[str, np.ndarray] = {
            name: np.memmap(_file(folder, name), "<i2" if name in WAVES else "<f2", "r", shape=(len(self), *shape))
            for name, shape in self.index.shapes.items()
        }
        self._facts = np.memmap(_file(folder, "facts"), "<f4", "r", shape=(len(self), len(_FACTS)))

    def __len__(self) -> int:
        return self.index.items

    def __contains__(self, name: str) -> bool:
        return name in self.index.shapes

    def order(self, size: int, seed: int, step: int, rank: int = 0) -> np.ndarray:
        """The ``size`` items of a step, a pure function of its arguments: every process goes through all items, in an
        order of its own that changes with every pass.
        """
        place = step * size + np.arange(size)
        passes = place // len(self)
        orders = {p: np.random.default_rng((seed, rank, p)).permutation(len(self)) for p in np.unique(passes)}
        return np.array([orders[p][i] for p, i in zip(passes, place % len(self), strict=True)])

    def read(self, items: Sequence[int] | np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The arrays ``names`` of these ``items`` as float32 (B, ...), and ``level_db`` (B,)."""
        facts = np.asarray(self._facts[items])
        read = {"level_db": facts[:, -1]}
        for name in names:
            values = np.asarray(self._arrays[name][items]).astype(np.float32)
            if name in WAVES:
                values *= np.abs(values) * facts[:, _FACTS.index(name), None, None]
            read[name] = values
        return read
