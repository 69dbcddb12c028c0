"""A reference, with what several metrics, or several estimates, need of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from ldm_sep.metrics.signal import as_pcm16, blocks, centred_frames, check_wave, fault_of, hann, mono, power_spectra
from ldm_sep.metrics.tracker import Stretch, stretches_of, track_pitch
from ldm_sep.signal.mel import slaney_edges, triangles

# A frame is active if it lies within this many dB of the reference's loudest one.
_ACTIVE_RANGE_DB = 40.0
_SHORTEST_S = 0.25
_MEL_FRAME, _MEL_HOP, _MEL_BANDS = 2048, 512, 80


@dataclass(frozen=True, eq=False)
class ActiveFrames:
    """Which frames of a reference are active: ``mask (frames,)``, frame k centred on sample ``k * hop``."""

    mask: np.ndarray
    hop: int

    def at(self, centres: np.ndarray) -> np.ndarray:
        """Whether the frame nearest to each of the samples ``centres`` is active."""
        return self.mask[np.minimum(np.rint(centres / self.hop).astype(np.int64), len(self.mask) - 1)]


@dataclass(frozen=True, eq=False)
class Reference:
    """The wave ``(C, T)`` or ``(T,)`` of a reference. What metrics derive from it is computed at first need, and kept.

    ValueError for another number of axes or a rate below 8000 Hz.
    """

    wave: np.ndarray
    sample_rate: int

    def __post_init__(self) -> None:
        check_wave(self.wave, self.sample_rate)

    @classmethod
    def pcm16(cls, wave: np.ndarray, sample_rate: int) -> Self:
        """The reference as `measure` scores it: `as_pcm16` of ``wave``."""
        return cls(as_pcm16(wave), sample_rate)

    @cached_property
    def fault(self) -> str | None:
        """Why no metric is defined for this reference; None if they are."""
        if fault := fault_of(self.wave):
            return f"the reference {fault}"
        return None if self.wave.any() else "the reference is silent"

    def undefined(self, est: np.ndarray) -> str | None:
        """Why a metric on frames of ``est`` is undefined; None if it is not. ValueError if the shapes differ."""
        reason = self.undefined_on_frames(est)
        return reason or (None if est.any() else "the estimate is silent")

    def undefined_on_frames(self, est: np.ndarray) -> str | None:
        """As ``undefined``, for a metric on frames which a silent estimate does have."""
        if reason := self.undefined_on_samples(est):
            return reason
        if self.wave.shape[-1] < _SHORTEST_S * self.sample_rate:
            return f"shorter than {_SHORTEST_S} s"
        if not self.active.mask.any():
            return "the reference's channels cancel each other"
        return None

    def undefined_on_samples(self, est: np.ndarray) -> str | None:
        """As ``undefined``, for a metric on samples, which a short wave and a silent estimate do have."""
        if self.wave.shape != est.shape:
            raise ValueError(f"reference {self.wave.shape} and estimate {est.shape} differ in shape")
        if self.fault:
            return self.fault
        fault = fault_of(est)
        return fault and f"the estimate {fault}"

    @cached_property
    def mono(self) -> np.ndarray:
        """The mean of the channels ``(T,)``, float64."""
        return mono(self.wave)

    @cached_property
    def active(self) -> ActiveFrames:
        """See `active_frames`."""
        n_fft, hop = self._lsd_frame
        frames, window = centred_frames(self.mono, n_fft, hop), hann(n_fft) ** 2
        energy = np.concatenate([np.square(frames[block]) @ window for block in blocks(len(frames))])
        return ActiveFrames(energy > energy.max() * 10 ** (-_ACTIVE_RANGE_DB / 10), hop)

    @property
    def _lsd_frame(self) -> tuple[int, int]:
        return int(2048 * self.sample_rate / 44100), int(self.sample_rate / 100)

    def lsd_power_of(self, wave: np.ndarray) -> np.ndarray:
        """Power spectra ``(frames, bins)`` of a mono ``wave (T,)`` in the active frames."""
        return power_spectra(wave, *self._lsd_frame, self.active.mask)

    @cached_property
    def lsd_power(self) -> np.ndarray:
        """``lsd_power_of`` the reference itself."""
        return self.lsd_power_of(self.mono)

    def mel_power_of(self, wave: np.ndarray) -> np.ndarray:
        """Power ``(frames, 80)`` in mel bands of a mono ``wave (T,)``, 2048 / 512, in the frames that are active."""
        keep = self.active.at(np.arange(len(wave) // _MEL_HOP + 1) * _MEL_HOP)
        edges = slaney_edges(self.sample_rate / 2, _MEL_BANDS)
        hz = np.arange(_MEL_FRAME // 2 + 1) * self.sample_rate / _MEL_FRAME
        # Filters of unit area: white noise has the same level in all bands.
        filters = triangles(edges, hz) * (2 / (edges[2:] - edges[:-2]))[:, None]
        return power_spectra(wave, _MEL_FRAME, _MEL_HOP, keep) @ filters.T.astype(np.float32)

    @cached_property
    def mel_power(self) -> np.ndarray:
        """``mel_power_of`` the reference itself."""
        return self.mel_power_of(self.mono)

    @cached_property
    def pitch(self) -> list[Stretch]:
        """Fundamental frequency on the stretches with active frames, those without any pitch left out.

        ``DependencyError`` without librosa.
        """
        stretches = stretches_of(self.active.mask, self.active.hop / self.sample_rate)
        tracked = track_pitch(self.mono, self.sample_rate, stretches)
        return [stretch for stretch in tracked if np.isfinite(stretch.f0).any()]


def active_frames(ref: np.ndarray, sample_rate: int) -> ActiveFrames:
    """The frames in which ``ref (C, T)`` or ``(T,)`` sounds: within 40 dB of its loudest frame.

    Energy of the mono sum under a Hann window of 2048 / 44100 s, every 10 ms. The paper computes its metrics "on the
    voiced regions" and does not say how it finds them. We read: where there is singing, consonants included. A pitch
    tracker's voicing would leave out the consonants, which intelligibility hangs on, would cut what PESQ hears into
    splinters, and would make every metric depend on the tracker. None are active if ``ref`` is empty, silent or not
    finite. ValueError as for `Reference`.
    """
    reference = Reference(ref, sample_rate)
    if reference.fault:
        hop = reference._lsd_frame[1]
        return ActiveFrames(np.zeros(ref.shape[-1] // hop + 1, bool), hop)
    return reference.active
