"""Who may open a page over a network: a secret link for each name, of which only a hash is kept."""

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from ldm_sep.errors import ConfigError, unwritable
from ldm_sep.files import replacing
from ldm_sep.records import read_json


class Tokens:
    """Names by the SHA-256 of their tokens."""

    def __init__(self, hashes: dict[str, str]) -> None:
        self._names = {value: name for name, value in hashes.items()}

    def name_of(self, token: str) -> str | None:
        """The name that ``token`` was made for, or None."""
        return self._names.get(_hashed(token))


def load_tokens(path: Path, names: Sequence[str]) -> tuple[Tokens, dict[str, str]]:
    """Tokens for ``names`` from the file at ``path``, and in plain text those that were made just now.

    A name that has no token in the file gets one of 128 random bits; the file holds hashes, so a plain token is seen
    once. To give somebody a new link, delete the name's line. ConfigError if the file cannot be read or written.
    """
    hashes = _read(path) if path.exists() else {}
    made = {name: secrets.token_urlsafe(16) for name in names if name not in hashes}
    if made:
        hashes |= {name: _hashed(token) for name, token in made.items()}
        with unwritable(ConfigError, path, "free space or name another folder"), replacing(path) as temporary:
            temporary.touch(0o600, exist_ok=False)
            temporary.write_text(json.dumps(hashes, indent=1, ensure_ascii=False), encoding="utf-8")
    return Tokens({name: hashes[name] for name in names}), made


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> dict[str, str]:
    remedy = "delete it to make new links for everybody"
    # Whoever deletes the last line of the table leaves the comma before it.
    table = read_json(path, ConfigError, remedy, mended=lambda text: re.sub(r",\s*}\s*$", "}", text))
    if not isinstance(table, dict) or not all(isinstance(value, str) and len(value) == 64 for value in table.values()):
        raise ConfigError(f"{path}: not a table of names and SHA-256 values; {remedy}")
    return table
