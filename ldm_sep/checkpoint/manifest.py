"""``config.json`` of a checkpoint folder: what it says, read and checked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ldm_sep.build import codec_sample_rate
from ldm_sep.config import Config, parse_config
from ldm_sep.errors import CheckpointError, ConfigError

FORMAT = 1
# Settings of earlier versions that said what the codec decides now, or nothing: table and key.
_RETIRED = (
    ("sampling", "highpass"),
    ("codec", "channels"),
    ("separator", "mask_exponent"),
    ("codec_training", "adversarial_weight"),
    ("codec_training", "critic_channels"),
    ("codec_training", "critic_rate"),
    ("codec_training", "decoder_only"),
)


@dataclass(frozen=True)
class Manifest:
    """``config.json``, read: the configuration and everything else it says."""

    kind: Literal["codec", "separator"]
    config: Config
    facts: dict[str, Any]


def read_manifest(folder: Path) -> Manifest:
    """``config.json`` of a checkpoint folder. CheckpointError if there is none or it cannot be used."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder}: not a checkpoint (it has no config.json); see 'ldm-sep models list'")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        card = {key: facts[key] for key in ("licence", "training_data", "limitations")}
        for table, key in _RETIRED:
            (facts["config"].get(table) or {}).pop(key, None)
        # The only norm of a SEANet; a codec with another is told to be of another version.
        if facts["config"]["codec"].get("norm") == "weight_norm":
            del facts["config"]["codec"]["norm"]
        config = parse_config({**facts["config"], "card": card}, str(path))
        version, kind = facts["format"], facts["kind"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); fetch the checkpoint again") from None
    except ConfigError as error:
        raise CheckpointError(f"{error}; the checkpoint was made by another version of ldm-sep") from None
    if version != FORMAT:
        raise CheckpointError(f"{path}: format {version}, this version reads {FORMAT}; update ldm-sep")
    return Manifest(kind, config, facts)


def require_same_codec(folder: Path, manifest: Manifest, config: Config) -> None:
    """ConfigError that names the keys if the codec in ``folder``, whose manifest this is, is not the one that
    ``config`` describes.
    """
    theirs, ours = manifest.config.codec.model_dump(), config.codec.model_dump()
    # Of two kinds the other keys have nothing to do with one another.
    keys = ["kind"] if theirs["kind"] != ours["kind"] else [key for key in ours if theirs[key] != ours[key]]
    if keys:
        differences = ", ".join(f"{key} is {theirs[key]} there and {ours[key]} here" for key in keys)
        raise ConfigError(
            f"{folder}: its codec has other sizes than the [codec] table of {config.name} ({differences}); "
            "make them equal"
        )


def require_same_predictor(folder: Path, manifest: Manifest, config: Config) -> None:
    """ConfigError if the separator in ``folder``, whose manifest this is, has not the predictor that ``config``
    describes, up to the power of its mask.
    """

    def sizes(of: Config) -> tuple:
        return codec_sample_rate(of.codec), of.predictor and of.predictor.model_dump(exclude={"exponent"})

    if manifest.kind != "separator" or manifest.config.predictor is None:
        raise ConfigError(f"{folder}: has no predictor; name a separator that has one")
    if sizes(manifest.config) != sizes(config):
        raise ConfigError(
            f"{folder}: its predictor has another rate or other sizes than the [predictor] table of {config.name}; "
            "make them equal"
        )
