"""The shipped checkpoints, on the shipped song: what `make demo` does, and that a voice comes out."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import ROOT, run_cli, run_here

from ldm_sep.audio import read
from ldm_sep.checkpoint.card import trainings
from ldm_sep.checkpoint.manifest import read_manifest
from ldm_sep.checkpoint.reading import load_separator, verify
from ldm_sep.checkpoint.writing import parameter_count
from ldm_sep.metrics import as_pcm16, lsd, si_sdr

DEMO_SI_SDR = 6.25
FOLDER = ROOT / "checkpoints/open"


def test_it_is_intact_small_and_says_what_it_is() -> None:
    assert set(verify(FOLDER)) == {"model.safetensors", "codec.safetensors"}
    manifest, separator = load_separator(FOLDER)
    assert parameter_count(separator) <= 15_000_000
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) <= 30e6
    assert len(manifest.facts["training_data"]) > 5
    # From the codec's training on, over means of weights and the post-filter, to the last stage of the networks.
    runs = trainings(manifest.facts)
    commands = [run["command"] for run in runs]
    assert commands[0].startswith("ldm-sep train-codec ") and "open_stage2.toml" in commands[-1]
    assert ["post_filter"] in [run["parts"] for run in runs]
    assert any(command.startswith("ldm-sep models average ") for command in commands)
    assert sum(command.startswith("ldm-sep train ") for command in commands) > 5
    # The rule by which it was chosen: better than doing nothing and than (L + R) / 2, by three metrics in every group.
    rows = {(row["group"], row["system"]): row["scores"] for row in manifest.facts["evaluation"]}
    groups = {group for group, _ in rows}
    assert groups == {"pair", "unseen", "known"}
    for group in groups:
        for baseline in ("mixture", "karaoke"):
            own, other = rows[group, "open"], rows[group, baseline]
            for label, better in (("SI-SDR, dB", 1), ("LSD, log10", -1), ("MR-STFT", -1)):
                assert better * own[label][0] > better * other[label][0], (group, baseline, label)


def test_the_readme_tells_what_the_card_says() -> None:
    _, separator = load_separator(FOLDER)
    rows = {(row["group"], row["system"]): row["scores"] for row in read_manifest(FOLDER).facts["evaluation"]}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = {"pair": "| valid pair", "unseen": "| unseen singers", "known": "| known singers"}
    for group, beginning in lines.items():
        (line,) = (line for line in text.splitlines() if line.startswith(beginning))
        own, mixture = rows[group, "open"], rows[group, "mixture"]
        gain, *shown = (float(cell.strip().removesuffix(" dB")) for cell in line.split("|")[2:-1])
        assert gain == pytest.approx(own["SI-SDR, dB"][0] - mixture["SI-SDR, dB"][0], abs=0.011)
        expected = [s[label][0] for label in ("LSD, log10", "PESQ, MOS-LQO") for s in (mixture, own)]
        assert shown == pytest.approx(expected, abs=0.0051)
    assert f"{parameter_count(separator) / 1e6:.1f} M parameters" in text


def test_the_demo_song_is_separated_better_than_not_at_all(tmp_path: Path) -> None:
    done = run_cli("separate", "demo/song.ogg", "--out", tmp_path, "-d", "cpu")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "device: cpu"
    assert lines[-3:-1] == [str(tmp_path / "song/vocals.wav"), str(tmp_path / "song/instrumental.wav")]
    assert "100 %" in done.stderr
    # By the decoder that separation reads with: those of other libraries round elsewhere.
    decoded, rate = read(ROOT / "demo/song.ogg")
    mixture = decoded.T
    other, _ = sf.read(ROOT / "demo/song.ogg", dtype="float32")
    assert np.abs(mixture - other).max() < 1e-6
    truth, _ = sf.read(ROOT / "demo/vocals.ogg", dtype="float32")
    vocals, vocals_rate = sf.read(tmp_path / "song/vocals.wav", dtype="float32")
    instrumental, _ = sf.read(tmp_path / "song/instrumental.wav", dtype="float32")
    assert vocals_rate == rate and vocals.shape == mixture.shape
    assert np.abs(vocals + instrumental - mixture).max() <= 2**-24
    # The README's figures.
    assert si_sdr(truth.T, mixture.T).value == pytest.approx(-3.7, abs=0.05)
    assert si_sdr(truth.T, vocals.T).value == pytest.approx(DEMO_SI_SDR, abs=0.15)
    reference = as_pcm16(truth.T)
    assert lsd(reference, as_pcm16(vocals.T), rate).value < lsd(reference, as_pcm16(mixture.T), rate).value


def test_the_papers_own_shape_comes_with_it(tmp_path: Path) -> None:
    folder = ROOT / "checkpoints/seanet"
    assert set(verify(folder)) == {"model.safetensors", "codec.safetensors"}
    assert sum(f.stat().st_size for place in (FOLDER, folder) for f in place.iterdir()) <= 45e6
    manifest, separator = load_separator(folder)
    # From pure noise in fifty steps, without a first estimate.
    assert separator.predictor is None and not manifest.config.separator.refines
    assert (manifest.config.sampling.steps, manifest.config.sampling.start) == (50, 1.0)
    commands = [run["command"] for run in trainings(manifest.facts)]
    assert [command.split()[1:3] for command in commands] == [
        ["train-codec", "configs/seanet_codec.toml"],
        ["train", "configs/seanet_stage1.toml"],
        ["train", "configs/seanet_stage2.toml"],
    ]
    # Its card does not praise it.
    assert any("below the mixture" in line for line in manifest.facts["limitations"])
    song = ROOT / "demo/song.ogg"
    done = run_here("separate", song, "-n", "seanet", "--preset", "fast", "-o", tmp_path, "-d", "cpu")
    assert done.returncode == 0, done.stderr
    waves = [song, ROOT / "demo/vocals.ogg", *(tmp_path / f"song/{stem}.wav" for stem in ("vocals", "instrumental"))]
    mixture, truth, vocals, instrumental = (sf.read(path, dtype="float32")[0].T for path in waves)
    assert np.abs(vocals + instrumental - mixture).max() <= 1e-6
    assert si_sdr(truth, vocals).value > si_sdr(truth, mixture).value + 3


def test_its_networks_train_on_musdb18hq_by_the_commands_of_the_guide(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for song in ("train/one", "train/two", "train/Young Griffo - Pennies"):
        folder = tmp_path / "MUSDB18HQ" / song
        folder.mkdir(parents=True)
        stems = {name: rng.normal(0, 0.05, (3 * 44100, 2)) for name in ("vocals", "drums", "bass", "other")}
        for name, wave in {**stems, "mixture": sum(stems.values())}.items():
            sf.write(folder / f"{name}.wav", wave, 44100)
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    commands = [line.split() for line in text.splitlines() if line.startswith("    ldm-sep train configs/musdb_")]
    assert len(commands) == 3
    changes = ("training.batch_size=1", "training.seconds=1.0", 'training.precision="fp32"')
    small = ["--steps", "1", "--cpu", *(word for change in changes for word in ("--set", change))]
    places = {"MUSDB18HQ": tmp_path / "MUSDB18HQ", "checkpoints/open": FOLDER}
    for words in commands:
        filled = [places.get(w, tmp_path / w if w.startswith("runs/") else w) for w in words[1:]]
        done = run_here(*filled, *small, "--cache", tmp_path / "cache")
        assert done.returncode == 0, done.stderr
        assert "MUSDB18-HQ" in done.stdout
    facts = read_manifest(tmp_path / "runs/musdb2/separator").facts
    # Its card is about its own data, with the codec's past.
    assert facts["training_data"][0].startswith("MUSDB18-HQ") and facts["limitations"] == []
    assert [run["command"].split()[1] for run in trainings(facts)] == ["train-codec", "train", "train", "train"]
