"""Sample-rate conversion of streams, exact in length and independent of the blocking."""

import numpy as np
import soxr

# soxr's 28-bit quality, at the measured cost of its 20-bit one. Up to half the lower Nyquist frequency the
# error is at least 110 dB below the signal, near float32's rounding for common rates; up to 0.9 of it the
# filter's slope costs at most 0.01 dB. A mixture that is converted there and back loses nothing audible.
_QUALITY = "VHQ"
# Two conversions round a length: from 48 kHz to 8 kHz and back by up to six samples. Lengths that differ by no more are
# equal.
LENGTH_TOLERANCE = 8


def of_length(wave: np.ndarray, frames: int) -> np.ndarray:
    """``wave (C, T)`` as ``(C, frames)``: cut at its end, or continued by silence."""
    return np.pad(wave[:, :frames], ((0, 0), (0, max(0, frames - wave.shape[1]))))


def as_stereo(wave: np.ndarray) -> np.ndarray:
    """``wave (C, T)``, a single channel doubled."""
    return np.repeat(wave, 2, axis=0) if wave.shape[0] == 1 else wave


class StreamResampler:
    """Converts a stream of blocks from ``rate_in`` to ``rate_out`` Hz, without delay: sample 0 stays at time 0.

    A windowed-sinc filter with linear phase (soxr). All output together has exactly ``resampled_length(T, rate_in,
    rate_out)`` samples, bit by bit the same however the input is cut into blocks. Memory does not grow with the
    duration, nor with the size of the rates' fraction in lowest terms. Equal rates pass the samples through unchanged.
    ValueError if a rate or the number of ``channels`` is less than 1.
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        if min(rate_in, rate_out, channels) < 1:
            raise ValueError(f"rates {rate_in}, {rate_out} Hz and {channels} channels must be positive")
        self._rates = rate_in, rate_out
        self._channels = channels
        self._taken = self._given = 0
        self._flushed = False
        self._stream = soxr.ResampleStream(rate_in, rate_out, channels, "float32", _QUALITY)

    def push(self, block: np.ndarray) -> np.ndarray:
        """Take a block, float32 ``(C, T)``, T from 0; return what is ready, float32 ``(C, T')``, T' from 0.

        ValueError if the block has another number of channels, or the stream has been flushed.
        """
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise ValueError(f"a block of shape {block.shape} is not ({self._channels}, T)")
        return self._convert(block, last=False)

    def flush(self) -> np.ndarray:
        """End the stream; return the rest of the output, float32 ``(C, T')``. ValueError if it has ended before."""
        given = self._given
        rest = self._convert(np.empty((self._channels, 0), np.float32), last=True)
        # soxr's own rounding of the total is not documented.
        missing = resampled_length(self._taken, *self._rates) - given
        return of_length(rest, missing)

    def _convert(self, block: np.ndarray, last: bool) -> np.ndarray:
        if self._flushed:
            raise ValueError("nothing goes in after flush: make a new StreamResampler for the next signal")
        self._flushed = last
        self._taken += block.shape[1]
        if self._rates[0] == self._rates[1]:
            out = block.astype(np.float32)
        else:
            ready = self._stream.resample_chunk(np.ascontiguousarray(block.T, np.float32), last=last)
            out = np.ascontiguousarray(ready.T)
        self._given += out.shape[1]
        return out


def resampled_length(frames: int, rate_in: int, rate_out: int) -> int:
    """``floor(frames * rate_out / rate_in + 1/2)``, in exact integer arithmetic."""
    return (2 * frames * rate_out + rate_in) // (2 * rate_in)


def resample(wave: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Convert a whole signal, float32 ``(C, T)``, as `StreamResampler` does.

    ValueError if a rate is less than 1, or ``wave`` has no channels or another number of dimensions.
    """
    if wave.ndim != 2:
        raise ValueError(f"a wave of shape {wave.shape} is not (C, T)")
    resampler = StreamResampler(rate_in, rate_out, wave.shape[0])
    return np.concatenate([resampler.push(wave), resampler.flush()], axis=1)
