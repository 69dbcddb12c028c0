"""Separation as a user sees it: shapes, sums, seeds, silence, bad input."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import RATE, ROOT, played, run_cli, sung
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ldm_sep.audio import AudioReader
from ldm_sep.errors import AudioError, ConfigError, DeviceError
from ldm_sep.separation.separator import Cancelled, Options, Separator


def mixture(seconds: float) -> np.ndarray:
    """A 16-bit mixture of the tiny voice and band (2, T)."""
    wave = sung(seconds, 220, 9)[None] + played(seconds, 9)
    return (np.rint(wave * 32768) / 32768).astype(np.float32)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(samples=1, rate=8000, channels=2)
@given(
    samples=st.integers(1, 30000),
    rate=st.sampled_from([8000, 16000, 22050, 44099, 44100, 96000]),
    channels=st.sampled_from([1, 2]),
)
def test_length_rate_and_channels_are_the_inputs_and_the_stems_sum_to_it(
    tiny_separator: Separator, samples: int, rate: int, channels: int
) -> None:
    rng = np.random.default_rng(samples)
    wave = (rng.integers(-(2**15), 2**15, (channels, samples)) / 2**16).astype(np.float32)
    stems = tiny_separator.separate(wave, rate, Options(steps=1))
    assert stems.vocals.shape == stems.instrumental.shape == wave.shape
    assert np.array_equal(stems.vocals + stems.instrumental, wave)


def test_float_sources_sum_to_within_float_rounding(tiny_separator: Separator) -> None:
    wave = np.random.default_rng(0).normal(0, 0.2, (2, 9000)).astype(np.float32)
    stems = tiny_separator.separate(wave, RATE)
    assert np.abs(stems.vocals + stems.instrumental - wave).max() <= 2**-24


def test_same_seed_same_samples_other_seed_others(tiny_separator: Separator) -> None:
    wave = mixture(3)
    first = tiny_separator.separate(wave, RATE, Options(seed=1))
    again = tiny_separator.separate(wave, RATE, Options(seed=1))
    other = tiny_separator.separate(wave, RATE, Options(seed=2))
    assert np.array_equal(first.vocals, again.vocals)
    assert not np.array_equal(first.vocals, other.vocals)


def test_presets_stand_for_their_settings_and_options_override_them(tiny_separator: Separator) -> None:
    assert set(tiny_separator.presets) == {"balanced", "fast", "best"}
    wave = mixture(2)

    def vocals(**options: object) -> np.ndarray:
        return tiny_separator.separate(wave, RATE, Options(**options)).vocals

    assert np.array_equal(vocals(preset="balanced"), vocals())
    assert np.array_equal(vocals(preset="fast"), vocals(steps=1))
    assert np.array_equal(vocals(preset="best"), vocals(averages=3, speeds=(1.0, 1.25)))
    assert np.array_equal(vocals(preset="best", averages=1, speeds=(1.0,)), vocals())
    assert not np.array_equal(vocals(speeds=(1.25,)), vocals())
    assert not np.array_equal(vocals(preset="best"), vocals())
    with pytest.raises(ConfigError, match=r"no preset 'finest'; this checkpoint has: balanced, fast, best"):
        vocals(preset="finest")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_cores_changes_nothing(tiny_separator: Separator, threads: int) -> None:
    wave = mixture(5)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        reference = tiny_separator.separate(wave, RATE, Options(threads=3))
        other = tiny_separator.separate(wave, RATE, Options(threads=threads))
        # The caller's own setting is as it was.
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(other.vocals, reference.vocals)


@given(segment=st.floats(1, 4), overlap=st.sampled_from([0.1, 1 / 3, 0.5]))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_segment_and_overlap_within_their_bounds_will_do(
    tiny_separator: Separator, segment: float, overlap: float
) -> None:
    wave = mixture(1)
    stems = tiny_separator.separate(wave, RATE, Options(steps=1, segment=segment, overlap=overlap))
    assert np.array_equal(stems.vocals + stems.instrumental, wave)


def test_half_a_segment_of_an_odd_number_of_samples_overlaps(tiny_separator: Separator) -> None:
    wave = mixture(1)
    stems = tiny_separator.separate(wave, RATE, Options(steps=1, segment=32001 / RATE, overlap=0.5))
    assert np.array_equal(stems.vocals + stems.instrumental, wave)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_batch_size_changes_nothing(tiny_separator: Separator, batch_size: int) -> None:
    wave = mixture(5)
    reference = tiny_separator.separate(wave, RATE, Options(batch_size=3))
    assert np.array_equal(tiny_separator.separate(wave, RATE, Options(batch_size=batch_size)).vocals, reference.vocals)


def test_the_cut_of_the_stream_changes_nothing(tiny_separator: Separator) -> None:
    wave = mixture(4)
    whole = tiny_separator.separate(wave, 22050).vocals
    for size in (1000, 7777):
        blocks = [wave[:, i : i + size] for i in range(0, wave.shape[1], size)]
        parts = [p.vocals for p in tiny_separator.stream(blocks, 22050, 2)]
        assert np.array_equal(np.concatenate(parts, 1), whole)


def test_stochastic_sampling_is_reproducible_too(tiny_separator: Separator) -> None:
    wave = mixture(2)
    options = Options(steps=4, eta=0.5)
    first, again = (tiny_separator.separate(wave, RATE, options).vocals for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, tiny_separator.separate(wave, RATE, Options(steps=4)).vocals)


def test_silence_in_silence_out(tiny_separator: Separator) -> None:
    stems = tiny_separator.separate(np.zeros((2, 40000), np.float32), RATE)
    assert not stems.vocals.any() and not stems.instrumental.any()


def test_gain_of_the_input_is_gain_of_the_output(tiny_separator: Separator) -> None:
    wave = mixture(1)
    loud = tiny_separator.separate(wave, RATE).vocals
    quiet = tiny_separator.separate(wave / 8, RATE).vocals
    assert np.allclose(8 * quiet, loud, atol=1e-4)


def test_no_seam_is_louder_than_the_sound_around_it(tiny_separator: Separator) -> None:
    wave = mixture(6)
    vocals = tiny_separator.separate(wave, RATE, Options(segment=1.0)).vocals.mean(0)
    bends = np.abs(np.diff(vocals, 2))
    # Segments of 1 s overlapping by a quarter: a cross-fade begins 1/16 s after every 3/4 s.
    seam = np.zeros(len(bends), bool)
    for start in range(12000, len(bends), 12000):
        seam[start : start + 4000] = True
    assert np.isfinite(vocals).all() and bends.max() > 0
    assert bends[seam].max() <= 1.5 * bends[~seam].max()


@pytest.mark.parametrize("samples", [1, 160])
def test_one_sample_and_ten_milliseconds_work(tiny_separator: Separator, samples: int) -> None:
    stems = tiny_separator.separate(np.full(samples, 0.5, np.float32), RATE)
    assert stems.vocals.shape == (samples,)
    assert np.array_equal(stems.vocals + stems.instrumental, np.full(samples, 0.5, np.float32))


def test_refusals(tiny_separator: Separator) -> None:
    for wave in (np.zeros((3, 100)), np.zeros((2, 0)), np.full((2, 100), np.nan)):
        with pytest.raises(AudioError):
            tiny_separator.separate(wave, RATE)
    wrong = Options(steps=0), Options(overlap=0.9), Options(segment=0.1), Options(seed=-1), Options(eta=2)
    speeds = Options(speeds=()), Options(speeds=(1.0, 2.5))
    for options in (*wrong, *speeds, Options(averages=0)):
        with pytest.raises(ConfigError):
            tiny_separator.separate(np.zeros((2, 100)), RATE, options)
    with pytest.raises(DeviceError, match="use auto"):
        Separator.load(device="gpu")


def test_samples_that_flac_cannot_hold_are_told_once_and_at_once(tmp_path: Path) -> None:
    for name in "ab":
        sf.write(tmp_path / f"{name}.wav", mixture(1).T, RATE)
    done = run_cli("separate", tmp_path, "-n", "nowhere", "--format", "flac", "--samples", "float")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "choose int24 or int16" in done.stderr


def test_a_callback_sees_progress_and_can_cancel(tiny_separator: Separator, tmp_path: Path) -> None:
    source = tmp_path / "song.wav"
    sf.write(source, mixture(8).T, RATE)
    seen: list[float] = []
    tiny_separator.separate_file(source, tmp_path / "out", progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 2
    with pytest.raises(Cancelled):
        tiny_separator.separate_file(source, tmp_path / "cancelled", progress=lambda _: False)
    assert not (tmp_path / "cancelled").exists()


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", None), ("wav", "int24"), ("wav", "int16"), ("flac", None)])
def test_files_sum_to_the_input_in_every_lossless_format(
    tiny_separator: Separator, tmp_path: Path, suffix: str, subtype: str | None
) -> None:
    source = tmp_path / "söng.wav"
    sf.write(source, 0.5 * mixture(2).T, 44100, subtype="PCM_16")
    paths = tiny_separator.separate_file(source, tmp_path / "out", suffix=suffix, subtype=subtype)
    waves = []
    for path in paths.values():
        with AudioReader(path) as reader:
            assert reader.info.sample_rate == 44100
            waves.append(reader.take(10**6))
    with AudioReader(source) as reader:
        original = reader.take(10**6)
    error = np.abs(sum(waves) - original).max()
    assert error <= (2**-15 if subtype == "int16" else 0)


def test_integer_files_tell_of_samples_that_they_clip(tiny_separator: Separator, tmp_path: Path) -> None:
    loud = mixture(2)
    source = tmp_path / "loud.wav"
    sf.write(source, (2 * loud / np.abs(loud).max()).T, RATE, subtype="FLOAT")
    beyond = {
        stem: int((np.rint(2**23 * np.abs(sf.read(path, dtype="float32")[0].astype(np.float64))) > 2**23).sum())
        for stem, path in tiny_separator.separate_file(source, tmp_path / "float").items()
    }
    assert sum(beyond.values()) > 0
    told: list[str] = []
    paths = tiny_separator.separate_file(source, tmp_path / "whole", suffix="flac", notice=told.append)
    assert len(told) == sum(count > 0 for count in beyond.values())
    for line in told:
        (stem,) = [stem for stem, path in paths.items() if str(path) in line]
        assert "float wav keeps them" in line and abs(int(line.split(": ")[1].split()[0]) - beyond[stem]) <= 2
    with pytest.warns(UserWarning, match="beyond full scale were clipped"):
        tiny_separator.separate_file(source, tmp_path / "warned", suffix="flac")


def test_command_line_writes_both_stems_of_every_input(trained: Path, tmp_path: Path) -> None:
    songs = tmp_path / "songs/album"
    songs.mkdir(parents=True)
    for name in ("a ü", "b"):
        sf.write(songs / f"{name}.wav", mixture(1).T, RATE)
    (songs / "broken.wav").write_bytes(b"RIFF")
    # As macOS leaves beside every file on other systems' disks.
    (songs / "._b.wav").write_bytes(b"RIFF")
    model = trained / "stage2/separator"
    done = run_cli("separate", tmp_path / "songs", "-o", tmp_path / "out", "-n", model, "-d", "cpu")
    assert done.returncode == 1 and "broken.wav" in done.stderr and "._b" not in done.stderr
    assert done.stdout.startswith("device: cpu\n")
    for name in ("a ü", "b"):
        for stem in ("vocals", "instrumental"):
            assert sf.info(tmp_path / "out/album" / name / f"{stem}.wav").frames == RATE
    assert not (tmp_path / "out/album/broken").exists()
    first = (tmp_path / "out/album/b/vocals.wav").read_bytes()
    again = run_cli("separate", songs / "b.wav", "-o", tmp_path / "out/album", "-n", model, "-d", "cpu")
    assert again.returncode == 1 and "--overwrite" in again.stderr
    again = run_cli(
        *("separate", songs / "b.wav", "-o", tmp_path / "out/album", "-n", model, "-d", "cpu", "--overwrite"),
        *("--stems", "vocals"),
    )
    assert again.returncode == 0
    assert (tmp_path / "out/album/b/vocals.wav").read_bytes() == first


def test_a_folder_is_gone_on_with_and_results_inside_it_are_no_songs(trained: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        sf.write(tmp_path / f"{name}.wav", mixture(1).T, RATE)
    words = ("separate", tmp_path, "-o", tmp_path / "out", "-n", trained / "stage2/separator", "-d", "cpu")
    assert run_cli(*words).returncode == 0
    files = sorted((tmp_path / "out").rglob("*.wav"))
    assert len(files) == 4
    made = {file: file.stat().st_mtime_ns for file in files}
    files[0].unlink()
    refused = run_cli(*words)
    assert refused.returncode == 1 and "--skip-existing" in refused.stderr
    again = run_cli(*words, "--skip-existing")
    assert again.returncode == 0 and again.stdout.count(".wav") == 2
    assert sorted((tmp_path / "out").rglob("*.wav")) == files
    assert [made[file] == file.stat().st_mtime_ns for file in files] == [False, False, True, True]
    unknown = run_cli(*words, "--overwrite", "--preset", "turbo")
    assert unknown.returncode == 1 and unknown.stderr.count("no preset 'turbo'") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_nothing_half_written(trained: Path, tmp_path: Path, number: signal.Signals) -> None:
    sf.write(tmp_path / "long.wav", np.tile(mixture(10), 90).T, RATE)
    words = ["separate", tmp_path / "long.wav", "-o", tmp_path / "out", "-n", trained / "stage2/separator", "-d", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ldm_sep", *map(str, words), "--steps", "20"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # A shell's background job has signals ignored, and what it starts inherits that.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/long/.*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "interrupted" in told and "Traceback" not in told
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def bad_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    """name -> (file, what the message must say)."""
    files = {
        "missing": (folder / "missing.wav", "no such file"),
        "empty": (folder / "empty.wav", "empty"),
        "text": (folder / "text.wav", "text"),
        "nan": (folder / "nan.wav", "finite"),
        "truncated": (folder / "truncated.wav", ""),
        "no audio": (folder / "nothing", "no audio files"),
    }
    files["empty"][0].write_bytes(b"")
    files["text"][0].write_text("hello, this is no sound at all\n" * 20)
    sf.write(files["nan"][0], np.full((100, 2), np.nan, np.float32), RATE, subtype="FLOAT")
    sf.write(files["truncated"][0], mixture(1).T, RATE)
    files["truncated"][0].write_bytes(files["truncated"][0].read_bytes()[:2000])
    files["no audio"][0].mkdir()
    return files


def test_bad_input_is_one_line_that_names_the_file_and_leaves_nothing(trained: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from ldm_sep.cli import app
    from ldm_sep.errors import LdmSepError

    model = trained / "stage2/separator"
    for name, (path, needle) in bad_inputs(tmp_path).items():
        out = tmp_path / f"out {name}"
        words = ["separate", str(path), "-o", str(out), "-n", str(model), "-d", "cpu"]
        result = CliRunner().invoke(app, words)
        message = str(result.exception) if isinstance(result.exception, LdmSepError) else result.stderr
        (line,) = message.splitlines()
        assert path.name in line
        assert needle in line, (name, message)
        assert result.exit_code == 1
        assert not out.exists(), name


def test_an_output_folder_that_cannot_be_written_is_told_before_any_work(trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "song.wav"
    sf.write(source, mixture(1).T, RATE)
    (tmp_path / "file").write_text("in the way")
    done = run_cli("separate", source, "-o", tmp_path / "file", "-n", trained / "stage2/separator", "-d", "cpu")
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr and "Traceback" not in done.stderr


def test_it_separates_where_torchaudio_cannot_be_imported(trained: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "block/torchaudio"
    blocker.mkdir(parents=True)
    (blocker / "__init__.py").write_text("raise ImportError('torchaudio is blocked')")
    source = tmp_path / "song.wav"
    sf.write(source, mixture(1).T, RATE)
    done = run_cli(
        *("separate", source, "-o", tmp_path / "out", "-n", trained / "stage2/separator", "-d", "cpu"),
        PYTHONPATH=str(tmp_path / "block"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/song/vocals.wav").exists()


def test_memory_does_not_grow_with_the_duration_of_a_file(trained: Path, tmp_path: Path) -> None:
    """Five minutes as float samples, four times over (song, both stems, resampled), would be 150 MiB more."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from ldm_sep.separation.separator import Options, Separator\n"
        "separator = Separator.load(sys.argv[1], device='cpu')\n"
        "used = []\n"
        "for song in sys.argv[2:]:\n"
        "    separator.separate_file(song, Path(song).with_suffix(''), Options(steps=1))\n"
        "    used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
        "print(used[1] - used[0])\n"
    )
    if sys.platform != "linux":
        pytest.skip("ru_maxrss is in KiB on Linux only")
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    sf.write(short, mixture(20).T, RATE)
    sf.write(long, np.tile(mixture(20).T, (15, 1)), RATE)
    words = [sys.executable, "-c", script, trained / "stage2/separator", short, long]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 25


def test_copies_of_the_model_are_independent(tiny_separator: Separator) -> None:
    import copy

    model = tiny_separator.model
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, model.codec.latent_channels, 64, generator=generator)
    cond, _ = model.condition(0.1 * torch.randn(1, 2, 64 * model.codec.hop, generator=generator))
    before = model.predict_v(z, torch.ones(1), cond)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert torch.equal(model.predict_v(z, torch.ones(1), cond), before)
    assert not torch.equal(twin.predict_v(z, torch.ones(1), cond), before)
