"""What the scripts of this folder share."""

import sys
from collections.abc import Callable
from pathlib import Path

from ldm_sep.errors import LdmSepError


def run_script(main: Callable[[], None], file: str) -> None:
    """Run ``main`` of the script ``file``; what a user can mend is one line, with exit code 1."""
    try:
        main()
    except LdmSepError as error:
        sys.exit(f"{Path(file).name}: {error}")
