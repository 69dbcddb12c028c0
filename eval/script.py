"""What the scripts of this folder share."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ldm_sep.errors import DataError, LdmSepError
from ldm_sep.files import sha256_of


def run_script(main: Callable[[], None], file: str) -> None:
    """Run ``main`` of the script ``file``; what a user can mend is one line, with exit code 1."""
    try:
        main()
    except LdmSepError as error:
        sys.exit(f"{Path(file).name}: {error}")


def items_digest(table: Path) -> str:
    """First 12 digits of the SHA-256 of a table of items: the same table, the same items. DataError without one."""
    try:
        return sha256_of(table)[:12]
    except OSError:
        raise DataError(f"{table}: no such table of validation items") from None


def level_under(part: np.ndarray, whole: np.ndarray) -> float:
    """Level of ``part`` relative to ``whole``, waves of equal shape, in dB; silence counts as -120 dBFS."""
    return float(10 * np.log10((np.square(part).mean() + 1e-12) / np.square(whole).mean()))
