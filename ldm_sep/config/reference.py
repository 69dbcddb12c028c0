"""`configs/REFERENCE.md`: every key of a configuration, written from the records themselves.

python -m ldm_sep.config.reference > configs/REFERENCE.md
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ldm_sep.config.experiment import CardConfig
from ldm_sep.config.networks import (
    Encodec48kHzConfig,
    LevelConfig,
    PostFilterConfig,
    PredictorConfig,
    SEANetCodecConfig,
    SeparatorConfig,
    SpectralCodecConfig,
    UNetConfig,
)
from ldm_sep.config.sampling import PresetConfig, SamplingConfig
from ldm_sep.config.training import CodecTrainingConfig, DataConfig, MixConfig, SeparatorTrainingConfig
from ldm_sep.records import Record

# What heads each table in a file, and its record.
TABLES: tuple[tuple[str, type[Record]], ...] = (
    ('[codec], kind = "spectral"', SpectralCodecConfig),
    ('[codec], kind = "seanet"', SEANetCodecConfig),
    ('[codec], kind = "encodec_48khz"', Encodec48kHzConfig),
    ("[predictor]", PredictorConfig),
    ("[post_filter]", PostFilterConfig),
    ("[unet]", UNetConfig),
    ("[[unet.levels]]", LevelConfig),
    ("[separator]", SeparatorConfig),
    ("[data]", DataConfig),
    ("[mix]", MixConfig),
    ("[codec_training]", CodecTrainingConfig),
    ("[training]", SeparatorTrainingConfig),
    ("[sampling]", SamplingConfig),
    ("[sampling.presets.NAME], NAME being fast, best, clean, full or natural", PresetConfig),
    ("[card]", CardConfig),
)
_HEAD = """\
# Keys of a configuration

Written by `python -m ldm_sep.config.reference`; do not edit. A file may begin with `extends = "other.toml"`, the name
of a file below its own folder or of a shipped one; its keys then win over that one's. `--set TABLE.KEY=VALUE` wins
over both. Shares are probabilities, spreads are standard deviations. At the top stand `name`, which is required, and
`description`.
"""


def describe(record: type[Record]) -> Iterator[tuple[str, str, str, str]]:
    """Key, default (or "required"), allowed values and meaning of every field of ``record``."""
    schema = record.model_json_schema()
    for key, field in schema["properties"].items():
        default = "required" if key in schema.get("required", ()) else _shown(field.get("default"))
        yield key, default, _allowed(field, schema.get("$defs", {})), " ".join(field.get("description", "").split())


def _shown(value: Any) -> str:
    return "left out" if value is None or value == {} else f"`{json.dumps(value)}`"


def _allowed(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return _allowed(next(choice for choice in field["anyOf"] if choice.get("type") != "null"), definitions)
    if "$ref" in field:
        return _allowed(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    kind = field.get("type")
    if kind == "array" and "$ref" not in field["items"]:
        return f"list of: {_allowed(field['items'], definitions)}"
    if kind in ("integer", "number"):
        signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
        bounds = [f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field]
        return f"{kind} {', '.join(bounds)}".strip()
    return {"string": "text", "boolean": "`true`, `false`"}.get(str(kind), "tables")


def reference() -> str:
    """The text of `configs/REFERENCE.md`."""
    parts = [_HEAD]
    for heading, record in TABLES:
        rows = [f"| `{key}` | {' | '.join(cells)} |" for key, *cells in describe(record)]
        head = [f"## {heading}", "", "| key | default | allowed | meaning |", "|---|---|---|---|"]
        parts.append("\n".join([*head, *rows, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    print(reference(), end="")
