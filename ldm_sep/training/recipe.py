"""The road from one's own songs to a separator: a commented configuration, and the commands that use it."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ldm_sep.checkpoint.manifest import read_manifest, require_same_codec, require_same_predictor
from ldm_sep.checkpoint.names import find_checkpoint
from ldm_sep.config import Config, load_config
from ldm_sep.data.layouts import LAYOUTS, guess_layout, read_tracks
from ldm_sep.data.tracks import Layout, Split
from ldm_sep.errors import ConfigError, unwritable
from ldm_sep.files import as_file_name, shown, write_text

# Steps of fine-tuning, and the factor of its learning rate, against training from nothing.
_TUNING_STEPS, _SLOWER = 2000, 0.1

_TEXT = """\
# {title} Written by 'ldm-sep init'; change what you like.
#
{commands}
#
# What is not said here is as in {base}, which is shipped with ldm-sep. configs/REFERENCE.md lists all keys with their
# bounds and meaning; an unknown key is refused, with the known ones listed, the most similar first.
extends = {base_text}
name = {name_text}
description = {description}

[data]
layout = "{layout}"  # {where}

[mix]  # How songs are varied. Listen: ldm-sep data preview {file} --data {data} --out preview
real = {mix.real}  # share of items that are crops of one song; the others put vocals over another song's accompaniment
silent = {mix.silent}  # share of items without vocals
pitch_semitones = {mix.pitch_semitones}  # largest change of speed and pitch together
balance_db = {mix.balance_db}  # spread of vocals against accompaniment
{codec}
[training]
stage = {stage}  # what is trained: 0 the predictor; 1 the U-Net; 2 U-Net and conditioner; 3 the post-filter
steps = {steps}  # a guess: the scores in RUN/validation.csv say when it is enough; --max-minutes ends it earlier
batch_size = {training.batch_size}  # items of a step; fewer if memory runs out
seconds = {training.seconds}  # length of an item
learning_rate = {rate:g}
precision = "{training.precision}"  # "bf16" is faster on GPUs and on some CPUs
validate_every = {training.validate_every}  # steps between two validations, with samples in RUN/samples
save_every = {training.save_every}  # steps between two states that --resume can go on from

[card]  # What the checkpoint will say of itself.
licence = "unknown"  # of the weights: yours to say
training_data = [{source}]  # whose songs these are, and their terms
limitations = []  # where it fails
{start}"""
_CODEC = """
[codec_training]
steps = {steps}
batch_size = {batch_size}
"""


@dataclass(frozen=True)
class Recipe:
    """A configuration's ``text``, the ``commands`` from data to separator, and how many songs each split has."""

    text: str
    commands: list[str]
    layout: Layout
    songs: Mapping[Split, int]


def write_recipe(data: Path, layout: Layout | None, start: str | None, base: str, file: Path) -> Recipe:
    """Write to ``file`` a configuration for the songs in ``data``, laid out as ``layout`` or as it looks.

    ``start`` is the separator to fine-tune, a name or a folder, None to train from nothing; ``base`` the configuration
    that has the networks. DataError if there are no songs; ConfigError if the file is there already or cannot be
    written, or the networks are not those of ``start``; CheckpointError if that is no separator.
    """
    if file.exists():
        raise ConfigError(f"{file}: is there already; name another file with --out")
    recipe = _recipe(data, layout or guess_layout(data), start, base, file)
    with unwritable(ConfigError, file, "name another with --out"):
        write_text(file, recipe.text)
    return recipe


def _recipe(data: Path, layout: Layout, start: str | None, base: str, file: Path) -> Recipe:
    songs = Counter(track.split for track in read_tracks(layout, data) if track.is_song)
    config = load_config(base)
    training = config.needed_training()
    begun = None if start is None else _begun(find_checkpoint(start), config)
    name = shown(data.resolve().stem if data.is_file() else data.resolve().name)
    commands = _commands(data, layout, start, file)
    tuned = f"{begun}, fine-tuned on {name}."
    text = _TEXT.format(
        title=tuned if start else f"A separator from nothing, trained on {name}.",
        commands="\n".join(f"#   {command}" for command in commands),
        base=base,
        base_text=json.dumps(base),
        name_text=json.dumps(name[:100], ensure_ascii=False),
        description=json.dumps(tuned if start else f"Trained on {name}.", ensure_ascii=False),
        layout=layout,
        where=LAYOUTS[layout],
        file=shlex.quote(shown(file)),
        data=shlex.quote(shown(data)),
        mix=config.mix,
        codec="" if start else _CODEC.format(**config.needed_codec_training().model_dump()),
        training=training,
        stage=0,
        steps=_TUNING_STEPS if start else training.steps,
        rate=training.learning_rate * (_SLOWER if start else 1),
        source=json.dumps(f"{name}: {songs['train']} songs, terms unknown", ensure_ascii=False),
        start=f"start = {json.dumps(begun)}  # its own card lists its runs and sources\n" if start else "",
    )
    return Recipe(text, commands, layout, songs)


def _begun(folder: Path, config: Config) -> str:
    """Name of the separator in ``folder``, which has the codec and the predictor of ``config``."""
    manifest = read_manifest(folder)
    require_same_codec(folder, manifest, config)
    require_same_predictor(folder, manifest, config)
    return manifest.config.name


def _commands(data: Path, layout: Layout, start: str | None, file: Path) -> list[str]:
    """What the user runs next, each a line of a shell."""
    run = f"runs/{as_file_name(file.stem)}"
    words = [["data", "check", shown(data), "--layout", layout]]

    def train(command: str, result: str, *more: str) -> str:
        words.append([command, shown(file), "--data", shown(data), "--run", f"{run}/{result}", *more])
        return f"{run}/{result}/{'codec' if command == 'train-codec' else 'separator'}"

    if start:
        made = train("train", "tuned", "--init", start)
    else:
        codec = train("train-codec", "codec")
        first = train("train", "stage0", "--codec", codec)
        made = train("train", "stage1", "--init", first, "--set", "training.stage=1")
    words.append(["separate", "SONG", "-n", made])
    return [f"ldm-sep {shlex.join(line)}" for line in words]
