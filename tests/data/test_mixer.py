"""The decoded and the batches drawn from it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import RATE, played, sung

from ldm_sep.config import MixConfig
from ldm_sep.data.decoded import DecodedAudio, Recording
from ldm_sep.data.layouts import read_tracks
from ldm_sep.data.mixer import Batch, Mixer
from ldm_sep.data.synthesis.augment import active_rms
from ldm_sep.data.tracks import Clip, Track
from ldm_sep.errors import AudioError, DataError

CPU = torch.device("cpu")
PLAIN = {
    "real": 0.5,
    "silent": 0.0,
    "silent_ramp": 0,
    "solo": 0.0,
    "collage": 0.5,
    "pitch_semitones": 0.0,
    "balance_db": 0.0,
    "pan": 0.15,
    "centred": 0.0,
    "melodic": 0.0,
    "sustained": 0.0,
    "narrow": 0.0,
    "vibrato_cents": 0.0,
    "equaliser_db": 0.0,
    "reverb": 0.0,
    "compress": 0.0,
    "reflections": 0.0,
    "width_db": 0.0,
    "automation_db": 0.0,
    "doubling": 0.0,
    "layering": 0.0,
}


@pytest.fixture
def decoded(stems_folder: Path, tmp_path: Path) -> DecodedAudio:
    solo = tmp_path / "solo.wav"
    sf.write(solo, sung(5, 330, 5), RATE)
    tracks = [*read_tracks("stems", stems_folder)]
    tracks.append(Track("solo", "train", solo, singer="anna", clips=(Clip(0.0, 1.0), Clip(1.2, 2.0), Clip(3.0, 4.5))))
    return DecodedAudio(tracks, RATE, tmp_path / "cache", CPU)


def test_decoding_holds_the_files_to_16_bits_and_sums_stems(decoded: DecodedAudio) -> None:
    song = decoded.recordings[0]
    vocals, _ = sf.read(song.track.vocals, dtype="float32")
    assert np.allclose(decoded.crop(song.vocals, 1000, 500)[1].numpy(), vocals[1000:1500], atol=1e-4)
    stems = sum(sf.read(p, dtype="float32")[0] for p in song.track.accompaniment)
    assert np.allclose(decoded.crop(song.accompaniment, 0, 800).numpy(), stems[:800].T, atol=1e-4)
    beyond = decoded.crop(song.vocals, -100, 300)
    assert not beyond[:, :100].any() and beyond[:, 100:].any()


def test_a_data_set_is_decoded_once_and_again_when_a_file_changes(stems_folder: Path, tmp_path: Path) -> None:
    song = tmp_path / "song"
    song.mkdir()
    for stem in ("vocals", "band"):
        sf.write(song / f"{stem}.wav", sung(1, 200, 0), RATE)
    for _ in range(2):
        DecodedAudio(read_tracks("stems", tmp_path), RATE, tmp_path / "cache", CPU)
        assert len(list((tmp_path / "cache").glob("*.i16"))) == 1
    # The same file with its roles put right.
    for number, roles in enumerate(({"vocals": song / "band.wav"}, {"accompaniment": (song / "band.wav",)})):
        again = DecodedAudio([Track("solo", "train", **roles)], RATE, tmp_path / "roles", CPU)
        assert (again.recordings[0].vocals is None) is bool(number)
    sf.write(song / "band.wav", 0.5 * sung(2, 200, 0), RATE)
    DecodedAudio(read_tracks("stems", tmp_path), RATE, tmp_path / "cache", CPU)
    assert len(list((tmp_path / "cache").glob("*.i16"))) == 2


def test_a_mixture_minus_its_vocals_is_the_accompaniment(tmp_path: Path) -> None:
    vocals, band = sung(1, 200, 0), played(1, 0)
    (tmp_path / "song").mkdir()
    sf.write(tmp_path / "song/vocals.wav", vocals, RATE, subtype="FLOAT")
    sf.write(tmp_path / "song/mixture.wav", (vocals + band).T, RATE, subtype="FLOAT")
    decoded = DecodedAudio(read_tracks("pairs", tmp_path), RATE, tmp_path / "cache", CPU)
    found = decoded.crop(decoded.recordings[0].accompaniment, 0, RATE).numpy()
    assert np.allclose(found, band, atol=1e-4)
    # What rounding explains is trimmed; more is told in the files' own lengths, not in the codec's.
    sf.write(tmp_path / "song/mixture.wav", (vocals + band).T[:-5], RATE, subtype="FLOAT")
    decoded = DecodedAudio(read_tracks("pairs", tmp_path), RATE, tmp_path / "cache", CPU)
    assert [(r.vocals.frames, r.accompaniment.frames) for r in decoded.recordings] == [(RATE - 5, RATE - 5)]
    sf.write(tmp_path / "song/mixture.wav", (vocals + band).T[:-1600], RATE, subtype="FLOAT")
    told = r"mixture\.wav: 14400 samples at 16000 Hz \(0\.900 s\), its vocals 16000 samples .* \(1\.000 s\); cut both"
    with pytest.raises(DataError, match=told):
        DecodedAudio(read_tracks("pairs", tmp_path), 8000, tmp_path / "cache", CPU)
    sf.write(tmp_path / "song/mixture.wav", np.zeros((0, 2)), RATE)
    with pytest.raises(AudioError, match=r"mixture\.wav: holds no samples"):
        DecodedAudio(read_tracks("pairs", tmp_path), RATE, tmp_path / "cache", CPU)


def test_silence_that_fills_shorter_stems_is_told(tmp_path: Path) -> None:
    for stem, frames in (("vocals", RATE), ("bass", RATE - 6), ("drums", RATE // 2)):
        (tmp_path / "song").mkdir(exist_ok=True)
        sf.write(tmp_path / f"song/{stem}.wav", played(1, 0).T[:frames], RATE, subtype="FLOAT")
    told: list[str] = []
    tracks = read_tracks("stems", tmp_path)
    decoded = DecodedAudio(tracks, RATE, tmp_path / "cache", CPU, tell=told.append)
    assert [line.split("/")[-1] for line in told] == [
        "drums.wav: 8000 samples at 16000 Hz (0.500 s), bass.wav 15994 samples at 16000 Hz (1.000 s); "
        "silence fills the shorter"
    ]
    assert decoded.recordings[0].accompaniment.frames == RATE - 6


def test_a_batch_is_a_function_of_seed_step_and_rank(decoded: DecodedAudio) -> None:
    spreads = {"equaliser_db": 2.0, "pitch_semitones": 3.0, "width_db": 2.0, "automation_db": 2.0}
    shares = dict.fromkeys(("reverb", "doubling", "compress", "reflections", "layering"), 0.5)
    mixer = Mixer(decoded, 4000, MixConfig(**{**PLAIN, **spreads, **shares}))
    first, again = mixer.batch(4, 0, 7), mixer.batch(4, 0, 7)
    assert torch.equal(first.vocals, again.vocals) and torch.equal(first.mixture, again.mixture)
    for other in (mixer.batch(4, 1, 7), mixer.batch(4, 0, 8), mixer.batch(4, 0, 7, rank=1)):
        assert not torch.equal(other.vocals, first.vocals)
    assert torch.isfinite(first.mixture).all()


def test_real_items_keep_vocals_and_accompaniment_of_one_song_in_time(decoded: DecodedAudio) -> None:
    # Effects are for remixes only.
    effects = {"compress": 1.0, "reflections": 1.0, "reverb": 1.0, "automation_db": 6.0}
    batch = Mixer(decoded, 8000, MixConfig(**{**PLAIN, **effects, "real": 1.0})).batch(12, 0, 0)
    for vocals, accompaniment in zip(batch.vocals, batch.accompaniment, strict=True):
        song, start, swapped = _where(accompaniment, decoded)
        original = decoded.crop(song.vocals, start, 8000)
        assert _cosine(vocals, original.flip(0) if swapped else original) > 0.999


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return abs(float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12)))


def _where(crop: torch.Tensor, decoded: DecodedAudio) -> tuple[Recording, int, bool]:
    """The song, sample and channel order an accompaniment was taken from, by cross-correlation."""
    for song in [r for r in decoded.recordings if r.track.is_song]:
        whole = decoded.crop(song.accompaniment, 0, song.accompaniment.frames)
        for swapped in (False, True):
            order = crop.flip(0) if swapped else crop
            size = 2 * whole.shape[1]
            cross = torch.fft.irfft(torch.fft.rfft(whole, size) * torch.fft.rfft(order, size).conj(), size).sum(0)
            start = int(cross.abs().argmax())
            if _cosine(decoded.crop(song.accompaniment, start, crop.shape[1]), order) > 0.999:
                return song, start, swapped
    raise AssertionError("the accompaniment is of no song")


def test_shares_of_silent_and_solo_items(decoded: DecodedAudio) -> None:
    silent = Mixer(decoded, 2000, MixConfig(**{**PLAIN, "silent": 1.0})).batch(4, 0, 0)
    assert not silent.vocals.any() and silent.accompaniment.any()
    solo = Mixer(decoded, 2000, MixConfig(**{**PLAIN, "solo": 1.0})).batch(4, 0, 0)
    assert not solo.accompaniment.any() and solo.vocals.any()


def test_silent_items_come_in_by_and_by(decoded: DecodedAudio) -> None:
    mixer = Mixer(decoded, 2000, MixConfig(**{**PLAIN, "silent": 1.0, "silent_ramp": 100}))
    silent = [int((mixer.batch(20, 0, step).vocals.abs().amax((1, 2)) == 0).sum()) for step in (0, 49, 99, 5000)]
    assert silent[0] <= 2 and 5 <= silent[1] <= 15 and silent[2:] == [20, 20]


def test_remixes_are_balanced_around_zero_db(decoded: DecodedAudio) -> None:
    batch = Mixer(decoded, 16000, MixConfig(**{**PLAIN, "real": 0.0, "collage": 1.0})).batch(8, 0, 3)
    ratio = 20 * torch.log10(active_rms(batch.vocals, RATE) / active_rms(batch.accompaniment, RATE))
    assert ratio.abs().max() < 1.5


def test_a_person_counts_by_the_cube_root_of_its_length_and_its_variants_share(tmp_path: Path) -> None:
    tracks = []
    for number, (singer, seconds) in enumerate((("a/low", 6.0), ("a/high", 2.0), ("b", 1.0))):
        file = tmp_path / f"{number}.wav"
        sf.write(file, sung(seconds, 200 + 100 * number, number), RATE)
        tracks.append(Track(f"{number}", "train", file, singer=singer))
    file = tmp_path / "band.wav"
    sf.write(file, played(3, 9).T, RATE)
    tracks.append(Track("band", "train", accompaniment=(file,)))
    mixer = Mixer(DecodedAudio(tracks, RATE, tmp_path / "cache", CPU), 800, MixConfig(**{**PLAIN, "collage": 1.0}))
    rng = np.random.default_rng(0)
    peaks = []
    for _ in range(600):
        spectrum = np.abs(np.fft.rfft(mixer.voices.sing(1.0, rng)[0].numpy() * np.hanning(800)))
        peaks.append(np.argmax(spectrum) * RATE / 800)
    # By their pitches 300 (high), 200 (low) and 400 Hz (b); rests have none.
    heard = np.array([[abs(peak - f) < 30 for f in (200, 300, 400)] for peak in peaks if peak > 100])
    low, high, b = heard.mean(0)
    assert low + high == pytest.approx(2 / 3, abs=0.08)
    assert low == pytest.approx(2 / 3 * 3 / 4, abs=0.08) and b == pytest.approx(1 / 3, abs=0.08)


def test_effects_change_the_remixes_they_are_for(decoded: DecodedAudio) -> None:
    def batch(**changes: float) -> Batch:
        return Mixer(decoded, 8000, MixConfig(**{**PLAIN, "real": 0.0, "collage": 0.0, "pan": 0.0, **changes})).batch(
            6, 0, 1
        )

    def alike(a: torch.Tensor, b: torch.Tensor) -> float:
        # The channels are exchanged at random.
        return max(_cosine(a, b), _cosine(a, b.flip(0)))

    plain = batch()
    for share in ("compress", "reflections", "automation_db"):
        changed = batch(**{share: 1.0})
        for a, b in zip(plain.vocals, changed.vocals, strict=True):
            assert 0.5 < alike(a, b) < 0.999999, share
        similar = [alike(a, b) for a, b in zip(plain.accompaniment, changed.accompaniment, strict=True)]
        # A steady bass under beats: compression changes little of it.
        assert (min(similar) < 0.999999) is (share == "compress"), share
    changes = {}
    for name, other in (("wide", batch(width_db=6.0)), ("narrow", batch(narrow=1.0))):
        changes[name] = []
        for a, b in zip(plain.accompaniment, other.accompaniment, strict=True):
            assert _cosine(a.mean(0), b.mean(0)) > 0.999
            sides = [float((w[0] - w[1]).norm() / w.mean(0).norm()) for w in (a, b)]
            changes[name].append(20 * np.log10(sides[1] / sides[0]))
    assert max(changes["wide"]) > 1 and min(changes["wide"]) < -1
    assert max(changes["narrow"]) < -7.9 and min(changes["narrow"]) > -24.1 and np.ptp(changes["narrow"]) > 2


def test_a_share_of_vocals_and_accompaniments_stays_where_it_is(decoded: DecodedAudio) -> None:
    settings = {**PLAIN, "real": 0.0, "collage": 1.0, "pan": 0.3, "centred": 0.6}
    mixer = Mixer(decoded, 4000, MixConfig(**settings))
    batches = [mixer.batch(20, 3, step) for step in range(20)]
    vocals = torch.cat([batch.vocals for batch in batches])
    vocals = vocals[vocals.square().mean((1, 2)) > 1e-8]
    # The soloist is mono: in the centre both channels are the same.
    centred = (vocals[:, 0] == vocals[:, 1]).all(1).float().mean()
    assert float(centred) == pytest.approx(0.6, abs=0.06)
    balance = torch.cat([b.accompaniment for b in batches]).square().mean(2)
    usual = (balance[:, 0] / balance[:, 1]).log().abs()
    still = (
        Mixer(decoded, 4000, MixConfig(**{**settings, "centred": 1.0})).batch(20, 3, 0).accompaniment.square().mean(2)
    )
    assert usual.max() > 1.5 > 1.2 * (still[:, 0] / still[:, 1]).log().abs().max()


def _burst(frequency: float, seconds: float) -> np.ndarray:
    """A loop that is silent but for 0.1 s at its beginning."""
    t = np.arange(round(seconds * RATE)) / RATE
    shape = np.where(t < 0.1, np.sin(np.pi * t / 0.1) ** 2, 0)
    return (0.5 * np.sin(2 * np.pi * frequency * t) * shape).astype(np.float32)


def _period(wave: np.ndarray, low: float, high: float) -> float:
    """Seconds from burst to burst in a band, NaN if there are none."""
    spectrum = np.fft.rfft(wave)
    frequencies = np.fft.rfftfreq(len(wave), 1 / RATE)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    power = np.convolve(np.fft.irfft(spectrum, len(wave)) ** 2, np.ones(160) / 160, "same")
    if power.max() < 1e-2 * (wave**2).max():
        return np.nan
    loud = power > 0.25 * power.max()
    rises = np.flatnonzero(loud[1:] & ~loud[:-1])
    return float(np.median(np.diff(rises))) / RATE


def test_loops_are_layered_at_one_tempo(tmp_path: Path) -> None:
    """1 s and 2.6 s meet at a ratio of 2, by 2.3 semitones each."""
    tracks = [Track("voice", "train", tmp_path / "v.wav", singer="anna")]
    sf.write(tmp_path / "v.wav", sung(5, 330, 5), RATE)
    for number, (frequency, seconds) in enumerate(((500.0, 1.0), (3000.0, 2.6))):
        sf.write(tmp_path / f"{number}.wav", _burst(frequency, seconds), RATE)
        tracks.append(Track(str(number), "train", accompaniment=(tmp_path / f"{number}.wav",)))
    decoded = DecodedAudio(tracks, RATE, tmp_path / "cache", CPU)
    mixer = Mixer(
        decoded, 12 * RATE, MixConfig(**{**PLAIN, "real": 0.0, "silent": 1.0, "layering": 1.0, "pitch_semitones": 4.0})
    )
    ratios = []
    for wave in mixer.batch(8, 0, 0).accompaniment.mean(1).numpy():
        short, long = _period(wave, 350, 700), _period(wave, 2200, 4300)
        if np.isfinite(short) and np.isfinite(long):
            ratios.append(long / short)
            # Each by at most four semitones.
            assert abs(12 * np.log2(short / 1.0)) < 4.01 and abs(12 * np.log2(long / 2.6)) < 4.01
    assert len(ratios) >= 2
    np.testing.assert_allclose(ratios, 2.0, rtol=2e-3)
