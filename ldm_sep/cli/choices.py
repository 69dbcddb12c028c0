"""What a user chose for a run, whichever words were used for it, without contradictions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ldm_sep.errors import ConfigError
from ldm_sep.files import shown
from ldm_sep.separation.naming import Stem, Suffix
from ldm_sep.separation.planning import parse_stems

if TYPE_CHECKING:
    from ldm_sep.separation.options import Options

Samples = Literal["float", "int24", "int16"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Choices:
    """A run of `ldm-sep separate`. ``out`` is "-" for standard output; ``part`` is (start, duration) in seconds."""

    inputs: list[Path]
    out: Path
    filename: str
    stems: tuple[Stem, ...]
    checkpoint: str
    device: str
    codec_weights: Path | None
    suffix: Suffix
    subtype: Samples | None
    bit_rate: int | None
    part: tuple[float, float | None]
    preview: bool
    candidates: int | None
    estimates: Path | None
    longest: float | None
    overwrite: bool
    skip_existing: bool
    quiet: bool
    options: Options


def one_of(what: str, given: Mapping[str, _T | None]) -> _T | None:
    """The one value of ``given``, by option, that is not None; None without any. ConfigError for two that differ."""
    chosen = {option: value for option, value in given.items() if value is not None}
    if len(set(chosen.values())) > 1:
        raise ConfigError(f"{' and '.join(chosen)} name different {what}; keep one")
    return next(iter(chosen.values()), None)


def check_samples(suffix: Suffix, samples: Samples | None) -> None:
    """ConfigError for samples that the files cannot hold."""
    if suffix == "flac" and samples == "float":
        raise ConfigError("--samples float: flac holds whole numbers; choose int24 or int16, or --format wav")


def chosen_stems(stems: str | None, two_stems: str | None, one: bool) -> tuple[Stem, ...]:
    """The stems to write; ``one``: only one can be, vocals unless another is named. ConfigError for other words."""
    if two_stems not in (None, "vocals"):
        raise ConfigError(f"--two-stems {shown(two_stems)}: only vocals and the rest are told apart; write vocals")
    if stems is not None and two_stems is not None:
        raise ConfigError("--stems and --two-stems name stems; keep one")
    chosen = parse_stems(stems or ("vocals" if one and two_stems is None else "vocals,instrumental"))
    if one and len(chosen) > 1:
        raise ConfigError("-o -: standard output takes one stem; name it by --stems, as in --stems vocals")
    return chosen


def seconds_of(text: str | None, option: str) -> float | None:
    """``62.5``, ``1:02.5`` or ``0:01:02.5`` in seconds. ConfigError that names the ``option`` otherwise."""
    if text is None:
        return None
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", text):
        raise ConfigError(f"{option} {shown(text)}: write seconds, or minutes and seconds, as in 62.5 or 1:02.5")
    return sum(float(part) * 60**place for place, part in enumerate(reversed(text.split(":"))))


def stretch_of(text: str, option: str) -> tuple[float, float]:
    """``62-66.5`` or ``1:02-1:06.5`` in seconds. ConfigError that names the ``option`` otherwise."""
    first, dash, last = text.partition("-")
    if not dash:
        raise ConfigError(f"{option} {shown(text)}: write two times, as in 62-66.5 or 1:02-1:06.5")
    start, end = seconds_of(first, option), seconds_of(last, option)
    if start is None or end is None or start >= end:
        raise ConfigError(f"{option} {shown(text)}: the stretch has to end after it begins")
    return start, end
