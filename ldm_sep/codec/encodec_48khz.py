"""Meta's pretrained 48 kHz stereo EnCodec (arXiv 2210.13438), the paper's codec, and where its weights are.

The networks are those of the package ``encodec``, through ``ldm_sep.thirdparty``. The weights are looked for,
in this order, at a path the caller names, in a cache folder and at Meta's address. A ``name-XXXXXXXX.th``
carries the first 8 hex digits of its own SHA-256; the whole file is hashed and compared before it is opened.

Legend: B batch, C audio channels, T samples, D latent channels, N latent frames.
"""

import json
import os
import re
import tempfile
import urllib.error
import zipfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ldm_sep.codec.base import Codec, all_finite
from ldm_sep.errors import CheckpointError
from ldm_sep.files import reason, replacing, require_regular, sha256_of, shown
from ldm_sep.records import read_json
from ldm_sep.signal.loudness import rms
from ldm_sep.thirdparty import import_encodec

WEIGHTS_URL = "https://dl.fbaipublicfiles.com/encodec/v0/encodec_48khz-7e698e3e.th"
_LEAST_MONO = 0.25
_FLOOR_RMS = 1e-4
# Bytes, of the file and of what it unpacks to; the published one has 76 million.
_LARGEST = 256 << 20
_OTHER_CACHE = "choose another cache folder with LDM_SEP_CACHE, or pass the path of a local copy as weights"


class Encodec48kHz(nn.Module, Codec):
    """The encoder and decoder of the 48 kHz EnCodec as a ``codec.base.Codec``; 7.43 M parameters each.

    Latents have 128 channels at 150 frames/s, N = T / 320. They are continuous: the quantiser is no part of
    ``encode`` and ``decode``, and there are no 1-second segments, so that a window is one stream. Latents
    depend on the length of what is encoded: train and infer with the same window.

    A GroupNorm over channels and time ends both networks. Latents therefore have unit variance at any input
    gain, even for silence, and the decoder's RMS is a constant: no latent can carry the level, and
    ``keeps_level`` is False. The latents do depend on the input's level, because convolutions have biases. The
    networks were trained on waves divided by the RMS of their mono mean: ``input_gain`` says how much that is.

    ``quantizer`` is the package's residual vector quantiser (16 codebooks of 1024), for studies of the codec:
    ``quantizer.encode(z, 150, bandwidth)``, the bandwidth in kbit/s and at most 24, and ``quantizer.decode``.

    ``state_dict`` holds the keys of ``encodec.EncodecModel``; None leaves random weights. Raises
    ``CheckpointError`` where keys are missing or unexpected, shapes differ, or a value is not finite.
    """

    def __init__(self, state_dict: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        device = torch.get_default_device()
        # Weights that are about to be overwritten need no draw from the caller's random generator.
        with torch.device("meta") if state_dict is not None else nullcontext():
            model = import_encodec().EncodecModel.encodec_model_48khz(pretrained=False)
        self.sample_rate: int = model.sample_rate
        self.channels: int = model.channels
        self.hop = int(model.encoder.hop_length)
        self.latent_channels: int = model.encoder.dimension
        self.keeps_level = False
        self.latent_exponent = 1.0
        self.encoder: nn.Module = model.encoder
        self.decoder: nn.Module = model.decoder
        self.quantizer: nn.Module = model.quantizer
        if state_dict is not None:
            _check_state(state_dict, self.state_dict())
            self.to_empty(device=device)
            self.load_state_dict(state_dict)
        self.eval()

    def input_gain(self, wave: Tensor) -> Tensor:
        """1 / RMS of the mono mean of ``wave (B, 2, T)``, as (B, 1, 1).

        The mean of anti-phase stereo is silent: the RMS counts as at least a quarter (-12 dB) of that of both
        channels, which two unlike channels (-3 dB) stay well above. It also counts as at least -80 dBFS, so that
        silence stays silence.
        """
        mono = wave.mean(1, keepdim=True)
        level = torch.maximum(rms(mono), _LEAST_MONO * rms(wave)).clamp_min(_FLOOR_RMS)
        return (1 / level)[:, None, None]


def load_encodec_48khz(
    weights: Path | None = None, *, cache: Path | None = None, download: bool = True
) -> Encodec48kHz:
    """The pretrained codec, on the CPU, in evaluation mode.

    ``weights``: a local ``.th`` (digits in its name are compared with its SHA-256) or ``.safetensors`` file,
    which is read where it lies; nothing is written. Without it, ``cache`` (default: ``default_cache()``) is
    looked up, first for what an earlier call kept, then for a ``.th`` that somebody put there; and at last,
    with ``download``, the file is fetched from ``WEIGHTS_URL``. What comes this way is kept in the cache as
    safetensors beside a record of both SHA-256, against which every later load checks it.

    Pickled code is never run. Raises ``CheckpointError`` for a file that is missing, too large, damaged, not what
    its name says or of another network, for a download that fails, and for a cache that cannot be written; none
    of these leaves anything behind.
    """
    if weights is not None:
        return _load_file(Path(weights))
    folder = default_cache() if cache is None else Path(cache)
    placed = folder / WEIGHTS_URL.rsplit("/", 1)[-1]
    kept = placed.with_suffix(".safetensors")
    if kept.is_file() and _record_of(kept).is_file():
        return _load_file(kept)
    if placed.is_file():
        return _load_and_keep(placed, placed, kept)
    if not download:
        raise CheckpointError(
            f"{placed}: not there, and downloading is off; get {WEIGHTS_URL} and put it there, "
            "or pass the path of a local copy as weights"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ldm-sep-", dir=folder) as scratch:
            return _load_and_keep(_downloaded(Path(scratch), placed), placed, kept)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({reason(error)}); {_OTHER_CACHE}") from error


def default_cache() -> Path:
    """The folder of ``LDM_SEP_CACHE``, else ``ldm_sep`` in the user's cache folder (``~/.cache``)."""
    if chosen := os.environ.get("LDM_SEP_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ldm_sep"


def _downloaded(scratch: Path, named: Path) -> Path:
    """Meta's file, fetched into the folder ``scratch`` and checked against the digits in its name."""
    file = scratch / named.name
    digits = _digits_in(named)
    try:
        torch.hub.download_url_to_file(WEIGHTS_URL, str(file), hash_prefix=digits)
    except (OSError, RuntimeError) as error:  # RuntimeError: the hash is another one
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection open
        raise CheckpointError(
            f"{WEIGHTS_URL}: the download failed ({' '.join(str(error).split()) or type(error).__name__}); "
            f"put the file at {named} by other means, or pass the path of a local copy as weights"
        ) from error
    return file


def _load_file(path: Path) -> Encodec48kHz:
    if path.suffix == ".safetensors":
        _check_record(path)
        return _codec_from(_read_safetensors(path), path)
    _check_digits(_digest(path), path)
    return _codec_from(_read_pickle(path, path), path)


def _load_and_keep(file: Path, named: Path, kept: Path) -> Encodec48kHz:
    """Load ``file``, which errors call ``named``, and leave it as ``kept`` with its record beside it."""
    digest = _digest(file)
    _check_digits(digest, named)
    codec = _codec_from(_read_pickle(file, named), named)
    try:
        with replacing(kept) as temporary:
            # Not save_file: it makes a file that only its owner can read, and a cache may be shared.
            temporary.write_bytes(safetensors.torch.save(codec.state_dict()))
            record = {"file": named.name, "sha256": digest, "safetensors_sha256": sha256_of(temporary)}
        # The record comes last: without it the pair does not count as kept.
        with replacing(_record_of(kept)) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{kept}: cannot be written ({reason(error)}); {_OTHER_CACHE}") from error
    return codec


def _digest(path: Path) -> str:
    try:
        require_regular(path, _LARGEST)
        return sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"{shown(path)}: cannot be read ({reason(error)}); check the path") from error


def _codec_from(state: Mapping[str, Tensor], path: Path) -> Encodec48kHz:
    try:
        return Encodec48kHz(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; get the file again from {WEIGHTS_URL}") from error


def _check_state(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ``CheckpointError`` unless ``state`` fits ``wanted`` in keys and shapes and is finite."""
    problems = {
        "lacks": [key for key in wanted if key not in state],
        "has unexpected": [key for key in state if key not in wanted],
        "has another shape or type for": [
            key
            for key, value in state.items()
            if key in wanted
            and (value.shape != wanted[key].shape or not value.is_floating_point() or value.layout != torch.strided)
        ],
    }
    for problem, keys in problems.items():
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise CheckpointError(f"is not a 48 kHz EnCodec: it {problem} {keys[0]}{more}")
    for key, value in state.items():
        if not all_finite(value):
            raise CheckpointError(f"holds NaN or infinite values in {key}")


def _read_pickle(file: Path, named: Path) -> Mapping[str, Tensor]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _LARGEST:
            raise CheckpointError(f"{shown(named)}: unpacks to {unpacked:,} bytes, more than a 48 kHz EnCodec has")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        raise CheckpointError(
            f"{named}: refused, because it is damaged or holds more than plain tensors, which could run code "
            f"({type(error).__name__}); get the file again from {WEIGHTS_URL}"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{named}: is not a mapping from names to tensors; get the file from {WEIGHTS_URL}")
    return state


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        require_regular(path, _LARGEST)
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as safetensors ({' '.join(str(error).split())}); "
            f"remove it, and get the weights again from {WEIGHTS_URL}"
        ) from error


def _check_digits(digest: str, named: Path) -> None:
    """Compare a SHA-256 with the digits in a ``name-XXXXXXXX.th``; other names promise nothing."""
    digits = _digits_in(named)
    if digits and not digest.startswith(digits):
        raise CheckpointError(
            f"{named}: its SHA-256 begins with {digest[:8]}, its name says {digits}: it is damaged; "
            f"get the file again from {WEIGHTS_URL}"
        )


def _digits_in(path: Path) -> str | None:
    found = re.search(r"-([0-9a-f]{8})\.th$", path.name)
    return found[1] if found else None


def _record_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _check_record(path: Path) -> None:
    """Compare a safetensors file with the record beside it, where there is one."""
    record = _record_of(path)
    if not record.is_file():
        return
    remedy = f"remove it and {path.name} to get the weights again"
    said = read_json(record, CheckpointError, remedy)
    wanted = said.get("safetensors_sha256") if isinstance(said, dict) else None
    if not isinstance(wanted, str):
        raise CheckpointError(f"{record}: not a record of a SHA-256; {remedy}")
    if _digest(path) != wanted:
        raise CheckpointError(
            f"{path}: its SHA-256 is not the recorded one; remove it and {record.name} to get it again"
        )
