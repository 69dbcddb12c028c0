"""A whole experiment, and the TOML files that describe one."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ldm_sep.bundled import shipped
from ldm_sep.config.fields import Line
from ldm_sep.config.networks import CodecConfig, PostFilterConfig, PredictorConfig, SeparatorConfig, UNetConfig
from ldm_sep.config.sampling import SamplingConfig
from ldm_sep.config.training import CodecTrainingConfig, DataConfig, MixConfig, SeparatorTrainingConfig
from ldm_sep.errors import ConfigError, reason
from ldm_sep.files import read_regular
from ldm_sep.records import LARGEST_TEXT, Record, checked, require_shallow

# Files that may extend one another in a row.
_LONGEST_CHAIN = 32


class CardConfig(Record):
    """What a checkpoint says about itself besides its numbers: licence of the weights, sources with their terms,
    limits.
    """

    licence: str = "unknown"
    """Of the weights."""
    training_data: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    """Sources with their terms."""
    limitations: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    """Where it fails."""
    start: Line = ""
    """Name of a checkpoint with a card of its own: where the training starts from it, that card is pointed to, and its
    runs and sources are not repeated.
    """


class Config(Record):
    """A whole experiment."""

    name: Annotated[Line, Field(min_length=1, max_length=100)]
    """Of the checkpoint."""
    description: Line = ""
    """One line for its card."""
    codec: CodecConfig
    unet: UNetConfig | None = None
    predictor: PredictorConfig | None = None
    post_filter: PostFilterConfig | None = None
    separator: SeparatorConfig = SeparatorConfig()
    data: DataConfig
    mix: MixConfig = MixConfig()
    codec_training: CodecTrainingConfig | None = None
    training: SeparatorTrainingConfig | None = None
    sampling: SamplingConfig = SamplingConfig()
    card: CardConfig = CardConfig()

    def needed_codec_training(self) -> CodecTrainingConfig:
        """The table ``[codec_training]``. ConfigError without one."""
        if self.codec_training is None:
            raise ConfigError(f"{self.name}: needs a [codec_training] table and a codec that is trained here")
        return self.codec_training

    def needed_training(self) -> SeparatorTrainingConfig:
        """The table ``[training]``. ConfigError without one."""
        if self.training is None:
            raise ConfigError(f"{self.name}: needs a [training] table to train a separator")
        return self.training


def _merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _parse(text: str) -> dict[str, Any]:
    """ValueError, of which a TOMLDecodeError is one, for what is no TOML or nested too deeply."""
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError("its values lie too deep in one another") from None
    require_shallow(table)
    return table


def _found(path: Path) -> Path:
    """``path``, or the shipped configuration that it names: NAME.toml or configs/NAME.toml."""
    ours = shipped("configs")
    if not path.exists() and ours is not None and path.parent in (Path(), Path("configs")):
        return ours / path.name if (ours / path.name).is_file() else path
    return path


def _parent(path: Path, name: Any) -> Path:
    """The file that ``path`` extends: below its own folder, or a shipped configuration."""
    if not isinstance(name, str):
        raise ConfigError(f"{path}: extends: must be the name of a file")
    parent = path.parent / name
    if Path(name).is_absolute() or not parent.resolve().is_relative_to(path.parent.resolve()):
        raise ConfigError(f"{path}: extends {name}, which is not below its folder; put it there")
    return parent if parent.exists() else _found(Path(name))


def _read_toml(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in seen:
        raise ConfigError(f"{path}: extends itself through {' -> '.join(p.name for p in seen)}")
    if len(seen) > _LONGEST_CHAIN:
        raise ConfigError(f"{path}: the end of more than {_LONGEST_CHAIN} files that extend one another")
    try:
        table = _parse(read_regular(path, LARGEST_TEXT).decode("utf-8"))
    except FileNotFoundError:
        ours = shipped("configs")
        names = ", ".join(sorted(p.name for p in ours.glob("*.toml"))) if ours else "none"
        raise ConfigError(f"{path}: no such configuration; shipped are {names}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({reason(error)})") from None
    name = table.pop("extends", None)
    return table if name is None else _merge(_read_toml(_parent(path, name), (*seen, path)), table)


def parse_config(table: Mapping[str, Any], origin: str) -> Config:
    """A checked `Config` from plain tables; ConfigError names ``origin``, the key and what is wrong with it."""
    return checked(Config, table, origin)


def load_config(path: str | Path, changes: Sequence[str] = ()) -> Config:
    """Read ``path`` (and what it extends), then apply ``changes`` like ``training.steps=500`` (any TOML value).

    Where there is no such file, ``NAME.toml`` and ``configs/NAME.toml`` mean the configuration shipped under that name.
    ConfigError if a file is missing or unreadable, or anything does not make sense.
    """
    table = _read_toml(_found(Path(path)))
    for change in changes:
        try:
            if "=" not in change or "\n" in change:
                raise ValueError
            table = _merge(table, _parse(change))
        except ValueError:
            raise ConfigError(f"--set {change}: write TABLE.KEY=VALUE, and a text as 'name=\"text\"'") from None
    return parse_config(table, " with --set ".join([str(path), *changes]))
