"""Audio files and sample rates: block-wise reading, writing and resampling in constant memory."""

from ldm_sep.audio.info import AudioInfo
from ldm_sep.audio.reader import AudioReader, probe, read, survey
from ldm_sep.audio.resample import StreamResampler, as_stereo, of_length, resample, resampled_length
from ldm_sep.audio.writer import AudioWriter, Subtype, default_subtype, expected_bytes

__all__ = [
    "AudioInfo",
    "AudioReader",
    "AudioWriter",
    "StreamResampler",
    "Subtype",
    "as_stereo",
    "default_subtype",
    "expected_bytes",
    "of_length",
    "probe",
    "read",
    "resample",
    "resampled_length",
    "survey",
]
