"""matplotlib, as files need it."""

import os

from ldm_sep.errors import need_package


def need_matplotlib(purpose: str) -> None:
    """Import matplotlib, whatever MPLBACKEND says: a backend that does not exist would stop its import, and files need
    none. DependencyError that names ``purpose`` if it is not installed.
    """
    given = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "Agg"
    try:
        need_package(purpose, "matplotlib")
    finally:
        if given is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = given
