"""A doctor for vocals/mixture pairs: what in a data set would spoil a training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from ldm_sep.audio import as_stereo, read
from ldm_sep.data.layouts import LAYOUTS
from ldm_sep.data.tracks import Layout, Track
from ldm_sep.errors import AudioError
from ldm_sep.listing import list_audio
from ldm_sep.signal.loudness import frame_power, level_db, loudest_window

_CLIP = 0.999
_CLIP_RUN = 4
_EXCERPT_SECONDS = 30
_MAX_LAG_SECONDS = 0.5
# Resamplers and codecs may shift a file by one sample, which does not matter in training.
_HARMLESS_LAG = 1
# Correlation of the loudness courses of two copies of a recording; different songs stay far below.
_SAME_RECORDING = 0.97
_SHORTEST_COURSE = 20
# Training windows are longer.
_SHORTEST_SECONDS = 1.0


@dataclass(frozen=True)
class Finding:
    """``kind`` is incomplete, unreadable, channels, length, rate, short, silence, clipping, level, alignment, sum,
    leakage or split; ``message`` explains it.
    """

    track: str
    kind: str
    message: str


def check_tracks(tracks: Sequence[Track]) -> Iterator[Finding]:
    """Findings about each track, in order, then recordings that are in two splits. Nothing is raised for a bad file:
    that is a finding too.
    """
    courses: list[tuple[Track, np.ndarray]] = []
    for track in tracks:
        try:
            yield from _check_track(track, courses)
        except AudioError as error:
            yield Finding(track.name, "unreadable", str(error))
    yield from _check_splits(courses)


def _check_splits(courses: Sequence[tuple[Track, np.ndarray]]) -> Iterator[Finding]:
    """Findings about recordings that are trained on and scored on, whatever they are called and however encoded."""
    trained = [(track, course) for track, course in courses if track.split == "train"]
    for track, course in courses:
        if track.split == "train":
            continue
        for other, known in trained:
            if same_recording(course, known):
                yield Finding(
                    track.name,
                    "split",
                    f"the same recording as '{other.name}' in train; scores on {track.split} will be too good",
                )


def same_recording(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two courses of loudness (dB in steps of 0.1 s) are of one recording, at any gain, from its beginning."""
    frames = min(len(a), len(b))
    if frames < _SHORTEST_COURSE or abs(len(a) - len(b)) > 0.05 * frames + 10:
        return False
    return _likeness(a[:frames] - a[:frames].mean(), b[:frames] - b[:frames].mean()) > _SAME_RECORDING


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of the angle between two vectors; 0 where one of them is zero."""
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def check_complete(layout: Layout, root: Path, tracks: Sequence[Track]) -> Iterator[Finding]:
    """Findings about folders below ``root`` that hold audio but gave none of its ``tracks``: training passes them over.
    Not for tables, which name what they want.
    """
    listing = list_audio(root)
    for line in listing.unreadable:
        yield Finding(root.name, "unreadable", line)
    known = {file.parent for track in tracks for file in track.files}
    for folder in sorted({path.parent for path in listing.audio} - known):
        inside = {path.stem for path in listing.audio if path.parent == folder}
        if "vocals" not in inside:
            why = f"no vocals.* among {', '.join(sorted(inside)[:8])}"
        elif "mixture" not in inside:
            why = "no mixture.* beside the vocals" + (" and no other stem" if layout != "pairs" else "")
        else:
            why = f"not where songs are looked for, {LAYOUTS[layout]}"
        yield Finding(folder.name, "incomplete", f"{why}; training passes it over")


def _check_track(track: Track, courses: list[tuple[Track, np.ndarray]]) -> Iterator[Finding]:
    """Findings about one track, whose course of loudness is added to ``courses``."""
    waves: dict[Path, np.ndarray] = {}
    rates: dict[Path, int] = {}
    for path in track.files:
        waves[path], rates[path] = read(path)
        if waves[path].shape[0] > 2:
            yield Finding(track.name, "channels", f"{path.name}: {waves[path].shape[0]} channels; mix it down to two")
            return
        runs = clipped_runs(waves[path])
        if runs:
            yield Finding(track.name, "clipping", f"{path.name}: {runs} runs of at least {_CLIP_RUN} clipped samples")
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{p.name} {r} Hz" for p, r in rates.items())
        yield Finding(track.name, "rate", f"sample rates differ: {listed}")
        return
    rate = next(iter(rates.values()))
    heard = waves[track.vocals or track.files[0]]
    courses.append((track, 10 * np.log10(frame_power(heard, _frame(heard, rate)) + 1e-7)))
    lengths = {p: w.shape[1] for p, w in waves.items()}
    spread = max(lengths.values()) - min(lengths.values())
    if spread:
        yield Finding(track.name, "length", f"lengths differ by {spread / rate:.3f} s")
    frames = min(lengths.values())
    if frames < _SHORTEST_SECONDS * rate:
        yield Finding(track.name, "short", f"lasts {frames / rate:.3f} s; silence fills the rest of a training window")
        return
    vocals = waves[track.vocals][:, :frames] if track.vocals else None
    stems = [as_stereo(waves[p][:, :frames]) for p in track.accompaniment]
    mixture = waves[track.mixture][:, :frames] if track.mixture else None
    if vocals is not None:
        share = silent_share(vocals, rate)
        if share > 0.95:
            yield Finding(track.name, "silence", f"the vocals are silent for {share:.0%} of the time")
    if vocals is None or not track.is_song:
        return
    vocals = as_stereo(vocals)
    if mixture is not None:
        mixture = as_stereo(mixture)
        yield from _check_alignment(track.name, vocals, mixture, rate)
        if stems:
            residual = level_db(mixture - vocals - reduce(np.add, stems)) - level_db(mixture)
            if residual > -30:
                yield Finding(
                    track.name, "sum", f"mixture minus all stems is only {-residual:.0f} dB below the mixture"
                )
    accompaniment = reduce(np.add, stems) if stems else mixture - vocals
    if silent_share(accompaniment, rate) > 0.95:
        yield Finding(track.name, "silence", "the accompaniment is silent nearly all of the time")
        return
    balance = level_db(vocals) - level_db(accompaniment)
    if not -20 <= balance <= 10:
        yield Finding(track.name, "level", f"the vocals are {balance:+.0f} dB relative to the accompaniment")
    correlation = leakage(vocals, accompaniment, rate)
    if correlation > 0.5:
        yield Finding(
            track.name,
            "leakage",
            f"between phrases the vocals resemble the accompaniment (correlation {correlation:.2f})",
        )


def clipped_runs(wave: np.ndarray) -> int:
    """Runs of at least four neighbouring samples of ``wave (C, T)`` at full scale."""
    count = 0
    for channel in np.abs(wave) >= _CLIP:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], channel.astype(np.int8), [0]])))
        count += int(((edges[1::2] - edges[::2]) >= _CLIP_RUN).sum())
    return count


def silent_share(wave: np.ndarray, rate: int) -> float:
    """Share of the 100 ms frames of ``wave (C, T)`` below -60 dBFS."""
    return float((frame_power(wave, _frame(wave, rate)) < 1e-6).mean())


def find_lag(vocals: np.ndarray, mixture: np.ndarray, rate: int) -> tuple[int, float]:
    """Samples by which the vocals come late in the mixture, and how much better than lag 0 that matches (a ratio).

    From the cross-correlation, whitened in frequency (PHAT), of the loudest 30 s of the vocals, up to half a second
    either way.
    """
    v, m = vocals.mean(0), mixture.mean(0)
    n = min(len(v), _EXCERPT_SECONDS * rate)
    start = loudest_window(v[None], n)
    v, m = v[start : start + n], m[start : start + n]
    size = 1 << (2 * n - 1).bit_length()
    cross = np.fft.rfft(m, size) * np.conj(np.fft.rfft(v, size))
    correlation = np.fft.irfft(cross / (np.abs(cross) + 1e-9 * np.abs(cross).max() + 1e-30), size)
    reach = min(n - 1, int(_MAX_LAG_SECONDS * rate))
    lags = np.concatenate([correlation[-reach:], correlation[: reach + 1]]) if reach else correlation[:1]
    best = int(np.argmax(lags))
    at_zero = max(float(lags[reach]), 1e-12)
    return best - reach, float(lags[best]) / at_zero


def leakage(vocals: np.ndarray, accompaniment: np.ndarray, rate: int) -> float:
    """Correlation of vocals and accompaniment where the vocals are quiet but not digitally silent; 0 if nowhere."""
    frame = _frame(vocals, rate)
    power = frame_power(vocals, frame)
    quiet = (power < power.max() * 1e-3) & (power > 1e-9)
    if quiet.sum() < 10:
        return 0.0
    keep = np.repeat(quiet, frame)
    return abs(_likeness(*(wave[:, : len(keep)][:, keep].ravel() for wave in (vocals, accompaniment))))


def _check_alignment(name: str, vocals: np.ndarray, mixture: np.ndarray, rate: int) -> Iterator[Finding]:
    if not vocals.any() or not mixture.any():
        return
    lag, ratio = find_lag(vocals, mixture, rate)
    if abs(lag) > _HARMLESS_LAG and ratio > 1.5:
        yield Finding(
            name, "alignment", f"the vocals sit {abs(lag) / rate * 1000:.2f} ms {'early' if lag > 0 else 'late'}"
        )


def _frame(wave: np.ndarray, rate: int) -> int:
    """Samples of a tenth of a second, or of a shorter wave."""
    return max(1, min(rate // 10, wave.shape[1]))
