"""Table I on two tiny tracks, against what noise must do."""

import json
import math
import warnings
from pathlib import Path

import codec_robustness
import numpy as np
import pytest
import soundfile
import torch
from quantiser import ResidualQuantiser
from small_codecs import LevelLosingCodec

from ldm_sep.audio import read
from ldm_sep.checkpoint.reading import load_codec
from ldm_sep.errors import DataError


@pytest.fixture(scope="module")
def record(trained: Path, stems_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("robustness")
    codec = trained / "stage2/separator"
    words = ["--vocals", stems_folder / "train", "--name", codec, "--seconds", 2, "--segment", 0.5]
    codec_robustness.main(
        [*map(str, words), "--codebooks", "2", "--codebook-size", "8", "--device", "cpu", "--out", str(out)]
    )
    assert (out / "codec_robustness.png").stat().st_size > 1000
    return json.loads((out / "codec_robustness.json").read_text())


def test_the_identity_row_is_the_definition(record: dict, stems_folder: Path) -> None:
    expected = []
    for file in sorted((stems_folder / "train").glob("*/vocals.wav")):
        wave = np.repeat(read(file)[0][:, :32000], 2, 0).astype(np.float64)
        energy = (wave**2).sum()
        expected.append([10 * math.log10((energy + 1e-7) / (wave.size * s**2 + 1e-7)) for s in (0.01, 0.1, 1.0)])
    assert record["tracks"]["n"] == len(expected) == 2
    assert [len(column) for column in record["sdr_by_track"]["Identity"]] == [2] * 6
    assert record["sdr"]["Identity"][3:] == pytest.approx(np.mean(expected, 0), abs=0.05)


def test_noise_costs_and_quantisation_costs(record: dict) -> None:
    rows = record["sdr"]
    for name in ("NQ", "BQ", "Identity"):
        assert rows[name][5] < rows[name][4] < rows[name][0] + 0.01
    assert rows["BQ"][0] < rows["NQ"][0]
    assert "fitted here" in record["quantiser"]


def test_truncated_indices_fall_at_the_least_noise_and_rounded_ones_do_not(record: dict) -> None:
    rows = record["sdr"]
    assert rows["AQ, rounded"][1] == rows["AQ, rounded"][0] == rows["AQ, truncated"][0] == rows["BQ"][0]
    assert rows["AQ, truncated"][1] < rows["AQ, truncated"][0] - 1
    moved = record["moved_indices"]
    assert moved["AQ, rounded"][:2] == [0, 0] and moved["AQ, truncated"][0] == 0
    # Negative noise truncates an index to the one below; index 0 is clamped.
    assert 0.2 < moved["AQ, truncated"][1] < 0.51


def test_truncation_moves_every_index_with_negative_noise() -> None:
    codes = 7 + torch.arange(10000).view(1, 1, -1) % 2
    noise = torch.randn(1, 1, 10000, generator=torch.Generator().manual_seed(1))
    moved = codec_robustness.noisy_codes(codes, 1e-6, noise, torch.trunc, 32)
    assert torch.equal(moved, codes - (noise < 0).long())
    assert torch.equal(codec_robustness.noisy_codes(codes, 1e-6, noise, torch.round, 32), codes)


def test_latent_noise_is_relative_to_the_latents() -> None:
    z = 40 * torch.randn(2, 8, 5000, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 8, 5000, generator=torch.Generator().manual_seed(1))
    assert float((codec_robustness.noisy(z, 0.1, noise) - z).std()) == pytest.approx(4.0, rel=0.02)


def test_the_pretrained_codecs_own_quantiser_is_used(tmp_path: Path) -> None:
    """With weights made here in the published file's format."""
    from ldm_sep.thirdparty import import_encodec

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        published = import_encodec().EncodecModel.encodec_model_48khz(pretrained=False)
    torch.manual_seed(0)
    for layer in published.quantizer.vq.layers:
        layer._codebook.embed.normal_()
    weights = tmp_path / "made_here.th"
    torch.save(published.state_dict(), weights)
    kind, _, own = codec_robustness.load("encodec_48khz", weights, torch.device("cpu"))
    assert kind == "encodec_48khz" and own.size == 1024 and own.stages == len(published.quantizer.vq.layers)
    z = torch.randn(1, 128, 7)
    with torch.no_grad():
        published.eval()
        # The package's own model at its highest bandwidth uses all codebooks.
        codes = published.quantizer.encode(z, 150, 24.0)
        assert torch.equal(own.encode(z), codes)
        assert torch.equal(own.decode(codes), published.quantizer.decode(codes))


def test_the_codec_of_a_checkpoint_without_noise_is_its_round_trip(trained: Path, stems_folder: Path) -> None:
    _, codec, _ = load_codec(trained / "stage2/separator")
    wave = np.repeat(read(stems_folder / "valid/song 2 – ü/vocals.wav")[0][:, : 160 * 100], 2, 0)
    quantiser = ResidualQuantiser(torch.zeros(1, 1, codec.latent_channels))
    ours, moved = codec_robustness.contaminate(
        codec, quantiser, "NQ", wave, list(codec_robustness.pieces(codec, wave, 1.0)), 0.0
    )
    assert moved is None
    with torch.no_grad():
        x = torch.from_numpy(wave)[None]
        gain = 0.1 / x.square().mean().sqrt()
        expected = codec.decode(codec.encode(x * gain)) / gain
    np.testing.assert_allclose(ours, expected[0].numpy(), atol=1e-5)


def test_every_window_is_heard_at_the_level_the_codec_was_made_for() -> None:
    codec = LevelLosingCodec()
    wave = 0.01 * np.random.default_rng(0).standard_normal((2, 16000)).astype(np.float32)
    windows = list(codec_robustness.pieces(codec, wave, 0.5))
    assert len(windows) == 2
    for piece in windows:
        part = torch.from_numpy(wave[:, piece.start : piece.start + piece.length])[None]
        mono = part.mean(1).square().mean().sqrt()
        torch.testing.assert_close(piece.z, codec.encode(2 * part / mono).detach(), rtol=1e-3, atol=1e-4)
    out, _ = codec_robustness.contaminate(codec, None, "NQ", wave, windows, 0.0)
    # What brought it there is undone after decoding.
    piece = windows[1]
    expected = codec.decode(piece.z) / piece.gain
    np.testing.assert_allclose(out[:, piece.start :], expected[0].detach().numpy(), rtol=1e-5, atol=1e-7)


def test_silent_tracks_are_left_out_and_named(trained: Path, tmp_path: Path) -> None:
    vocals = tmp_path / "vocals"
    vocals.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal((16000, 2))
    soundfile.write(vocals / "sung.wav", noise, 16000)
    soundfile.write(vocals / "instrumental.wav", 0 * noise, 16000)
    words = ["--vocals", vocals, "--name", trained / "stage2/separator", "--codebooks", 1, "--codebook-size", 4]
    codec_robustness.main([*map(str, words), "--device", "cpu", "--out", str(tmp_path / "out")])
    record = json.loads((tmp_path / "out/codec_robustness.json").read_text())
    assert record["tracks"]["names"] == ["sung"] and record["silent_tracks"] == ["instrumental"]
    (vocals / "sung.wav").unlink()
    with pytest.raises(DataError, match="every track is silent"):
        codec_robustness.main([*map(str, words), "--device", "cpu", "--out", str(tmp_path / "out")])
