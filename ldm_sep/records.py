"""Checked records: the one way in which what a file says becomes values, or one line about what is wrong with it."""

import json
from collections.abc import Mapping
from difflib import SequenceMatcher
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

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=20_000, use_attribute_docstrings=True
    )


_R = TypeVar("_R", bound=Record)


def checked(record: type[_R], table: Any, origin: str, error: type[LdmSepError] = ConfigError) -> _R:
    """A ``record`` of plain values; ``error`` names ``origin``, the first wrong key and what is wrong with it."""
    try:
        return record.model_validate(table)
    except ValidationError as failure:
        first = failure.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        problem = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        if first["type"] == "extra_forbidden":
            problem = f"unknown key; there are {', '.join(_neighbours(record, first['loc']))}"
        raise error(shown(f"{origin}: {key}: {problem}")) from None


def _neighbours(record: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """The keys that may stand beside an unknown one at ``place``, the most similar first."""
    schema = record.model_json_schema()

    def variants(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in node:
            return variants(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
        choices = node.get("anyOf", node.get("oneOf"))
        return [node] if choices is None else [inner for choice in choices for inner in variants(choice)]

    nodes = variants(schema)
    for part in place[:-1]:
        inner = [variants(node["properties"][part]) for node in nodes if part in node.get("properties", {})]
        inner += [variants(node["items"]) for node in nodes if isinstance(part, int) and "items" in node]
        inner += [variants(n["additionalProperties"]) for n in nodes if isinstance(n.get("additionalProperties"), dict)]
        # Of a union the part of the place is the tag.
        tagged = [[n] for n in nodes if n.get("properties", {}).get("kind", {}).get("const") == part]
        nodes = [node for group in inner or tagged or [[n] for n in nodes] for node in group]
    names = sorted({name for node in nodes for name in node.get("properties", {})})
    wanted = str(place[-1])
    return sorted(names, key=lambda name: -SequenceMatcher(None, wanted, name).ratio())


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
