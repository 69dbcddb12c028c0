"""The record beside a song's stems: what they were made of, and how. By it stems are recognised, and made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ldm_sep.audio import Subtype, default_subtype
from ldm_sep.config.fields import Hash
from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.files import shown
from ldm_sep.records import Record, checked, read_json
from ldm_sep.separation.naming import SUFFIXES, Stem, Suffix
from ldm_sep.separation.options import Plan
from ldm_sep.signal.loudness import power_db

if TYPE_CHECKING:
    from ldm_sep.checkpoint.manifest import Manifest

# They say how fast the stems were made, not what they are.
_WITHOUT_EFFECT = {"batch_size", "threads"}

Text = Annotated[str, Field(max_length=5000)]
Seconds = Annotated[float, Field(ge=0)]
Whole = Annotated[int, Field(ge=0)]


def settled_subtype(suffix: Suffix, subtype: Subtype | None, bit_rate: int | None) -> Subtype:
    """The samples of files of ``suffix``. ConfigError for a format that there is not, or for samples or a bit rate that
    its files cannot have.
    """
    if suffix not in SUFFIXES:
        raise ConfigError(f"{suffix!r} is no format of stems; there are {', '.join(SUFFIXES)}")
    if bit_rate is not None and suffix != "mp3":
        raise ConfigError(f"a bit rate is for mp3; {suffix} has none, leave it out")
    if suffix == "flac" and subtype == "float":
        raise ConfigError("flac holds no float samples; choose int24 or int16, or wav")
    return subtype or default_subtype(suffix)


class Settings(Record):
    """Everything besides input and checkpoint that decides the bytes of a stem's file."""

    plan: Plan
    start: Seconds = 0.0
    """Of the part that is separated, in seconds of the song."""
    duration: Annotated[float, Field(gt=0)] | None = None
    """Seconds of that part; None is up to the end."""
    suffix: Suffix
    subtype: Subtype
    bit_rate: Annotated[int, Field(ge=8, le=320)] | None = None
    """kbit/s, of mp3 alone; None is the most that the sample rate allows."""


class InputFacts(Record):
    """The song: ``file`` relative to the sidecar's folder, "-" for standard input, and what is in it."""

    file: Text
    sha256: Hash
    sample_rate: Whole
    channels: Whole
    frames: Whole


class CheckpointFacts(Record):
    """The checkpoint as it was asked for, and the hash of what it is (`checkpoint_hash`)."""

    name: Text
    sha256: Hash


class StemFacts(Record):
    """A stem's file; ``file`` is its name, beside the sidecar.

    ``peak``: the largest magnitude, 1 at full scale, and ``level_db``: the mean square in dB under full scale, both of
    the samples before they were stored. ``clipped``: how many the file could not hold.
    """

    file: Annotated[str, Field(max_length=5000, pattern=r"^[^/\\\x00]+$")]
    sha256: Hash
    bytes: Whole
    sample_rate: Whole
    channels: Whole
    frames: Whole
    peak: Annotated[float, Field(ge=0)]
    level_db: float
    clipped: Whole


class Versions(Record):
    """Of what computed the stems."""

    ldm_sep: Text
    torch: Text


class Sidecar(Record):
    """`separation.json` beside the stems of a song.

    ``key`` is `settings_key` of input, checkpoint and settings. ``device`` as torch names it. ``warnings``: lines that
    the user was told. ``seconds``: of work, loading the checkpoint not counted.
    """

    format: Literal[1]
    key: Hash
    input: InputFacts
    estimate: InputFacts | None = None
    """The vocals that were given, where they were."""
    checkpoint: CheckpointFacts
    settings: Settings
    stems: dict[Stem, StemFacts]
    versions: Versions
    device: Text
    warnings: list[Text]
    seconds: Seconds


def checkpoint_hash(manifest: Manifest) -> str:
    """SHA-256 of what a checkpoint is: the hashes of its weights that the manifest lists, and its configuration, which
    holds exponents, refinement and sampling. 64 hex digits.
    """
    return _hash_of({"weights": manifest.facts["sha256"], "config": manifest.facts["config"]})


def settings_key(
    input_sha256: str, checkpoint_sha256: str, settings: Settings, estimate_sha256: str | None = None
) -> str:
    """SHA-256 of (input, given estimate, checkpoint, settings), 64 hex digits: equal keys stand for equal stems.

    What only decides how fast they are made does not enter, nor which stems are written.
    """
    given = {} if estimate_sha256 is None else {"estimate": estimate_sha256}
    unused = _WITHOUT_EFFECT if given else _WITHOUT_EFFECT | {"estimate_weight"}
    # Left out where it is off, so that keys of earlier versions stay valid.
    unused = unused if settings.plan.post_filter else unused | {"post_filter"}
    plan = settings.plan.model_dump(mode="json", exclude=unused)
    table = {**settings.model_dump(mode="json"), "plan": plan}
    return _hash_of({"input": input_sha256, **given, "checkpoint": checkpoint_sha256, "settings": table})


def read_sidecar(path: Path) -> Sidecar:
    """The sidecar at ``path``. AudioError, one line, if it cannot be read or is none."""
    remedy = "separate the song again"
    facts = read_json(path, AudioError, remedy)
    return checked(Sidecar, facts, f"{shown(path)}: is no sidecar of this version", AudioError)


def is_made(path: Path, key: str, stems: Iterable[Stem]) -> bool:
    """Whether the sidecar at ``path`` says that ``stems`` were made by ``key``, and their files have the sizes that
    they had then. False too where there is no sidecar that can be read.
    """
    try:
        sidecar = read_sidecar(path)
        made = {s: (path.parent / f.file).stat().st_size == f.bytes for s, f in sidecar.stems.items()}
    except (AudioError, OSError):
        return False
    return sidecar.key == key and all(made.get(stem) for stem in stems)


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Meter:
    """Peak, power and length of a stream of blocks ``(C, T)``."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.frames = 0
        self._squares = 0.0
        self._values = 0

    def push(self, block: np.ndarray) -> None:
        """Take in the next samples."""
        self.peak = max(self.peak, float(np.abs(block).max(initial=0)))
        self._squares += float(np.square(block, dtype=np.float64).sum())
        self._values += block.size
        self.frames += block.shape[1]

    @property
    def level_db(self) -> float:
        """Mean square in dB under full scale; -120 for digital silence."""
        return power_db(self._squares / max(1, self._values))
