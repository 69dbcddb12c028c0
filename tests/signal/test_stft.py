"""The short-time Fourier transform in runs of frames, against that of torch."""

import pytest
import torch

from ldm_sep.signal.stft import RUN, istft_runs, stft_runs


def wave_of(samples: int) -> torch.Tensor:
    return torch.randn(2, 3, samples, generator=torch.Generator().manual_seed(samples))


# Shorter than a frame, a frame more than a run, and windows that are and are not a multiple of the hop.
@pytest.mark.parametrize("samples", [1, 100, 59 * RUN + 1, 5000])
@pytest.mark.parametrize(("length", "hop"), [(256, 64), (252, 59), (240, 120)])
def test_both_ways_are_those_of_torch(samples: int, length: int, hop: int) -> None:
    wave, window = wave_of(samples), torch.hann_window(length)
    flat = wave.flatten(0, 1)
    expected = torch.stft(flat, length, hop, window=window, pad_mode="constant", return_complex=True)
    runs = stft_runs(wave, window, hop)
    assert [run.shape[2] for run in runs[:-1]] == [RUN] * (len(runs) - 1)
    torch.testing.assert_close(torch.cat(runs, 2).flatten(0, 1).mT, expected, atol=1e-4, rtol=1e-5)
    # Masked spectra, which no wave has exactly.
    mask = torch.rand(expected.shape, generator=torch.Generator().manual_seed(0))
    masked = (run * part for run, part in zip(runs, mask.mT.unflatten(0, (2, 3)).split(RUN, 2), strict=True))
    back = torch.istft(expected * mask, length, hop, window=window, length=samples).unflatten(0, (2, 3))
    torch.testing.assert_close(istft_runs(masked, window, hop, samples), back, atol=1e-4, rtol=1e-4)


def test_there_and_back_is_the_wave_and_can_be_learned_through() -> None:
    wave, window = wave_of(3000).requires_grad_(), torch.hann_window(256)
    back = istft_runs(stft_runs(wave, window, 59), window, 59, 3000)
    torch.testing.assert_close(back, wave, atol=1e-5, rtol=0)
    back.square().sum().backward()
    torch.testing.assert_close(wave.grad, 2 * wave.detach(), atol=1e-4, rtol=0)


def test_spectra_of_another_length_are_refused() -> None:
    window = torch.hann_window(256)
    with pytest.raises(ValueError, match="5 frames, not 4"):
        istft_runs(stft_runs(wave_of(200), window, 64), window, 64, 256)
