"""Separation metrics on numpy arrays ``ref, est (C, T)`` or ``(T,)``, samples at most about 1. Each yields a `Score`.

Conventions:

- Reference first. Shapes agree, or ValueError. What is undefined is a `Score` with a reason, never a number: no
  samples, NaN or infinity, a silent reference, too short a wave, a silent estimate (but for SDR and cSDR, which are
  then 0 dB by definition, bleed, and voicing recall, which is then 0).
- The single functions score the samples they are given. `measure` scores the 16-bit files that these would be
  (`as_pcm16`), as training does in its validation.
- Importing this package imports numpy alone. A metric that needs another package raises ``DependencyError`` with the
  command that installs it.
"""

from ldm_sep.metrics.distortion import bleed, csdr, sdr, si_sdr
from ldm_sep.metrics.measure import measure, scorers
from ldm_sep.metrics.optional import check_installed
from ldm_sep.metrics.perceptual import pesq, visqol
from ldm_sep.metrics.pitch import log_f0_rmse, voicing_recall
from ldm_sep.metrics.records import DEFAULT_METRICS, METRICS, Metric, Score
from ldm_sep.metrics.reference import ActiveFrames, Reference, active_frames
from ldm_sep.metrics.signal import as_pcm16, spectrogram
from ldm_sep.metrics.spectral import air, lsd, mel_mae, mel_mae_1, mr_stft

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "ActiveFrames",
    "Metric",
    "Reference",
    "Score",
    "active_frames",
    "air",
    "as_pcm16",
    "bleed",
    "check_installed",
    "csdr",
    "log_f0_rmse",
    "lsd",
    "measure",
    "mel_mae",
    "mel_mae_1",
    "mr_stft",
    "pesq",
    "scorers",
    "sdr",
    "si_sdr",
    "spectrogram",
    "visqol",
    "voicing_recall",
]
