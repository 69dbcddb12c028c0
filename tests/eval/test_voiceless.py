"""What separators take for vocals in music without a voice."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import voiceless

from ldm_sep.errors import DataError


def piece(path: Path, seconds: float, rate: int = 44100, channels: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    sf.write(path, wave, rate, subtype="FLOAT")
    return path


def test_levels_are_those_of_the_vocals_relative_to_the_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Systems that take a known share of every piece."""
    monkeypatch.setattr(voiceless, "separation_by", lambda system: lambda wave: float(system) * wave)
    for name in ("a", "b", "c"):
        piece(tmp_path / f"strings/{name}.wav", 3)
    sf.write(tmp_path / "strings/silent.wav", np.zeros((44100, 2)), 44100)
    single = piece(tmp_path / "horn.wav", 0.5, rate=22050, channels=1)
    systems = ["--system", "0.5", "--system", "0.01"]
    voiceless.main([str(tmp_path / "strings"), str(single), *systems, "--out", str(tmp_path / "out")])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [
        ["strings", "3", "0.5", "-6.0", "-6.0", "100%"],
        ["strings", "3", "0.01", "-40.0", "-40.0", "0%"],
        ["horn.wav", "1", "0.5", "-6.0", "-6.0", "100%"],
        ["horn.wav", "1", "0.01", "-40.0", "-40.0", "0%"],
    ]
    record = json.loads((tmp_path / "out/voiceless.json").read_text())
    assert record[str(single)]["0.01"] == {str(single): pytest.approx(-40, abs=0.01)}


@pytest.mark.parametrize(("seconds", "first"), [(30.0, 12.0), (14.0, 4.0), (3.0, 0.0)])
def test_an_excerpt_lies_where_it_is_asked_for_or_at_the_end_of_a_shorter_piece(
    tmp_path: Path, seconds: float, first: float
) -> None:
    path = tmp_path / "ramp.wav"
    time = np.arange(round(seconds * 44100)) / 44100
    sf.write(path, np.stack([time / 100, -time / 100], 1), 44100, subtype="FLOAT")
    wave = voiceless.excerpt(path, 12, 10)
    assert wave.shape == (2, round(min(10.0, seconds) * 44100))
    assert wave[0, 0] * 100 == pytest.approx(first, abs=1e-4) and wave[1, 0] == -wave[0, 0]


def test_a_preset_of_a_checkpoint_is_a_system(trained: Path, tmp_path: Path) -> None:
    """The presets of a checkpoint are systems, and what they give is what the separator gives."""
    from ldm_sep.separation import Options, Separator

    checkpoint = str(trained / "stage2/separator")
    music = piece(tmp_path / "music.wav", 1)
    voiceless.main([str(music), "--system", f"{checkpoint}:balanced", "--out", str(tmp_path / "out")])
    (levels,) = json.loads((tmp_path / "out/voiceless.json").read_text()).values()
    wave = voiceless.excerpt(music, 12, 12)
    vocals = Separator.load(checkpoint, device="cpu").separate(wave, 44100, Options(preset="balanced")).vocals
    expected = 10 * np.log10(np.sum(vocals.astype(float) ** 2) / np.sum(wave.astype(float) ** 2))
    assert levels[f"{checkpoint}:balanced"][str(music)] == pytest.approx(expected, abs=0.05)


def test_what_holds_no_music_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(voiceless, "separation_by", lambda system: lambda wave: wave)
    with pytest.raises(DataError, match="empty: holds no audio; name a folder"):
        voiceless.main([str(tmp_path / "empty")])
    sf.write(tmp_path / "silent.wav", np.zeros((4410, 2)), 44100)
    with pytest.raises(DataError, match="nothing sounds in these files"):
        voiceless.main([str(tmp_path / "silent.wav")])
