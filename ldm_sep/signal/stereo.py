"""Left and right as mid and side, for what hears both."""

import math

import torch
from torch import Tensor


def mid_side(stereo: Tensor) -> Tensor:
    """``stereo (B, 2, ...)``, left and right, to mid and side ``(L + R, L - R) / sqrt(2)`` of the same shape.

    Orthonormal, so power is kept and one loss scale serves both, and its own inverse.
    """
    a, b = stereo.unbind(1)
    return torch.stack([a + b, a - b], 1) * math.sqrt(0.5)
