"""From what a user chooses to a `Recipe`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ldm_sep.audio import Subtype
from ldm_sep.catalogue.rows import Recipe
from ldm_sep.catalogue.storage import local_path
from ldm_sep.checkpoint.manifest import read_manifest
from ldm_sep.checkpoint.names import DEFAULT_CHECKPOINT, find_checkpoint, list_checkpoints
from ldm_sep.separation.naming import STEMS, Stem, Suffix
from ldm_sep.separation.options import Options, settle
from ldm_sep.separation.separator import LONGEST
from ldm_sep.separation.sidecar import Settings, checkpoint_hash, settled_subtype


def make_recipe(
    out: str,
    checkpoint: str | Path = DEFAULT_CHECKPOINT,
    options: Options = Options(),
    *,
    stems: Sequence[Stem] = STEMS,
    suffix: Suffix = "wav",
    subtype: Subtype | None = None,
    device: str = "auto",
    codec_weights: Path | None = None,
    longest: float | None = LONGEST,
) -> Recipe:
    """What is done with every song, checked; the checkpoint's weights are not read yet.

    ``out``: a folder, or a URI of file, s3 or gs. CheckpointError or ConfigError for a checkpoint that is not there,
    and options that it does not have.
    """
    folder = find_checkpoint(checkpoint)
    manifest = read_manifest(folder)
    # Each worker computes with one thread.
    options = replace(options, threads=1)
    plan = settle(options, manifest.config.sampling)
    path = local_path(out)
    return Recipe(
        out=out.rstrip("/") if path is None else str(path.absolute()),
        # A shipped checkpoint's name means the same on every machine; others are given by their path.
        checkpoint=str(checkpoint) if str(checkpoint) in list_checkpoints() else folder.absolute(),
        checkpoint_sha256=checkpoint_hash(manifest),
        options=options,
        settings=Settings(plan=plan, suffix=suffix, subtype=settled_subtype(suffix, subtype, None)),
        stems=tuple(stems),
        device=device,
        codec_weights=codec_weights,
        longest=longest,
    )
