"""Checked records: the one way in which what a file says becomes values, or one line about what is wrong with it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ldm_sep.errors import ConfigError, LdmSepError
from ldm_sep.files import read_regular, reason, shown

# Deeper than any file of ours; deep nesting exhausts the stack of whatever walks through it.
_DEEPEST = 32
# Bytes: no table or manifest comes near.
LARGEST_TEXT = 4 << 20


class Record(BaseModel):
    """Base of all records: frozen, no unknown keys, no numbers that are not finite, no endless texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=20_000)


_R = TypeVar("_R", bound=Record)


def checked(record: type[_R], table: Any, origin: str, error: type[LdmSepError] = ConfigError) -> _R:
    """A ``record`` of plain values; ``error`` names ``origin``, the first wrong key and what is wrong with it."""
    try:
        return record.model_validate(table)
    except ValidationError as failure:
        first = failure.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise error(shown(f"{origin}: {key}: {first['msg'][0].lower()}{first['msg'][1:]}")) from None


def require_shallow(value: Any) -> None:
    """ValueError if lists and tables lie in one another more than 32 deep."""
    layer = [value]
    for _ in range(_DEEPEST):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (list, Mapping))
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
        if not layer:
            return
    raise ValueError(f"its values lie more than {_DEEPEST} deep in one another")


def read_json(path: Path, error: type[LdmSepError], remedy: str) -> Any:
    """What a JSON file of at most 4 MiB says. ``error``, one line with ``remedy``, if it cannot be read or is none."""
    try:
        value = json.loads(read_regular(path, LARGEST_TEXT).decode("utf-8"))
        require_shallow(value)
    except RecursionError:
        raise error(f"{shown(path)}: its values lie too deep in one another; {remedy}") from None
    except (OSError, ValueError) as failure:
        raise error(f"{shown(path)}: cannot be read as JSON ({shown(reason(failure))}); {remedy}") from None
    return value
