"""Where the weights of Meta's 48 kHz EnCodec are.

They are looked for, in this order, at a path the caller names, in a cache folder and at Meta's address. A
``name-XXXXXXXX.th`` carries the first 8 hex digits of its own SHA-256; the whole file is hashed and compared before it
is opened.
"""

import http.client
import json
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from ldm_sep.codec.encodec_48khz import Encodec48kHz
from ldm_sep.errors import CheckpointError
from ldm_sep.files import reason, replacing, require_regular, sha256_of
from ldm_sep.records import read_json, read_pickled

WEIGHTS_URL = "https://dl.fbaipublicfiles.com/encodec/v0/encodec_48khz-7e698e3e.th"
# Bytes, of the file and of what it unpacks to; the published one has 76 million.
_LARGEST = 256 << 20
# Of a download: without a byte, and altogether.
_STALLED_SECONDS, _LONGEST_SECONDS = 30.0, 3600.0
_OTHER_CACHE = "choose another cache folder with LDM_SEP_CACHE, or pass the path of a local copy as weights"


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
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
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
    try:
        _fetch(WEIGHTS_URL, file)
        _check_digits(_digest(file), named)
    except (OSError, http.client.HTTPException, CheckpointError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection open
        raise CheckpointError(
            f"{WEIGHTS_URL}: the download failed ({' '.join(str(error).split()) or type(error).__name__}); "
            f"put the file at {named} by other means, or pass the path of a local copy as weights"
        ) from error
    return file


def _fetch(url: str, file: Path) -> None:
    """Write what is at ``url`` to ``file``. OSError if it is too much, stands still or takes too long."""
    from rich.console import Console
    from rich.progress import Progress

    deadline = time.monotonic() + _LONGEST_SECONDS
    with (
        urllib.request.urlopen(url, timeout=_STALLED_SECONDS) as response,
        file.open("wb") as out,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        announced = response.length
        task = bar.add_task(file.name, total=announced)
        # read1 returns with what there is: a server that sends byte by byte meets the deadline.
        while block := response.read1(1 << 20):
            out.write(block)
            bar.advance(task, len(block))
            if max(out.tell(), announced or 0) > _LARGEST:
                raise OSError(f"more than {_LARGEST:,} bytes")
            if time.monotonic() > deadline:
                raise OSError(f"not complete after {_LONGEST_SECONDS:g} s")


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
        raise CheckpointError(f"{path}: cannot be read ({reason(error)}); check the path") from error


def _codec_from(state: Mapping[str, Tensor], path: Path) -> Encodec48kHz:
    try:
        return Encodec48kHz(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; get the file again from {WEIGHTS_URL}") from error


def _read_pickle(file: Path, named: Path) -> Mapping[str, Tensor]:
    try:
        state = read_pickled(file, _LARGEST)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{named}: refused, {reason(error)}; get the file again from {WEIGHTS_URL}") from error
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
