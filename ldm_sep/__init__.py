"""Generative singing-voice separation with latent diffusion: vocals and the exact remainder.

    import ldm_sep

    separator = ldm_sep.Separator.load("open")
    stems = separator.separate(wave, 44100, ldm_sep.Options(seed=0))  # wave (channels, samples)
    ldm_sep.separate_file("song.flac", "out/song")

Importing this package imports nothing heavy: what it offers is loaded when it is used.
"""

from typing import Any

__all__ = ["Options", "Separator", "Stems", "__version__", "separate_file"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ldm-sep")
    if name in __all__:
        from ldm_sep import separation

        return getattr(separation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
