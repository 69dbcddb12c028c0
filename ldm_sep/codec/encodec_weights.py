"""Where the weights of Meta's 48 kHz EnCodec are: in a file the caller names, in a cache folder or at Meta's address.

A ``name-XXXXXXXX.th`` carries the first 8 hex digits of its own SHA-256, which are compared before it is opened.
"""

import os
import re
import sys
import urllib.error
from collections.abc import Mapping
from contextlib import redirect_stdout
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldm_sep.codec.encodec_48khz import Encodec48kHz
from ldm_sep.errors import CheckpointError, reason
from ldm_sep.files import require_regular, sha256_of
from ldm_sep.records import read_pickled

WEIGHTS_URL = "https://dl.fbaipublicfiles.com/encodec/v0/encodec_48khz-7e698e3e.th"
# Bytes, of the file and of what it unpacks to; the published one has 76 million.
_LARGEST = 256 << 20


def load_encodec_48khz(weights: Path | None = None) -> Encodec48kHz:
    """The pretrained codec, on the CPU, in evaluation mode.

    ``weights`` is a local copy of the published file. Without it the file is that of ``default_cache()``, where it is
    downloaded to from ``WEIGHTS_URL`` if it is not there yet.

    Pickled code is never run. CheckpointError for a file that is missing, too large, damaged, not what its name says
    or of another network, and for a download that fails, which leaves nothing in the cache.
    """
    path = default_cache() / WEIGHTS_URL.rsplit("/", 1)[-1] if weights is None else Path(weights)
    state = _downloaded(path) if weights is None and not path.exists() else _read(path)
    again = f"get the file again from {WEIGHTS_URL}"
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: is not a mapping from names to tensors; {again}")
    try:
        return Encodec48kHz(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; {again}") from error


def default_cache() -> Path:
    """The folder of ``LDM_SEP_CACHE``, else ``ldm_sep`` in the user's cache folder (``~/.cache``)."""
    if chosen := os.environ.get("LDM_SEP_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ldm_sep"


def _downloaded(path: Path) -> Any:
    """What Meta's file holds, which is at ``path`` from now on, whole and with the hash that its name says."""
    try:
        # Standard output may be a stem.
        with redirect_stdout(sys.stderr):
            return torch.hub.load_state_dict_from_url(
                WEIGHTS_URL, str(path.parent), map_location="cpu", check_hash=True, weights_only=True
            )
    except (OSError, HTTPException, RuntimeError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection open
        raise CheckpointError(
            f"{WEIGHTS_URL}: the download to {path} failed ({reason(error)}); "
            "put the file there by other means, choose another cache folder with LDM_SEP_CACHE, or name a local copy "
            "with --codec-weights"
        ) from error


def _read(path: Path) -> Any:
    """What a local file holds, if it is what its name says; names without digits promise nothing."""
    try:
        require_regular(path, _LARGEST)
        found, digits = sha256_of(path), re.search(r"-([0-9a-f]{8})\.th$", path.name)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)}); check the path") from error
    if digits and not found.startswith(digits[1]):
        raise CheckpointError(
            f"{path}: its SHA-256 begins with {found[:8]}, its name says {digits[1]}: it is damaged; "
            f"remove it, and get it again from {WEIGHTS_URL}"
        )
    try:
        return read_pickled(path, _LARGEST)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: refused, {reason(error)}; get the file again from {WEIGHTS_URL}") from error
