"""Mel bands against librosa, which has both scales."""

from types import ModuleType

import numpy as np
import pytest

from ldm_sep.signal.mel import htk_edges, slaney_edges, triangles


@pytest.mark.parametrize(("rate", "n_fft", "bands"), [(44100, 2048, 80), (16000, 1024, 40)])
def test_bands_are_librosas_on_both_scales(librosa: ModuleType, rate: int, n_fft: int, bands: int) -> None:
    hz = np.arange(n_fft // 2 + 1) * rate / n_fft
    for edges, htk in ((slaney_edges(rate / 2, bands), False), (htk_edges(rate / 2, bands), True)):
        theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands, htk=htk, norm=None, dtype=np.float64)
        np.testing.assert_allclose(triangles(edges, hz), theirs, atol=1e-9)


def test_no_band_falls_between_two_bins_where_each_reaches_the_next() -> None:
    hz, edges = np.linspace(0, 8000, 33), htk_edges(8000, 40)
    assert not triangles(edges, hz).any(1).all()
    wide = triangles(edges, hz, 250.0)
    assert (wide.max(1) >= 0.5).all() and ((wide > 0).sum(1)[:20] <= 2).all()
