"""The one place that imports the packages ``encodec`` and ``audio_diffusion_pytorch``.

Both import ``torchaudio`` at their top. Its wheel is often absent, or does not load beside the installed
torch (``OSError`` next to a CPU torch, ``RuntimeError`` next to one of another CUDA version), while the
networks of neither package use it. So the real torchaudio is tried first; where it does not load, a stand-in
takes its name in ``sys.modules`` while the package is imported, and whatever later reaches for it gets one
clear error.
"""

import importlib
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

from ldm_sep.errors import LdmSepError, reason

# Two threads that import at once must not take the stand-in away from each other.
_IMPORTING = threading.RLock()


def import_encodec() -> ModuleType:
    """The package ``encodec`` (arXiv 2210.13438), imported with or without a usable torchaudio.

    Raises ``LdmSepError`` with the ``pip install`` command where the package, or one it needs, is missing.
    """
    return _import_package("encodec", "encodec")


def import_audio_diffusion_pytorch() -> ModuleType:
    """The package ``audio_diffusion_pytorch``, imported with or without a usable torchaudio.

    Raises ``LdmSepError`` with the ``pip install`` command where the package, or one it needs, is missing.
    """
    return _import_package("audio_diffusion_pytorch", "audio-diffusion-pytorch")


def _import_package(name: str, distribution: str) -> ModuleType:
    """Import ``name``; its import-time warnings are not the caller's and are dropped."""
    with _IMPORTING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # A failing torchaudio costs seconds each time it is tried: not again once the package is there.
            if name in sys.modules:
                return importlib.import_module(name)
            with _torchaudio_or_stand_in(name):
                return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name == name:
                raise LdmSepError(f"the package {name} is not installed; run: pip install {distribution}") from error
            raise LdmSepError(
                f"the package {name} needs {error.name}, which is not installed; "
                f"run: pip install {distribution} {error.name}"
            ) from error
        except ImportError as error:
            raise LdmSepError(
                f"the package {name} does not import ({reason(error)}); "
                f"run: pip install --force-reinstall --no-deps {distribution}"
            ) from error


@contextmanager
def _torchaudio_or_stand_in(package: str) -> Iterator[None]:
    """Within the block ``import torchaudio`` succeeds: the real one where it loads, else a stand-in."""
    before = {name: sys.modules[name] for name in _torchaudio_names()}
    try:
        importlib.import_module("torchaudio")
        importlib.import_module("torchaudio.transforms")
    except Exception as error:  # a broken wheel may raise anything at all
        cause = f"{type(error).__name__}: {reason(error)}"
    else:
        yield
        return
    _put_torchaudio(_stand_ins(package, cause))
    try:
        yield
    finally:
        # Half-loaded leftovers of the failed attempt go too, so that a later try fails for the true reason.
        _put_torchaudio(before)


def _torchaudio_names() -> list[str]:
    return [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]


def _put_torchaudio(modules: dict[str, ModuleType]) -> None:
    for name in _torchaudio_names():
        del sys.modules[name]
    sys.modules.update(modules)


def _stand_ins(package: str, cause: str) -> dict[str, ModuleType]:
    """Empty ``torchaudio`` and ``torchaudio.transforms`` whose every use raises ``LdmSepError``."""

    def refuse(attribute: str) -> None:
        # Introspection (inspect, doctest, the import system) asks modules for dunder names and expects this.
        if attribute.startswith("__") and attribute.endswith("__"):
            raise AttributeError(attribute)
        raise LdmSepError(
            f"torchaudio is not usable here ({cause}); this function of {package} needs it: "
            "install the torchaudio built for your torch"
        )

    torchaudio, transforms = ModuleType("torchaudio"), ModuleType("torchaudio.transforms")
    for module in (torchaudio, transforms):
        module.__spec__ = ModuleSpec(module.__name__, loader=None, is_package=module is torchaudio)
        module.__dict__["__getattr__"] = refuse
    torchaudio.__dict__.update(__path__=[], transforms=transforms)
    return {module.__name__: module for module in (torchaudio, transforms)}
