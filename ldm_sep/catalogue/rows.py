"""The line of a song in the journal, and what is asked for every song."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ldm_sep.records import Record
from ldm_sep.separation.naming import Stem
from ldm_sep.separation.options import Options
from ldm_sep.separation.sidecar import Settings, StemFacts, settings_key

Text = Annotated[str, Field(max_length=20_000)]
# Digits of the key that stand in a folder's name: enough that no two songs of a catalogue share them.
_DIGITS = 16


@dataclass(frozen=True)
class Entry:
    """A song as the inputs name it.

    ``source``: an absolute path, or a URI. ``name``: of its folder, parts divided by ``/``. ``stamp``: what tells
    whether it changed, where the listing said so already. ``problem``: why this is no song, as of a bad row of a
    manifest.
    """

    source: str
    name: str
    stamp: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Recipe:
    """What is done with every song: checkpoint, options and form of the stems, and ``out``, a folder or a URI.

    ``checkpoint_sha256`` and ``settings``: what checkpoint, options and form come to.
    """

    out: str
    checkpoint: str | Path
    checkpoint_sha256: str
    options: Options
    settings: Settings
    stems: tuple[Stem, ...]
    device: str
    codec_weights: Path | None
    longest: float | None

    def key(self, input_sha256: str) -> str:
        """Of the stems of a song of this content; of the recipe itself, where that is empty."""
        return settings_key(input_sha256, self.checkpoint_sha256, self.settings)


@dataclass(frozen=True)
class Attempt:
    """A song to separate. ``crashes``: why the processes ended that tried before."""

    entry: Entry
    crashes: tuple[str, ...] = ()


class Row(Record):
    """What became of a song: one line of the journal.

    ``id``: `identity` of source and recipe. ``stamp``: what told the file from a later one. ``input`` and ``key``: the
    hashes of its content and of that with checkpoint and settings, empty where it could not be read. ``folder``: of
    the stems, below the catalogue's. ``duration``: of the song, and ``seconds``: of work. ``tries``: processes that
    worked on it.
    """

    id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    source: Text
    name: Text
    status: Literal["done", "failed"]
    error: Text = ""
    input: str = ""
    key: str = ""
    folder: Text = ""
    stems: dict[Stem, StemFacts] = Field(default_factory=dict)
    duration: float = 0.0
    warnings: list[Text] = Field(default_factory=list)
    tries: int = 1
    seconds: float = 0.0
    stamp: Text = ""


@dataclass(frozen=True)
class Refusal:
    """In place of a row: nothing more can be written, as on a full disk, and why."""

    line: str


def identity(source: str, recipe: str) -> str:
    """16 hex digits that stand for a source and the key of a recipe."""
    return hashlib.blake2b(f"{recipe} ".encode() + os.fsencode(source), digest_size=8).hexdigest()


def folder_name(name: str, key: str) -> str:
    """The folder of a song's stems, below the catalogue's; songs of one name get different ones."""
    return f"{name}-{key[:_DIGITS]}"
