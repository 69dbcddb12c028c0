"""What a metric is and what it yields."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Score:
    """A number, or the ``reason`` in one line why there is none. Exactly one of the two is None."""

    value: float | None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a score has either a value or a reason")


@dataclass(frozen=True)
class Metric:
    """A metric's name in records (``key``) and in tables (``label``), its unit, which way is better, and what it is."""

    key: str
    label: str
    unit: str
    better: Literal["higher", "lower", "nearer 0"]
    definition: str


_ON_ACTIVE = "over the active frames (within 40 dB of the reference's loudest)"

METRICS: tuple[Metric, ...] = (
    Metric(
        "sdr",
        "SDR",
        "dB",
        "higher",
        "10 log10((sum s^2 + 1e-7) / (sum (s - e)^2 + 1e-7)) over the whole track and all channels.",
    ),
    Metric(
        "csdr",
        "cSDR",
        "dB",
        "higher",
        "Median of SDR over the track's whole 1 s windows, without those in which the reference is digital silence.",
    ),
    Metric(
        "si_sdr",
        "SI-SDR",
        "dB",
        "higher",
        "10 log10(|a s|^2 / |a s - e|^2) with a = <s, e> / <s, s>, over all channels together, no mean removed.",
    ),
    Metric(
        "lsd",
        "LSD",
        "log10",
        "lower",
        "Mean over frames of sqrt(mean over bins of log10(R^2 / (E^2 + 1e-12) + 1e-12)^2), R and E the magnitudes of "
        f"the mono sums, Hann frames of 2048 / 44100 s every 10 ms, {_ON_ACTIVE}.",
    ),
    Metric(
        "mel_mae",
        "Mel-MAE",
        "dB",
        "lower",
        "Mean absolute difference of 80-band mel spectra (2048 / 512, mono) in dB under each signal's own maximum, "
        f"80 dB deep, {_ON_ACTIVE}.",
    ),
    Metric(
        "mel_mae_1",
        "Mel-MAE (ref 1)",
        "dB",
        "lower",
        f"As Mel-MAE, in dB under 1 and so with the level counted, {_ON_ACTIVE}.",
    ),
    Metric(
        "log_f0_rmse",
        "log-F0 RMSE",
        "ln",
        "lower",
        "Root mean square of ln(f_e / f_s) over the frames that pYIN (65-1047 Hz, mono) finds voiced in both.",
    ),
    Metric(
        "voicing_recall",
        "Voicing recall",
        "",
        "higher",
        "Share of the frames that pYIN finds voiced in the reference which it finds voiced in the estimate too: in how "
        "many the log-F0 RMSE compares.",
    ),
    Metric(
        "pesq",
        "PESQ",
        "MOS-LQO",
        "higher",
        "ITU-T P.862.2 wide-band at 16 kHz, mono, mean over the 10 s segments in which the reference is active for a "
        "second or more.",
    ),
    Metric(
        "mr_stft",
        "MR-STFT",
        "-",
        "lower",
        "Spectral convergence plus mean |ln R - ln E|, averaged over frames of 600, 1200 and 240 samples (FFT 1024, "
        "2048, 512), as auraloss's MultiResolutionSTFTLoss; all channels, whole track.",
    ),
    Metric(
        "bleed",
        "Bleed",
        "dB",
        "lower",
        "Level of the estimate relative to the mixture where the reference is silent (100 ms frames more than 60 dB "
        "below its loudest, 0.5 s of them or more).",
    ),
    Metric(
        "air",
        "Air",
        "dB",
        "nearer 0",
        "Level of the estimate above 5 kHz relative to the reference there, in the frames in which the rest of the "
        "mixture is active: 0 is right, below it some was lost, above it there is too much.",
    ),
    Metric(
        "visqol",
        "ViSQOL",
        "MOS-LQO",
        "higher",
        "ViSQOL v3 audio mode at 48 kHz, mono, mean over the same segments as PESQ.",
    ),
)

# Only when asked for: one is slow, the other says where a loss comes from, not how large it is.
_ASKED_FOR = ("air", "visqol")
DEFAULT_METRICS: tuple[str, ...] = tuple(metric.key for metric in METRICS if metric.key not in _ASKED_FOR)
