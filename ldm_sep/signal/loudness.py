"""How loud waves are."""

from torch import Tensor


def rms(wave: Tensor) -> Tensor:
    """Root mean square (B,) over channels and samples of ``wave (B, C, T)``; of all channels, so anti-phase counts."""
    return wave.square().mean((1, 2)).sqrt()
