"""The paper's Table II: what others measured, on other data unless yours is the test part of MUSDB18-HQ.

These rows are only ever printed under a heading of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

HEADING = "Published, other data unless yours is MUSDB18-HQ test"
SOURCE = (
    "Table II of the LDM-dmx paper (MUSDB18-HQ test, voiced frames; its F0 tracker and its dB reference for Mel-MAE "
    "are not stated, so those columns compare only roughly)."
)


@dataclass(frozen=True)
class PublishedRow:
    """One system of the table: millions of parameters, seconds for a 12 s chunk on the authors' GPU, and its scores
    by metric key.
    """

    name: str
    parameters_m: float | None
    seconds: float | None
    scores: Mapping[str, float]


def _row(
    name: str, parameters: float | None, seconds: float | None, lsd: float, mel: float, f0: float, pesq: float
) -> PublishedRow:
    scores = {"lsd": lsd, "mel_mae": mel, "log_f0_rmse": f0, "pesq": pesq}
    return PublishedRow(name, parameters, seconds, MappingProxyType(scores))


PUBLISHED: tuple[PublishedRow, ...] = (
    _row("IRM (oracle)", None, None, 0.64, 1.84, 0.119, 2.98),
    _row("InstGlow", 15, 16.50, 2.17, 8.40, 0.268, 1.17),
    _row("MSDM", 405, 11.95, 2.08, 8.21, 0.369, 1.16),
    _row("LDM-dmx", 116, 1.74, 1.30, 6.43, 0.198, 1.29),
    _row("BS-RNN", 36, None, 1.41, 6.94, 0.187, 1.98),
    _row("H-Demucs", 346, 0.40, 1.01, 5.11, 0.172, 1.82),
)
