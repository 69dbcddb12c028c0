"""``config.json`` of a checkpoint folder: what it says, read and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat

from ldm_sep.build import codec_sample_rate, trained_here
from ldm_sep.config import Config, parse_config
from ldm_sep.config.fields import Hash, Line
from ldm_sep.errors import CheckpointError, ConfigError
from ldm_sep.files import complete_swap
from ldm_sep.records import Record, checked, read_json

FORMAT = 1
# Settings of earlier versions that are ignored now: table and key.
_RETIRED = (
    ("sampling", "highpass"),
    ("codec", "channels"),
    ("separator", "mask_exponent"),
    ("codec_training", "adversarial_weight"),
    ("codec_training", "critic_channels"),
    ("codec_training", "critic_rate"),
    ("codec_training", "decoder_only"),
)
_REMEDY = "fetch the checkpoint again"

# What a run can train; "unet" with the conditioner and the level head.
Part = Literal["codec", "predictor", "unet", "post_filter"]
PARTS: tuple[Part, ...] = ("codec", "predictor", "unet", "post_filter")
Count = Annotated[int, Field(ge=0, le=10**15)]
WeightFile = Literal["model.safetensors", "codec.safetensors", "whitening.safetensors"]
# Of the evaluation: the value, or the value with its interval; None where it is undefined.
Score = Annotated[list[float], Field(min_length=1, max_length=3)] | None


class Run(Record):
    """A training that made ``parts`` of the checkpoint; ``commit`` is the code's."""

    command: str = ""
    steps: Count = 0
    minutes: NonNegativeFloat = 0.0
    hardware: str = ""
    commit: str = ""
    parts: tuple[Part, ...] = PARTS


class Provenance(Run):
    """How a checkpoint came to be: its last run, the runs ``before``, as `card.trainings` gives them, of what that run
    started from, and measured ``scores``.
    """

    before: Sequence[Mapping[str, Any]] = ()
    scores: dict[str, float | None] = Field(default_factory=dict)


class RunBefore(Run):
    """One of the runs before the last; or, in place of its runs, the ``checkpoint`` of that name, which has a card of
    its own, and the SHA-256 of its ``weights``.
    """

    checkpoint: Line = ""
    weights: Hash | None = None


class EvaluationRow(Record):
    """A row of the table that `add_evaluation` puts into the card."""

    group: Line
    system: Line
    n: Count
    hash: str
    scores: dict[str, Score]
    defined: dict[str, Count] = Field(default_factory=dict)


class Facts(Run):
    """Everything that ``config.json`` may say; ``config`` is checked by itself."""

    format: int
    kind: Literal["codec", "separator"]
    name: Annotated[Line, Field(min_length=1)]
    licence: str
    training_data: list[str]
    limitations: list[str]
    parameters: dict[str, Count]
    sha256: dict[WeightFile, Hash]
    before: list[RunBefore] = Field(default_factory=list)
    scores: dict[str, float | None]
    evaluation: list[EvaluationRow] = Field(default_factory=list)
    config: dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """``config.json``, read: the configuration and everything else it says."""

    kind: Literal["codec", "separator"]
    config: Config
    facts: dict[str, Any]

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The files whose weights the checkpoint has to hold. Meta's EnCodec is in a file of its own."""
        own = "whitening.safetensors" if self.kind == "codec" else "model.safetensors"
        return (own, "codec.safetensors") if trained_here(self.config.codec) else (own,)


def read_manifest(folder: Path) -> Manifest:
    """``config.json`` of a checkpoint folder. CheckpointError if there is none or it cannot be used."""
    path = folder / "config.json"
    complete_swap(folder)
    if not path.is_file():
        raise CheckpointError(f"{folder}: not a checkpoint (it has no config.json); see 'ldm-sep models list'")
    facts = read_json(path, CheckpointError, _REMEDY)
    version = facts.get("format") if isinstance(facts, dict) else None
    if isinstance(version, int) and version != FORMAT:
        raise CheckpointError(f"{path}: format {version}, this version reads {FORMAT}; update ldm-sep")
    try:
        said = checked(Facts, facts, str(path), CheckpointError)
        table = _current(said.config)
        card = {"licence": said.licence, "training_data": said.training_data, "limitations": said.limitations}
        config = parse_config({**table, "card": card}, str(path))
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {_REMEDY}, or the version of ldm-sep that made it") from None
    except ConfigError as error:
        raise CheckpointError(f"{error}; the checkpoint was made by another version of ldm-sep") from None
    # What was checked, not what was read: a number may have stood there as a text.
    return Manifest(said.kind, config, {**said.model_dump(mode="json", exclude_unset=True), "config": table})


def _current(table: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the settings that only earlier versions had."""
    current = {key: dict(value) if isinstance(value, dict) else value for key, value in table.items()}
    for name, key in _RETIRED:
        if isinstance(current.get(name), dict):
            current[name].pop(key, None)
    # The only norm that SEANet has kept.
    codec = current.get("codec")
    if isinstance(codec, dict) and codec.get("norm") == "weight_norm":
        del codec["norm"]
    return current


def require_same_codec(folder: Path, manifest: Manifest, config: Config) -> None:
    """ConfigError that names the keys if the codec in ``folder``, whose manifest this is, is not the one that
    ``config`` describes.
    """
    theirs, ours = manifest.config.codec.model_dump(), config.codec.model_dump()
    # Codecs of different kinds share no other keys.
    keys = ["kind"] if theirs["kind"] != ours["kind"] else [key for key in ours if theirs[key] != ours[key]]
    if keys:
        differences = ", ".join(f"{key} is {theirs[key]} there and {ours[key]} here" for key in keys)
        raise ConfigError(
            f"{folder}: its codec has other sizes than the [codec] table of {config.name} "
            f"({differences}); make them equal"
        )


def require_same_predictor(folder: Path, manifest: Manifest, config: Config) -> None:
    """ConfigError if the separator in ``folder``, whose manifest this is, does not have the predictor that
    ``config`` describes, up to the power of its mask.
    """

    def sizes(of: Config) -> tuple:
        return codec_sample_rate(of.codec), of.predictor and of.predictor.model_dump(exclude={"exponent"})

    if manifest.kind != "separator" or manifest.config.predictor is None:
        raise ConfigError(f"{folder}: has no predictor; name a separator that has one")
    if sizes(manifest.config) != sizes(config):
        raise ConfigError(
            f"{folder}: its predictor has another rate or other sizes than the [predictor] table of "
            f"{config.name}; make them equal"
        )
