"""Packages that only some metrics need."""

import importlib.util
import warnings
from collections.abc import Iterable
from types import ModuleType

from ldm_sep.errors import missing_package

# Metric -> (package, the name it is installed by).
_NEEDS = {
    "log_f0_rmse": ("librosa", "librosa"),
    "pesq": ("pesq", "pesq"),
    "visqol": ("visqol", "visqol-python"),
}


def check_installed(metrics: Iterable[str]) -> None:
    """``DependencyError`` if a package that one of ``metrics`` (keys) needs is not installed. Imports none of them."""
    for key in metrics:
        if key in _NEEDS and importlib.util.find_spec(_NEEDS[key][0]) is None:
            raise missing_package(f"the metric {key}", *_NEEDS[key])


def load_for(key: str) -> ModuleType:
    """The package that metric ``key`` needs, imported; its import-time warnings are not the caller's.

    Raises ``DependencyError`` if it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(_NEEDS[key][0])
        except ImportError as error:
            raise missing_package(f"the metric {key}", *_NEEDS[key]) from error
