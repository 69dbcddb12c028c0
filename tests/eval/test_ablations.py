"""Rows of the sampler's dials hold what the separator really does at that setting."""

import json
from pathlib import Path

import ablations
import numpy as np
import pytest
import torch

from ldm_sep.data.items import Item, read_items
from ldm_sep.method.level import normalising_gain
from ldm_sep.metrics import measure
from ldm_sep.separation.separator import Options, Separator


def test_rows_are_the_mean_scores_of_their_setting(
    trained: Path, stems_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    songs = [f"{split}/song {n} – ü" for n, split in ((0, "train"), (2, "valid"))]
    table = tmp_path / "items.csv"
    header = "group,vocals,vocals_start,accompaniment,accompaniment_start,gain_db,seconds\n"
    rows = "".join(f"known,{song}/vocals.wav,1,{song}/drums.wav,1,0,1.5\n" for song in songs)
    table.write_text(header + rows, encoding="utf-8")
    checkpoint = trained / "stage2/separator"
    out = tmp_path / "out"
    words = ["--data", stems_folder, "--items", table, "--name", checkpoint, "--device", "cpu", "--out", out]
    words += ["--against", f"first={trained / 'stage1/separator'}"]
    ablations.main([*map(str, words), "--metrics", "lsd", "--only", "T = 1"])
    separator = Separator.load(checkpoint, device="cpu")
    items = read_items(table, stems_folder, 16000, 160)

    def scores(options: Options) -> dict[str, float]:
        gains, distances = [], []
        for item in items:
            estimate = separator.separate(item.mixture, 16000, options).vocals
            after = measure(item.vocals, estimate, 16000, None, ("si_sdr", "lsd"))
            before = measure(item.vocals, item.mixture, 16000, None, ("si_sdr",))
            gains.append(after["si_sdr"].value - before["si_sdr"].value)
            distances.append(after["lsd"].value)
        return {"known/si_sdr_gain": float(np.mean(gains)), "known/lsd": float(np.mean(distances))}

    def alone(item: Item) -> tuple[np.ndarray, np.ndarray]:
        return separator.separate(item.accompaniment, 16000, Options(steps=1)).vocals, item.accompaniment

    record = json.loads((out / "ablations.json").read_text())
    by_name = {row["name"]: row["scores"] for row in record["rows"]}
    assert set(by_name) == {
        "T = 1",
        "T = 16",
        "T = 1, K = 4",
        *(f"T = 1, speed {speed}" for speed in (1.0, 1.25, 1.5, 1.75)),
        "T = 1, no texture from the mixture",
        "T = 1, no codec residual",
        "T = 1, phase of the mixture",
        "T = 1, Wiener mask on the mixture",
        "first",
    }
    for name, options in {"T = 16": Options(steps=16), "T = 1, speed 1.5": Options(steps=1, speeds=(1.5,))}.items():
        expected = scores(options)
        assert {key: by_name[name][key] for key in expected} == pytest.approx(expected)
    separator = Separator.load(trained / "stage1/separator", device="cpu")
    assert by_name["first"]["known/lsd"] == pytest.approx(scores(Options())["known/lsd"])
    separator = Separator.load(checkpoint, device="cpu")
    plain = by_name["T = 1"]
    for part in ("no texture from the mixture", "no codec residual"):
        assert plain["known/lsd"] != by_name[f"T = 1, {part}"]["known/lsd"]
    # Every part is put back after its row.
    once, metrics = Options(steps=1), ("si_sdr", "lsd")
    rows = [ablations.Setting("", once, parts) for parts in ({}, {"refiner": None}, {})]
    first, other, again = (ablations.score(separator, items, row, metrics).scores["known/lsd"] for row in rows)
    assert first == again == pytest.approx(plain["known/lsd"]) != other
    under = [10 * np.log10(np.square(v).mean() / np.square(a).mean()) for v, a in (alone(i) for i in items)]
    assert plain["known/voiceless"] == pytest.approx(np.mean(under), abs=1e-6)
    lost = [item.vocals - separator.separate(item.vocals, 16000, Options(steps=1)).vocals for item in items]
    ratios = [np.square(v).mean() / np.square(item.vocals).mean() for v, item in zip(lost, items, strict=True)]
    assert plain["known/lost"] == pytest.approx(np.mean(10 * np.log10(ratios)), abs=1e-6)
    assert (out / "ablations.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert f"| T = 16 | {by_name['T = 16']['known/si_sdr_gain']:.2f} |" in printed


def test_without_diffusion_the_predictors_estimate_remains(trained: Path) -> None:
    separator = Separator.load(trained / "stage2/separator", device="cpu")
    rows = {row.name: row for row in ablations.settings(Options(), separator)}
    model = separator.model
    mixture = 0.1 * torch.randn(1, 2, 16000, generator=torch.Generator().manual_seed(0))
    level = mixture * normalising_gain(mixture)
    for name, part in rows["predictor alone"].parts.items():
        setattr(model, name, part)
    model.refiner = None
    noise = torch.randn(1, 32, 100, generator=torch.Generator().manual_seed(1))
    expected = model.predictor(level) / normalising_gain(mixture)
    torch.testing.assert_close(model.separate(mixture, [noise], 1), expected, atol=1e-5, rtol=0)


def test_an_oracles_sample_is_as_far_from_the_posterior_mean_as_the_truth(trained: Path) -> None:
    separator = Separator.load(trained / "stage2/separator", device="cpu")
    model, once = separator.model, Options(steps=1)
    generator = torch.Generator().manual_seed(0)
    vocals = 0.1 * torch.randn(2, 16000, generator=generator)
    mixture = vocals + 0.1 * torch.randn(2, 16000, generator=generator)
    waves = mixture.numpy(), vocals.numpy()
    samples = {s: ablations.sample_of_true_spread(separator, *waves, once, s) for s in (0.0, 0.5, 1.0)}
    np.testing.assert_allclose(samples[0.0], separator.separate(waves[0], 16000, once).vocals, atol=1e-5)
    away = [np.square(samples[s] - samples[0.0]).mean() for s in (0.5, 1.0)]
    assert 0 < 3 * away[0] < away[1]
    # What reaches the decoder: latents whose mean square distance from the mean is the truth's.
    seen = []
    model.render = lambda z0, *_: seen.append(z0) or mixture[None]
    for spread in (0.0, 1.0):
        ablations.sample_of_true_spread(separator, *waves, once, spread)
    mean, drawn = seen
    truth = model.encode(vocals[None] * normalising_gain(mixture[None]))
    assert (drawn - mean).square().mean() == pytest.approx(float((truth - mean).square().mean()), rel=0.1)


def test_what_the_mixture_lends_is_its_phase_or_its_bins() -> None:
    generator = torch.Generator().manual_seed(0)
    vocals, rest = (0.1 * torch.randn(1, 2, 16384, generator=generator) for _ in range(2))
    rest[..., 8192:] = 0
    mixture = vocals + rest
    phase, wiener = (ablations.FromMixture(kind)(vocals, mixture) for kind in ("phase", "wiener"))
    # Where the vocals are alone, both give them back.
    for result in (phase, wiener):
        torch.testing.assert_close(result[..., 10240:15360], vocals[..., 10240:15360], atol=1e-5, rtol=0)
    error = {name: (w - vocals)[..., 1024:7168].norm() for name, w in (("phase", phase), ("wiener", wiener))}
    # The mask halves what is not the vocals'; the phase of a mixture of equals is wrong by 45 degrees on average.
    assert error["wiener"] < 0.8 * (mixture - vocals)[..., 1024:7168].norm()
    assert error["phase"] > error["wiener"]
    # Negative vocals have the same magnitude: the mixture's phase turns them round.
    again = ablations.FromMixture("phase")(-vocals, mixture)
    torch.testing.assert_close(again, phase, atol=1e-5, rtol=0)
