"""Singing made of speech: more voices to train on where nobody recorded singers.

Recorded speech is taken apart by WORLD (M. Morise, F. Yokomori, K. Ozawa, "WORLD: a vocoder-based high-quality speech
synthesis system for real-time applications", IEICE Trans. Inf. Syst. E99-D, 2016) and put together again on one steady
pitch with longer vowels. What comes out has the form of a sampled singer: strings of syllables, each with its pitch,
which training then leads along melodies. The envelope of the spectrum stays the speaker's own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ldm_sep.audio import AudioWriter, read, resample
from ldm_sep.config.fields import Line
from ldm_sep.data.tables import RoleRow, add_roles
from ldm_sep.errors import AudioError, DataError, need_package, unwritable
from ldm_sep.files import make_folder, shown, write_text
from ldm_sep.listing import AUDIO_SUFFIXES
from ldm_sep.records import Record, read_table

RATE = 44100
_FRAME_SECONDS = 0.005
_LOWEST_F0, _HIGHEST_F0 = 65.0, 500.0
# A shorter take is a noise or a breath, and so is one whose sounding part is voiced for less than this share.
_LEAST_VOICED_SECONDS, _LEAST_VOICED = 0.12, 0.3
_LONGEST_SECONDS = 5.0
_NOISE_ALONE = 0.99
# Range of the notes around the speaker's median pitch, in semitones. It reaches up: people sing higher than they speak.
_SEMITONES = (-2.0, 12.0)
# Factor by which vowels are lengthened, to the length of notes. Consonants keep their length.
_STRETCH = (2.0, 5.0)
# Standard deviation and correlation time of the pitch around its note. A perfectly steady pitch sounds synthetic.
_STRAY_SEMITONES, _STRAY_SECONDS = 0.08, 0.1
# In dB below the loudest 10 ms: the room's sound is faded out from the first level on, and gone at the second.
_QUIET_DB, _GONE_DB = 28.0, 38.0
_LEVEL = 0.1
_REST_SECONDS = 0.06


@dataclass(frozen=True)
class Speaker:
    """One person's recordings; ``files`` sorted by name."""

    name: str
    files: tuple[Path, ...]


class _SpeakerRow(Record):
    speaker: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=100)]
    files: Line


def read_speakers(table: Path, root: Path) -> list[Speaker]:
    """The rows ``speaker, files`` of the CSV file ``table``; ``files`` are patterns below ``root``, joined by ``|``,
    in which ``**`` stands for any folders. Other columns (source, licence) are for readers.

    DataError if a column is missing, a name cannot be a file's or stands twice, or a pattern finds no audio.
    """
    rows = read_table(table, _SpeakerRow, DataError)
    if not rows:
        raise DataError(f"{table}: needs the columns speaker and files and a row for each speaker")
    speakers: list[Speaker] = []
    for row in rows:
        if any(row.speaker == other.name for other in speakers):
            raise DataError(f"{table}: the speaker '{row.speaker}' stands twice; give each a name of its own")
        place = shown(f"{table}: '{row.files}' of {row.speaker}")
        try:
            found = {path for pattern in row.files.split("|") for path in root.glob(pattern)}
        except (ValueError, NotImplementedError):
            raise DataError(f"{place} is no pattern of files below a folder") from None
        files = tuple(sorted(path for path in found if path.suffix.lower() in AUDIO_SUFFIXES))
        if not files:
            raise DataError(f"{place} finds no audio below {root}; check --root")
        speakers.append(Speaker(row.speaker, files))
    return speakers


def intone(wave: np.ndarray, rate: int, f0: float, stretch: float, rng: np.random.Generator) -> np.ndarray:
    """Speech ``wave (T,)`` at ``rate`` Hz on the steady pitch ``f0`` Hz, its voiced parts ``stretch`` times as long.

    Returns an empty array where too little of it is voiced.
    """
    analysis = _analyse(wave, rate)
    return _synthesise(analysis, rate, f0, stretch, rng) if analysis.is_voiced else wave[:0]


@dataclass(frozen=True)
class _Analysis:
    """By frame: F0 in Hz, 0 where unvoiced; ``spectra`` (power) and ``aperiodicity (frames, bins)``."""

    f0: np.ndarray
    spectra: np.ndarray
    aperiodicity: np.ndarray

    @property
    def is_voiced(self) -> bool:
        voiced = self.f0 > 0
        return bool(voiced.mean() >= _LEAST_VOICED and voiced.sum() * _FRAME_SECONDS >= _LEAST_VOICED_SECONDS)


def _analyse(wave: np.ndarray, rate: int) -> _Analysis:
    import pyworld

    wave = np.ascontiguousarray(wave, np.float64)
    f0, times = pyworld.harvest(wave, rate, _LOWEST_F0, _HIGHEST_F0, 1000 * _FRAME_SECONDS)
    aperiodicity = pyworld.d4c(wave, f0, times, rate)
    # Harvest finds a pitch in noise as well. D4C tells such frames: it finds them aperiodic in every band.
    f0 = np.where(aperiodicity.min(1) < _NOISE_ALONE, f0, 0.0)
    return _Analysis(f0, pyworld.cheaptrick(wave, f0, times, rate), aperiodicity)


def _synthesise(analysis: _Analysis, rate: int, pitch: float, stretch: float, rng: np.random.Generator) -> np.ndarray:
    import pyworld

    voiced = analysis.f0 > 0
    ends = np.cumsum(np.where(voiced, stretch, 1.0))
    at = np.interp(np.arange(0.0, ends[-1]), ends, np.arange(len(voiced)))
    below = np.floor(at).astype(int)
    above, share = np.minimum(below + 1, len(voiced) - 1), (at - below)[:, None]
    # Interpolated as logarithms, since levels change evenly in dB.
    levels = np.log(analysis.spectra)
    spectra = np.exp((1 - share) * levels[below] + share * levels[above])
    aperiodicity = (1 - share) * analysis.aperiodicity[below] + share * analysis.aperiodicity[above]
    # An autoregressive random walk around the note.
    pull = np.exp(-np.arange(100) * _FRAME_SECONDS / _STRAY_SECONDS)
    stray = np.convolve(rng.normal(size=len(at)), pull)[: len(at)] * _STRAY_SEMITONES / np.linalg.norm(pull)
    course = np.where(voiced[np.round(at).astype(int)], pitch * 2 ** (stray / 12), 0.0)
    return pyworld.synthesize(
        course, np.ascontiguousarray(spectra), np.ascontiguousarray(aperiodicity), rate, 1000 * _FRAME_SECONDS
    )


def _sounding(wave: np.ndarray, rate: int) -> np.ndarray:
    """``wave (T,)`` without what the room adds before, after and between the words."""
    hop = rate // 100
    frames = len(wave) // hop
    power = np.square(wave[: frames * hop].reshape(-1, hop)).mean(1)
    if not power.any():
        return wave[:0]
    level = 10 * np.log10(power / power.max() + 1e-10)
    loud = np.flatnonzero(level > -_QUIET_DB)
    gain = np.clip((level + _GONE_DB) / (_GONE_DB - _QUIET_DB), 0, 1)
    # Widened by three frames to each side, so that onsets and endings are not cut.
    gain = np.maximum.reduce([np.roll(gain, shift) for shift in range(-3, 4)])
    smooth = np.interp(np.arange(len(wave)), (np.arange(frames) + 0.5) * hop, gain)
    return (wave * smooth)[loud[0] * hop : (loud[-1] + 1) * hop]


def _load(path: Path) -> np.ndarray:
    wave, rate = read(path)
    wave = wave[:, : round(_LONGEST_SECONDS * rate)].mean(0)
    if rate != RATE:
        wave = resample(wave[None], rate, RATE)[0]
    return _sounding(wave.astype(np.float64), RATE)


def make_voices(
    speakers: list[Speaker],
    out: Path,
    *,
    seconds: float,
    seed: int,
    spoken: bool = False,
    progress: Callable[[int, int], None],
) -> list[str]:
    """Write one recording of about ``seconds`` of intoned speech for each speaker into ``out``, or of the speech as it
    is (``spoken``).

    Writes FLAC files, beside each a ``.txt`` of its clips (start and end in s, name and, of what is intoned, f0 in Hz),
    and rows of ``out/manifest.csv`` (layout ``roles``, role vocals or speech, split train). A recording depends on the
    speaker's name and files, ``seconds``, ``seed`` and ``spoken`` alone; those that are there already are kept. Returns
    the names of speakers without enough speech. DependencyError without pyworld, DataError if no speaker has enough.
    """
    if not spoken:
        need_package("making voices of speech", "pyworld", "pyworld-prebuilt")
    make_folder(out)
    rows, silent = [], []
    for index, speaker in enumerate(speakers):
        target = out / f"{speaker.name}{'_spoken' if spoken else ''}.flac"
        if not target.is_file() or not target.with_suffix(".txt").is_file():
            rng = np.random.default_rng([seed, *speaker.name.encode()])
            clips = (_spoken_clips if spoken else _sung_clips)(speaker, seconds, rng)
            if not clips:
                silent.append(speaker.name)
            else:
                _write(clips, target)
        if target.is_file():
            role = "speech" if spoken else "vocals"
            row = RoleRow(path=target.name, role=role, split="train", pair_id="", singer_or_source=speaker.name)
            rows.append(row)
        progress(index + 1, len(speakers))
    if not rows:
        raise DataError(f"{out}: none of {len(speakers)} speakers has enough {'' if spoken else 'voiced '}speech")
    add_roles(out, rows)
    return silent


@dataclass(frozen=True)
class _Clip:
    """A take as it is written; ``f0`` in Hz, None of speech."""

    wave: np.ndarray
    name: str
    f0: float | None


def _takes(speaker: Speaker, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Name and wave of the speaker's takes, in random order."""
    for number in rng.permutation(len(speaker.files)):
        path = speaker.files[number]
        try:
            wave = _load(path)
        except AudioError:
            # One unreadable file among hundreds does not cost the speaker.
            continue
        if len(wave) / RATE >= _LEAST_VOICED_SECONDS:
            yield path.stem, wave


def _spoken_clips(speaker: Speaker, seconds: float, rng: np.random.Generator) -> list[_Clip]:
    """Takes of the speaker in random order until they last ``seconds``."""
    clips, total = [], 0.0
    for name, wave in _takes(speaker, rng):
        if total >= seconds:
            break
        clips.append(_Clip(_levelled(wave), name, None))
        total += len(wave) / RATE + _REST_SECONDS
    return clips


def _sung_clips(speaker: Speaker, seconds: float, rng: np.random.Generator) -> list[_Clip]:
    """The same, each take intoned on a pitch of its own."""
    takes: list[tuple[str, _Analysis, float]] = []
    total = 0.0
    for name, wave in _takes(speaker, rng):
        if total >= seconds:
            break
        analysis = _analyse(wave, RATE)
        if analysis.is_voiced:
            stretch = rng.uniform(*_STRETCH)
            takes.append((name, analysis, stretch))
            total += np.where(analysis.f0 > 0, stretch, 1.0).sum() * _FRAME_SECONDS + _REST_SECONDS
    if not takes:
        return []
    own = np.median(np.concatenate([analysis.f0[analysis.f0 > 0] for _, analysis, _ in takes]))
    clips = []
    for name, analysis, stretch in takes:
        pitch = float(own * 2 ** (rng.uniform(*_SEMITONES) / 12))
        wave = _synthesise(analysis, RATE, pitch, stretch, rng)
        if wave.any():
            clips.append(_Clip(_levelled(wave), name, pitch))
    return clips


def _levelled(wave: np.ndarray) -> np.ndarray:
    """``wave``, which is not silent, at the level of all takes, or as near to it as its peaks allow."""
    level, peak = np.sqrt(np.square(wave).mean()), np.abs(wave).max()
    return wave * min(_LEVEL / level, 0.98 / peak)


def _write(clips: list[_Clip], target: Path) -> None:
    rest = np.zeros(round(_REST_SECONDS * RATE))
    lines, parts, position = [], [], 0
    for clip in clips:
        end = position + len(clip.wave)
        # Names may hold tabs, line ends and bytes that are no text.
        fields = [f"{position / RATE:.4f}", f"{end / RATE:.4f}", shown(clip.name)]
        lines.append("\t".join(fields if clip.f0 is None else [*fields, f"{clip.f0:.1f}"]) + "\n")
        parts += [clip.wave, rest]
        position = end + len(rest)
    with AudioWriter(target, RATE, 1, subtype="int16") as writer:
        writer.write(np.concatenate(parts)[None].astype(np.float32))
    with unwritable(DataError, target.with_suffix(".txt"), "make room, or name another --out"):
        write_text(target.with_suffix(".txt"), "".join(lines))
