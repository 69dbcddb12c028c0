"""Vocals that another separator made, as the start: what they change, how they are read, what is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, played, sung
from scipy import signal

from ldm_sep.audio import resample
from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.metrics import si_sdr
from ldm_sep.separation import Options, Separator

# More than two windows, of 16 bits, so that sums are exact.
HOW = Options(steps=1, segment=2.0)
VOICE = np.repeat(np.rint(sung(4, 220, 9) * 2**15).astype(np.float32)[None] / 2**15, 2, 0)
SONG = VOICE + np.rint(played(4, 9) * 2**15).astype(np.float32) / 2**15


def score(vocals: np.ndarray, voice: np.ndarray = VOICE) -> float:
    value = si_sdr(voice, vocals).value
    assert value is not None
    return value


def test_the_truth_makes_it_much_better_and_silence_worse(tiny_separator: Separator) -> None:
    def error_of(weight: float, estimate: np.ndarray | None) -> float:
        options = Options(steps=0, segment=2.0, estimate_weight=weight)
        stems = tiny_separator.separate(SONG, RATE, options, estimate=estimate)
        assert np.array_equal(stems.vocals + stems.instrumental, SONG)
        return float(np.square(stems.vocals - VOICE).mean())

    own = error_of(0.5, None)
    # The mean with the truth has half of the error.
    assert error_of(0.5, VOICE) == pytest.approx(own / 4, rel=0.01)
    assert error_of(1.0, VOICE) < own / 1e4
    assert error_of(0.0, VOICE) == own
    assert error_of(1.0, np.zeros_like(VOICE)) == pytest.approx(float(np.square(VOICE).mean()))
    # Diffusion begins there too.
    begun = tiny_separator.separate(SONG, RATE, HOW, estimate=VOICE).vocals
    assert score(begun) > score(tiny_separator.separate(SONG, RATE, HOW).vocals) + 0.5


@pytest.mark.parametrize("end", [None, 6000])
@pytest.mark.parametrize("bits", [None, 16])
def test_ours_alone_counts_above_the_band_of_theirs(
    tiny_separator: Separator, end: int | None, bits: int | None
) -> None:
    rng = np.random.default_rng(2)
    voice = VOICE + 0.01 * rng.standard_normal(VOICE.shape)
    theirs = voice if end is None else signal.sosfiltfilt(signal.ellip(12, 0.01, 60, end, fs=RATE, output="sos"), voice)
    if bits is not None:
        # With the dither that mastering adds.
        theirs = np.rint(theirs * 2**15 + rng.triangular(-1, 0, 1, theirs.shape)) / 2**15
    theirs = theirs.astype(np.float32)
    options = Options(steps=0, segment=2.0, estimate_weight=0.4)
    own = tiny_separator.separate(SONG, RATE, options).vocals
    change = tiny_separator.separate(SONG, RATE, options, estimate=theirs).vocals - own

    def levels(wave: np.ndarray) -> np.ndarray:
        return np.sqrt(signal.welch(wave, RATE, nperseg=512)[1].mean(0))

    hz = np.fft.rfftfreq(512, 1 / RATE)
    wrong = levels(change - 0.4 * (theirs - own)) / levels(0.4 * (theirs - own))
    assert wrong[(hz > 50) & (hz < (4900 if end else 7900))].max() < 0.01
    if end:
        assert levels(change)[hz > 6200].max() < 0.01 * levels(own)[hz > 6200].min()


def test_their_silence_is_no_band_limit(tiny_separator: Separator) -> None:
    options = Options(steps=0, segment=2.0, estimate_weight=0.4)
    own = tiny_separator.separate(SONG, RATE, options).vocals
    hum = np.repeat(0.01 * np.sin(np.arange(SONG.shape[1]) / 50, dtype=np.float32)[None], 2, 0)
    for nothing in (np.zeros_like(SONG), hum):
        vocals = tiny_separator.separate(SONG, RATE, options, estimate=nothing).vocals
        np.testing.assert_allclose(vocals, 0.6 * own + 0.4 * nothing, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_cuts_of_song_and_estimate_change_no_sample(tiny_separator: Separator, channels: int) -> None:
    song, voice = SONG[:channels], VOICE[:channels]
    whole = tiny_separator.separate(song, RATE, HOW, estimate=voice).vocals

    def cut(wave: np.ndarray, lengths: list[int]) -> Iterator[np.ndarray]:
        position = number = 0
        while position < wave.shape[1]:
            yield wave[:, position : position + lengths[number % len(lengths)]]
            position, number = position + lengths[number % len(lengths)], number + 1

    for ours, theirs in (([997, 5000], [40000]), ([60000], [1, 313, 20011])):
        parts = tiny_separator.stream(cut(song, ours), RATE, channels, HOW, cut(voice, theirs))
        assert np.array_equal(np.concatenate([part.vocals for part in parts], 1), whole)


def test_an_estimate_that_does_not_fit_is_refused(tiny_separator: Separator) -> None:
    for estimate, needle in (
        (VOICE[:, :-100], "ends before the mixture"),
        (np.pad(VOICE, ((0, 0), (0, 100))), "longer than the mixture"),
        (VOICE[:1], "1 channels, and the mixture has 2"),
        (np.full_like(VOICE, np.nan), "the estimate: the sample at 0.000000 s is not a finite number"),
    ):
        with pytest.raises(AudioError, match=needle):
            tiny_separator.separate(SONG, RATE, HOW, estimate=estimate)
    # However finely the song is cut.
    drops = (SONG[:, i : i + 4] for i in range(0, SONG.shape[1], 4))
    with pytest.raises(AudioError, match="ends before the mixture"):
        list(tiny_separator.stream(drops, RATE, 2, HOW, [VOICE[:, :-100]]))
    predictor, tiny_separator.model.predictor = tiny_separator.model.predictor, None
    try:
        with pytest.raises(ConfigError, match="has no predictor, whose estimate others could join"):
            tiny_separator.separate(SONG, RATE, HOW, estimate=VOICE)
    finally:
        tiny_separator.model.predictor = predictor


def test_files_of_other_rates_and_channels_are_the_same_estimate(tiny_separator: Separator, tmp_path: Path) -> None:
    sf.write(tmp_path / "song.wav", SONG.T, RATE, subtype="FLOAT")
    sf.write(tmp_path / "stereo.wav", VOICE.T, RATE, subtype="FLOAT")
    sf.write(tmp_path / "mono.wav", VOICE[0], RATE, subtype="FLOAT")
    sf.write(tmp_path / "twice.flac", resample(VOICE, RATE, 2 * RATE).T, 2 * RATE, subtype="PCM_24")

    def separated(name: str, **part: float) -> np.ndarray:
        out = tmp_path / f"{name} {part}"
        tiny_separator.separate_file(tmp_path / "song.wav", out, HOW, estimate=tmp_path / name, **part)
        return sf.read(out / "vocals.wav", dtype="float32")[0].T

    wanted = tiny_separator.separate(SONG, RATE, HOW, estimate=VOICE).vocals
    for name in ("stereo.wav", "mono.wav"):
        assert np.array_equal(separated(name), wanted)
    assert score(separated("twice.flac"), wanted) > 40
    # A part of the song takes the same part of the estimate, at any rate.
    here = slice(round(1.3 * RATE), round(3.3 * RATE))
    wanted = tiny_separator.separate(SONG[:, here], RATE, HOW, estimate=VOICE[:, here]).vocals
    assert np.array_equal(separated("mono.wav", start=1.3, duration=2.0), wanted)
    assert score(separated("twice.flac", start=1.3, duration=2.0), wanted) > 40
