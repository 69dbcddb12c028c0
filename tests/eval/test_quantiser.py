"""Residual vector quantisation of latents."""

import torch
from quantiser import ResidualQuantiser, fit_quantiser


def test_more_codebooks_leave_less_of_a_residual() -> None:
    z = torch.randn(6, 3000, generator=torch.Generator().manual_seed(0))
    errors = []
    for stages in (1, 2, 4):
        quantiser = fit_quantiser(z, stages, 16, seed=0)
        codes = quantiser.encode(z[None])
        assert codes.shape == (stages, 1, 3000) and int(codes.max()) < 16
        errors.append(float((quantiser.decode(codes) - z[None]).square().mean()))
    assert errors[0] > 1.3 * errors[1] > 1.5 * errors[2]
    # Frames that are codebook entries are coded without loss.
    exact = ResidualQuantiser(z.T[None, :16])
    assert torch.equal(exact.decode(exact.encode(z[None, :, :16])), z[None, :, :16])
