"""Packages that only some metrics need."""

import importlib.util
import warnings
from collections.abc import Iterable
from types import ModuleType

from ldm_sep.errors import DependencyError, missing_package

# Metric -> packages.
_NEEDS = {
    "log_f0_rmse": ("librosa",),
    "voicing_recall": ("librosa", "mir_eval"),
    "pesq": ("pesq",),
    "visqol": ("visqol",),
}
# What pip calls them, where that is another name.
_DISTRIBUTIONS = {"visqol": "visqol-python"}


def check_installed(metrics: Iterable[str]) -> None:
    """``DependencyError`` if a package that one of ``metrics`` (keys) needs is not installed. Imports none of them."""
    for key in metrics:
        for package in _NEEDS.get(key, ()):
            if importlib.util.find_spec(package) is None:
                raise _missing(key, package)


def load_for(key: str, package: str) -> ModuleType:
    """A ``package`` that metric ``key`` needs, imported; its import-time warnings are not the caller's.

    Raises ``DependencyError`` if it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(package)
        except ImportError as error:
            raise _missing(key, package) from error


def _missing(key: str, package: str) -> DependencyError:
    return missing_package(f"the metric {key}", package, _DISTRIBUTIONS.get(package))
