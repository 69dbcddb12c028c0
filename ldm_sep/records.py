"""Checked records: the one way in which what a file says becomes values, or one line about what is wrong with it."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ldm_sep.errors import ConfigError, LdmSepError, reason
from ldm_sep.files import read_regular, require_regular, shown

# Deeper than any file of ours; deep nesting exhausts the stack of whatever walks through it.
_DEEPEST = 32
# Bytes: no configuration or manifest comes near.
LARGEST_TEXT = 4 << 20
# Of a table: bytes and rows.
_LARGEST_TABLE, _MOST_ROWS = 16 << 20, 200_000


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
        raise error(f"{origin}: {shortened(key)}: {shortened(problem)}") from None


def shortened(text: str) -> str:
    """``text`` without its middle where it is longer than 600 characters."""
    return text if len(text) <= 600 else f"{text[:400]} ... {text[-100:]}"


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


def read_json(
    path: Path,
    error: type[LdmSepError],
    remedy: str,
    largest: int = LARGEST_TEXT,
    mended: Callable[[str], str] = str,
) -> Any:
    """What a JSON file of at most ``largest`` bytes says, its text ``mended`` first. ``error``, one line with
    ``remedy``, if it cannot be read or is none.
    """
    try:
        value = json.loads(mended(read_regular(path, largest).decode("utf-8")))
        require_shallow(value)
    except FileNotFoundError:
        raise error(f"{path}: no such file; {remedy}") from None
    except RecursionError:
        raise error(f"{path}: its values lie too deep in one another; {remedy}") from None
    except (OSError, ValueError) as failure:
        raise error(f"{path}: cannot be read as JSON ({reason(failure)}); {remedy}") from None
    return value


def read_pickled(path: Path, largest: int) -> Any:
    """What ``torch.save`` wrote to ``path``: tensors in plain containers, on the CPU. Pickled code is never run.

    OSError for what is no file of at most ``largest`` bytes; ValueError for one that is damaged, holds more than plain
    tensors, or unpacks to more than that.
    """
    import torch

    require_regular(path, largest)
    unpacked = 0
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked <= largest:
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes both raise nearly anything
        raise ValueError(
            f"it is damaged or holds more than plain tensors, which could run code: {type(error).__name__}"
        ) from None
    raise ValueError(f"unpacks to {unpacked:,} bytes, more than the {largest:,} that it may have")


def read_table(path: Path, record: type[_R], error: type[LdmSepError]) -> list[_R]:
    """The rows of a CSV table in UTF-8, with or without the mark that spreadsheets put first, as records whose fields
    are the columns. Other columns are passed over, and so is a cell left empty where its field has a default.

    ``error`` names the file, and the line and column if there is one, for what is no such table, too large, or holds a
    value that the record refuses.
    """
    fields = record.model_fields
    required = [name for name, field in fields.items() if field.is_required()]
    reader = open_table(path, error, required)
    columns = reader.fieldnames or ()
    rows: list[_R] = []
    for place, row in table_rows(path, reader, error):
        if len(rows) == _MOST_ROWS:
            raise error(f"{shown(path)}: more than {_MOST_ROWS:,} rows; make several tables of it")
        said = {name: row[name] for name in fields if name in columns and (row[name] or name in required)}
        rows.append(checked(record, said, place, error))
    return rows


def open_table(path: Path, error: type[LdmSepError], required: Sequence[str] = ()) -> "csv.DictReader[str]":
    """A CSV table in UTF-8, with or without the mark that spreadsheets put first; its first line is read.

    ``error`` for what is no such table or too large, and where a column of ``required`` is missing.
    """
    try:
        text = read_regular(path, _LARGEST_TABLE).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        remedy = f"name a CSV file with the columns {', '.join(required)}" if required else "check the path"
        raise error(f"{shown(path)}: no such table; {remedy}") from None
    except UnicodeDecodeError:
        raise error(f"{shown(path)}: not in UTF-8; save it so") from None
    except OSError as failure:
        raise error(f"{shown(path)}: cannot be read ({reason(failure)}); check the file") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or ()
    except csv.Error as failure:
        raise error(f"{shown(path)}: line 1: no row of a table ({failure}); mend it") from None
    if missing := [name for name in required if name not in columns]:
        said = f"column {missing[0]} is" if len(missing) == 1 else f"columns {', '.join(missing)} are"
        raise error(f"{shown(path)}: the {said} missing; the first line has to name the columns")
    return reader


def table_rows(
    path: Path, reader: "csv.DictReader[str]", error: type[LdmSepError]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of the table in ``path``, each after the words that name its file and line.

    ``error`` for a line that is no row, or has more or fewer cells than the first.
    """
    try:
        for row in reader:
            place = f"{shown(path)}: line {reader.line_num}"
            if None in row or None in row.values():
                raise error(f"{place}: has not as many cells as the first line; write decimals with a point")
            yield place, row
    except csv.Error as failure:
        # The row begins after the last good one, however many lines an unpaired quotation mark has swallowed.
        raise error(f"{shown(path)}: line {reader.line_num + 1}: no row of a table ({failure}); mend it") from None
