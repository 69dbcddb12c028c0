"""All audio of a data set, decoded once to 16 bits at the codec's rate and kept on the training device."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ldm_sep.audio import read, resample
from ldm_sep.audio.resample import LENGTH_TOLERANCE
from ldm_sep.data.tracks import Track
from ldm_sep.device import usable_cores
from ldm_sep.errors import DataError, reason
from ldm_sep.files import complete_leftovers, locked, replacing, shown, write_text

# 6 dB of headroom: lossy files and sums of stems pass 1.0 now and then.
_SCALE = 16384.0


@dataclass(frozen=True)
class Part:
    """One decoded recording: ``channels`` planes of ``frames`` samples from ``offset`` on."""

    offset: int
    channels: int
    frames: int


@dataclass(frozen=True)
class Recording:
    """A track with its decoded parts; either may be missing, not both."""

    track: Track
    vocals: Part | None
    accompaniment: Part | None


class DecodedAudio:
    """Decoded tracks in one flat int16 tensor.

    The samples are kept in ``cache`` (one file for one list of tracks and rate, rebuilt when a source file changes) and
    moved to ``device`` whole; on the CPU they stay a memory map, so a set larger than memory can be used. ``melodies``
    are tunes for solo voices, as `ldm_sep.data.synthesis.melody.load_melodies` gives them. ``tell`` gets a line for
    each stem that silence makes longer. ``key`` is a hash of the names, sizes and times of the source files, and of
    the rate.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        sample_rate: int,
        cache: Path,
        device: torch.device,
        progress: Callable[[int, int], None] | None = None,
        melodies: Sequence[np.ndarray] = (),
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.sample_rate, self.device, self.melodies = sample_rate, device, melodies
        self.key = _key(tracks, sample_rate)
        data, index = cache / f"decoded-{self.key}.i16", cache / f"decoded-{self.key}.json"
        if not (data.is_file() and index.is_file()):
            try:
                cache.mkdir(parents=True, exist_ok=True)
                with locked(cache):
                    complete_leftovers(cache)
                    _decode(tracks, sample_rate, data, index, progress, tell)
            except OSError as error:
                raise DataError(
                    f"{error.filename or cache}: the decoded audio cannot be kept there ({reason(error)}); "
                    "name another --cache"
                ) from None
        parts = [[Part(**p) if p else None for p in pair] for pair in json.loads(index.read_text(encoding="utf-8"))]
        self.recordings = [Recording(t, v, a) for t, (v, a) in zip(tracks, parts, strict=True)]
        # Mapped copy-on-write, because torch asks for writable memory. Nothing is written.
        samples = torch.from_numpy(np.memmap(data, np.int16, "c"))
        self._samples = samples.to(device) if device.type != "cpu" else samples

    def crop(self, part: Part, start: int, frames: int) -> Tensor:
        """Stereo ``(2, frames)`` float32 from ``start`` on, zeros where the recording does not reach; mono is
        doubled.
        """
        out = torch.zeros(part.channels, frames, device=self.device)
        lo, hi = max(start, 0), min(start + frames, part.frames)
        if hi > lo:
            plane = self._samples[part.offset : part.offset + part.channels * part.frames]
            out[:, lo - start : hi - start] = plane.view(part.channels, part.frames)[:, lo:hi] / _SCALE
        return out.expand(2, -1) if part.channels == 1 else out

    def seconds(self, role: str) -> float:
        """Total seconds of ``role`` (vocals or accompaniment)."""
        parts = [getattr(r, role) for r in self.recordings]
        return sum(p.frames for p in parts if p) / self.sample_rate


def _key(tracks: Sequence[Track], sample_rate: int) -> str:
    digest = hashlib.sha256(str(sample_rate).encode())
    for track in tracks:
        # The roles count as well: the same files in other roles decode to something else.
        digest.update(f"{track.vocals is not None} {len(track.accompaniment)} {track.mixture is not None}\n".encode())
        for file in track.files:
            stat = file.stat()
            digest.update(f"{track.name}\0{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Loaded:
    """A file at the codec's rate, and how long it is in its own."""

    path: Path
    wave: np.ndarray
    length: str


def _load(path: Path, sample_rate: int) -> _Loaded:
    wave, rate = read(path)
    frames = wave.shape[1]
    if wave.shape[0] > 2:
        raise DataError(f"{path}: {wave.shape[0]} channels; training takes mono or stereo files")
    return _Loaded(path, resample(wave, rate, sample_rate), f"{frames} samples at {rate} Hz ({frames / rate:.3f} s)")


def _load_track(track: Track, sample_rate: int) -> tuple[tuple[np.ndarray | None, np.ndarray | None], list[str]]:
    """Vocals and accompaniment, and what is to be said of their lengths."""
    vocals = _load(track.vocals, sample_rate) if track.vocals else None
    told: list[str] = []
    accompaniment = None
    if track.accompaniment:
        stems = [_load(path, sample_rate) for path in track.accompaniment]
        longest = max(stems, key=lambda stem: stem.wave.shape[1])
        accompaniment = np.zeros((max(len(s.wave) for s in stems), longest.wave.shape[1]), np.float32)
        for stem in stems:
            accompaniment[:, : stem.wave.shape[1]] += stem.wave
        for part in [*stems, *([vocals] if vocals else [])]:
            if abs(longest.wave.shape[1] - part.wave.shape[1]) > LENGTH_TOLERANCE:
                told.append(
                    shown(
                        f"{part.path}: {part.length}, {longest.path.name} {longest.length}; silence fills the shorter"
                    )
                )
    elif track.mixture is not None and vocals is not None:
        mixture = _load(track.mixture, sample_rate)
        frames = min(mixture.wave.shape[1], vocals.wave.shape[1])
        if max(mixture.wave.shape[1], vocals.wave.shape[1]) - frames > LENGTH_TOLERANCE:
            raise DataError(
                f"{mixture.path}: {mixture.length}, its vocals {vocals.length}; cut both to the same length"
            )
        vocals = replace(vocals, wave=vocals.wave[:, :frames])
        accompaniment = mixture.wave[:, :frames] - vocals.wave
    return (None if vocals is None else vocals.wave, accompaniment), told


def _decode(
    tracks: Sequence[Track],
    sample_rate: int,
    data: Path,
    index: Path,
    progress: Callable[[int, int], None] | None,
    tell: Callable[[str], None] | None,
) -> None:
    entries: list[list[dict[str, int] | None]] = []
    offset, cores = 0, usable_cores()
    with replacing(data) as partial, partial.open("wb") as file, ThreadPoolExecutor(cores) as pool:
        # Tracks are decoded in groups. All at once, the whole set would be in memory.
        ahead = 2 * cores
        for first in range(0, len(tracks), ahead):
            group = tracks[first : first + ahead]
            for waves, told in pool.map(lambda t: _load_track(t, sample_rate), group):
                if tell is not None:
                    for line in told:
                        tell(line)
                entries.append([])
                for wave in waves:
                    part = None
                    if wave is not None:
                        file.write(np.clip(np.round(wave * _SCALE), -32768, 32767).astype(np.int16).tobytes())
                        part = asdict(Part(offset, *wave.shape))
                        offset += wave.size
                    entries[-1].append(part)
            if progress is not None:
                progress(min(first + ahead, len(tracks)), len(tracks))
    write_text(index, json.dumps(entries))
