"""Where a band ends."""

import torch

from ldm_sep.signal.band_limit import band_limited


def test_a_band_limit_leaves_what_is_below_and_takes_what_is_above() -> None:
    time = torch.arange(16000, dtype=torch.float64) / 16000
    low, high = (torch.sin(2 * torch.pi * f * time).expand(1, 2, -1) for f in (3000, 6000))
    limited = band_limited(low + high, 4500, 16000)
    torch.testing.assert_close(limited, low, atol=1e-3, rtol=0)
