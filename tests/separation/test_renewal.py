"""Another seed for a stretch of a song, and nothing else; how far seeds lie apart; where a song is sung loudest."""

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from conftest import RATE, mixture, played, sung

from ldm_sep.errors import AudioError, ConfigError
from ldm_sep.separation import Options, Separator
from ldm_sep.separation.candidates import spread, write_plot, write_table
from ldm_sep.separation.preview import loudest_singing
from ldm_sep.separation.progress import Progress
from ldm_sep.separation.renewal import in_step
from ldm_sep.separation.retake import renew_stems

# Two steps, so that the seed matters; windows of a second, so that there are several.
TWO_STEPS = Options(steps=2, segment=1.0)


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_a_stretch_is_renewed_and_every_other_sample_stays(tiny_separator: Separator, rate: int) -> None:
    wave = np.tile(mixture(3), 3)[:, : 4 * rate]
    old = tiny_separator.separate(wave, rate, TWO_STEPS)
    new = tiny_separator.separate(wave, rate, replace(TWO_STEPS, renewed=((1.5, 2.25, 7),)))
    changed = np.flatnonzero((old.vocals != new.vocals).any(0))
    first, last = round(1.5 * rate), round(2.25 * rate)
    assert first <= changed.min() < first + 50 and last - 50 < changed.max() < last
    assert np.array_equal(new.vocals + new.instrumental, wave)
    # Behind the cross-fade it is what the other seed gives for the whole song.
    other = tiny_separator.separate(wave, rate, replace(TWO_STEPS, seed=7))
    inside = slice(first + rate // 50, last - rate // 50)
    assert np.array_equal(new.vocals[:, inside], other.vocals[:, inside])


def test_stretches_are_renewed_one_over_the_other(tiny_separator: Separator) -> None:
    wave = mixture(4)

    def vocals(*stretches: tuple[float, float, int]) -> np.ndarray:
        return tiny_separator.separate(wave, RATE, replace(TWO_STEPS, renewed=stretches)).vocals

    one, two = vocals((0.5, 1.5, 7)), vocals((0.5, 1.5, 7), (2.0, 2.5, 8))
    assert np.array_equal(one[:, : 2 * RATE], two[:, : 2 * RATE]) and not np.array_equal(one, two)
    assert np.array_equal(vocals((0.5, 1.5, 3), (0.5, 1.5, 7))[:, RATE], one[:, RATE])
    with pytest.raises(ConfigError, match="ends after it begins"):
        vocals((2.0, 1.0, 7))


def test_streams_that_are_cut_otherwise_keep_step() -> None:
    wave = np.arange(24.0).reshape(2, 12)
    cuts = [[0, 5, 12], [0, 1, 1, 7, 12], [0, 12]]
    streams = [iter([wave[:, a:b] for a, b in itertools.pairwise(cut)]) for cut in cuts]
    blocks = list(in_step(streams))
    for number in range(3):
        assert np.array_equal(np.concatenate([block[number] for block in blocks], 1), wave)
    assert all(len({part.shape for part in block}) == 1 for block in blocks)


def test_candidates_lie_apart_where_the_seed_decides_and_nowhere_else(
    tiny_separator: Separator, tmp_path: Path
) -> None:
    wave = mixture(6)
    wave[:, 2 * RATE : 5 * RATE] = 0
    sf.write(tmp_path / "song.wav", wave.T, RATE)
    settings = tiny_separator.settings(TWO_STEPS)
    told: list[float] = []
    rows = spread(tiny_separator, tmp_path / "song.wav", settings, 3, Progress(lambda *a: told.append(a[0])))
    assert [row.start for row in rows] == [0, 1, 2, 3, 4, 5] and told == sorted(told) and told[-1] == 1
    # By hand: the deviation of three separations of the whole song.
    vocals = np.stack([tiny_separator.separate(wave, RATE, replace(TWO_STEPS, seed=s)).vocals for s in range(3)])
    for row in rows:
        second = vocals[:, :, int(row.start) * RATE : (int(row.start) + 1) * RATE].astype(np.float64)
        deviation = np.mean(np.var(second, 0, ddof=1))
        assert row.spread_db == pytest.approx(10 * np.log10(deviation + 1e-12), abs=1e-3)
        assert row.level_db == pytest.approx(10 * np.log10(np.mean(second.mean(0) ** 2) + 1e-12), abs=1e-3)
    assert rows[0].spread_db > -60 and rows[3].spread_db < -119
    one = tiny_separator.settings(TWO_STEPS, start=1.0, duration=0.5)
    assert [row.start for row in spread(tiny_separator, tmp_path / "song.wav", one, 2, Progress(None))] == [1.0]
    # Of a part, too, progress is that of what is done; and a part may be a single sample.
    told.clear()
    part = tiny_separator.settings(TWO_STEPS, start=1.0, duration=3.0)
    spread(tiny_separator, tmp_path / "song.wav", part, 2, Progress(lambda *a: told.append(a[0])))
    assert sorted(told) == told and max(a for a in told if a < 1) > 0.9
    shortest = tiny_separator.settings(TWO_STEPS, duration=1e-5)
    assert len(spread(tiny_separator, tmp_path / "song.wav", shortest, 2, Progress(None))) == 1
    write_table(rows, tmp_path / "table.csv")
    write_plot(rows, tmp_path / "plot.png")
    with (tmp_path / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["spread_db"]) for line in table] == [pytest.approx(r.spread_db, abs=0.006) for r in rows]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_vocals_of_another_song_are_not_renewed(tiny_separator: Separator, tmp_path: Path) -> None:
    sf.write(tmp_path / "song.wav", mixture(3).T, RATE)
    (tmp_path / "before").mkdir()
    sf.write(tmp_path / "before/vocals.wav", mixture(5).T, RATE)
    options = replace(TWO_STEPS, renewed=((1.0, 2.0, 5),))
    places = (tmp_path / "song.wav", tmp_path / "before", tmp_path / "out")
    with pytest.raises(AudioError, match=r"vocals.wav: is not of .*song.wav"):
        renew_stems(tiny_separator, *places, options, Progress(None))
    assert not list(tmp_path.glob("out/*"))


def test_the_preview_is_where_the_voice_is_loudest(tiny_separator: Separator, tmp_path: Path) -> None:
    band, voice = played(80, 3), sung(80, 220, 9)
    voice[: 45 * RATE] *= 0.01
    voice[75 * RATE :] *= 0.01
    sf.write(tmp_path / "song.wav", (band + voice).T, RATE)
    start, duration = loudest_singing(tiny_separator, tmp_path / "song.wav")
    assert start == pytest.approx(45, abs=5) and duration == 30
    sf.write(tmp_path / "short.wav", mixture(3).T, RATE)
    assert loudest_singing(tiny_separator, tmp_path / "short.wav")[0] == 0
