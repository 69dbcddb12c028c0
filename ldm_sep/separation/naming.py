"""What the files of a result are called: templates such as ``{track}/{stem}.{ext}``."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from ldm_sep.errors import ConfigError
from ldm_sep.files import shown

Stem = Literal["vocals", "instrumental"]
STEMS: tuple[Stem, ...] = get_args(Stem)
Suffix = Literal["wav", "flac", "mp3"]
SUFFIXES: tuple[Suffix, ...] = get_args(Suffix)
# The record beside the stems: the word that its name has in a stem's place, its suffix, and its default name.
_SIDECAR = ("separation", "json")
SIDECAR = ".".join(_SIDECAR)
DEFAULT_TEMPLATE = "{track}/{stem}.{ext}"
_FIELDS = ("track", "trackext", "stem", "ext")


@dataclass(frozen=True)
class Place:
    """The files of one song's result: names in ``folder`` by stem, and the sidecar's."""

    folder: Path
    stems: dict[Stem, str]
    sidecar: str = SIDECAR

    @classmethod
    def plain(cls, folder: Path, stems: Sequence[Stem], suffix: Suffix) -> Place:
        """``folder/<stem>.<suffix>`` and ``folder/separation.json``."""
        return cls(folder, {stem: f"{stem}.{suffix}" for stem in stems})

    @property
    def targets(self) -> dict[Stem, Path]:
        """The stems' files."""
        return {stem: self.folder / name for stem, name in self.stems.items()}

    @property
    def record(self) -> Path:
        """The sidecar's file."""
        return self.folder / self.sidecar


@dataclass(frozen=True)
class Template:
    """Names of files below an output folder, with demucs' fields: ``{track}`` (the input's name without suffix),
    ``{trackext}`` (its suffix), ``{stem}`` and ``{ext}`` (the output's suffix). Use `parse_template`.
    """

    text: str

    def place(self, folder: Path, track: str, trackext: str, stems: Sequence[Stem], suffix: Suffix) -> Place:
        """Where the result of a song goes. ``track`` must be the name of a file."""

        def named(stem: str, ext: str) -> PurePosixPath:
            name = self.text.format(track=track, trackext=trackext, stem=stem, ext=ext)
            # A song without suffix leaves {trackext} empty: "{trackext}/..." would begin at the root.
            return PurePosixPath(*(part for part in name.split("/") if part not in ("", ".", "..")))

        sidecar = named(*_SIDECAR)
        return Place(folder / sidecar.parent, {stem: named(stem, suffix).name for stem in stems}, sidecar.name)


def parse_template(text: str, stems: Sequence[Stem]) -> Template:
    """A template for ``stems``. ConfigError, before any work, for one by which files could not be told apart, that
    leads out of the output folder, or that has other fields.
    """

    def wrong(problem: str) -> ConfigError:
        return ConfigError(f"--filename {shown(text) or '(empty)'}: {problem}, as in {DEFAULT_TEMPLATE}")

    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise wrong(f"is no template ({error}); write fields in braces") from None
    fields = [name for _, name, _, _ in parts if name is not None]
    if any(name not in _FIELDS for name in fields) or any(spec or conversion for _, _, spec, conversion in parts):
        raise wrong(f"the fields are {', '.join(f'{{{name}}}' for name in _FIELDS)}; use these alone")
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise wrong("leads out of the output folder; name files below it")
    if not text.endswith(".{ext}"):
        raise wrong("has to end in .{ext}, which --format decides; end it so")
    if "{stem}" in str(path.parent):
        raise wrong("the stems of a song lie in one folder; write {stem} in the name of the file")
    if len(stems) > 1 and "stem" not in fields:
        raise wrong("gives both stems one name; write {stem} in it, or choose one by --stems")
    if "track" not in fields:
        raise wrong("gives all songs one name; write {track} in it")
    return Template(text)


def track_name(path: Path) -> str:
    """What ``{track}`` stands for: a file's name without suffix, or whole where that would be no name."""
    return path.stem if path.stem.strip(". ") else path.name
