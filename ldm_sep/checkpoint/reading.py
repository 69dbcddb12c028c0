"""Checkpoint folders into networks: what is read is checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ldm_sep.build import AtMost, build_codec, build_separator, trained_here
from ldm_sep.checkpoint.manifest import Manifest, read_manifest
from ldm_sep.checkpoint.weights import LARGEST, load_strictly, stored_values
from ldm_sep.codec.base import Codec, module_of
from ldm_sep.config import CodecConfig
from ldm_sep.errors import CheckpointError, ConfigError
from ldm_sep.files import require_regular, sha256_of, shown
from ldm_sep.method.model import LatentSeparator
from ldm_sep.method.whitening import Whitening

# Values that networks are built from besides their weights: windows, bands, transforms.
_CONSTANTS = 20_000_000


def trained_codec(config: CodecConfig, folder: Path | None = None, weights: Path | None = None) -> Codec:
    """The codec of ``config`` with trained weights, on the CPU, in evaluation mode.

    Meta's EnCodec has them in the file ``weights``, in the cache or at Meta's address; all others in
    ``codec.safetensors`` of a checkpoint's ``folder``. CheckpointError if they cannot be used; ConfigError without a
    folder where one is needed.
    """
    if not trained_here(config):
        from ldm_sep.codec.encodec_weights import load_encodec_48khz

        return load_encodec_48khz(weights)
    if folder is None:
        raise ConfigError("the codec is trained here; name the trained one's folder with --codec")
    path = folder / "codec.safetensors"
    with _at_most_stored(path):
        codec = build_codec(config)
    load_strictly(module_of(codec), path)
    module_of(codec).eval()
    return codec


@contextmanager
def _at_most_stored(path: Path) -> Iterator[None]:
    """Within the block nothing may be built that has many more weights than ``path``: it would not fit it anyway."""
    try:
        with AtMost(stored_values(path) + _CONSTANTS, shown(path)):
            yield
    except ConfigError as error:
        raise CheckpointError(f"{error}; weights and config.json do not belong together") from None


def load_codec(folder: Path, codec_weights: Path | None = None) -> tuple[Manifest, Codec, Whitening]:
    """The codec and whitening constants of a codec's folder, or of a separator's."""
    manifest = read_manifest(folder)
    codec = trained_codec(manifest.config.codec, folder, codec_weights)
    whitening = Whitening(codec.latent_channels)
    if manifest.kind == "codec":
        load_strictly(whitening, folder / "whitening.safetensors")
    else:
        load_strictly(whitening, folder / "model.safetensors", prefix="whitening.")
    return manifest, codec, whitening


def load_separator(folder: Path, codec_weights: Path | None = None) -> tuple[Manifest, LatentSeparator]:
    """A separator's folder, on the CPU, in evaluation mode. CheckpointError if anything does not fit."""
    manifest = read_manifest(folder)
    if manifest.kind != "separator":
        raise CheckpointError(f"{folder}: holds a codec, not a separator; name a separator's folder")
    model = folder / "model.safetensors"
    codec = trained_codec(manifest.config.codec, folder, codec_weights)
    with _at_most_stored(model):
        separator = build_separator(manifest.config, codec)
    load_strictly(separator, model, ignore=("codec.",))
    return manifest, separator.eval()


def verify(folder: Path) -> list[str]:
    """Names of the weight files, all of which have to be listed and to have their recorded SHA-256.

    CheckpointError at the first that is not listed, is no part of such a checkpoint, is missing or differs.
    """
    manifest = read_manifest(folder)
    listed = manifest.facts["sha256"]
    for name in (*manifest.weight_files, *listed):
        if name not in listed:
            raise CheckpointError(f"{folder}: config.json lists no SHA-256 of {name}; fetch the checkpoint again")
        if name not in manifest.weight_files:
            raise CheckpointError(
                f"{folder}: config.json lists {name}, which is no part of such a {manifest.kind}; "
                "fetch the checkpoint again"
            )
        path = folder / name
        try:
            require_regular(path, LARGEST)
            intact = sha256_of(path) == listed[name]
        except OSError:
            intact = False
        if not intact:
            raise CheckpointError(f"{path}: missing or altered; fetch the checkpoint again")
    return list(manifest.weight_files)
