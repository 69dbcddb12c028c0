"""Which estimate belongs to which reference, decided by names and before any work.

A reference folder has one of three layouts, below any number of folders: ``<track>/vocals.*`` (MUSDB18-HQ; a
``mixture.*`` beside it is the mixture), ``<track>_vocals.*`` (then ``<track>_mixture.*``), or ``<track>.*``. Where
files of the first kind exist nothing else counts, and so on, so that other stems are not taken for tracks. Estimates
may be in any of them, track by track, or in ``<track>/mixture/vocals.*``, which a separator makes of a MUSDB18-HQ
folder. Names are compared in Unicode's composed form, since file systems differ in it.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ldm_sep.errors import ConfigError, DataError
from ldm_sep.files import shown
from ldm_sep.listing import AUDIO_SUFFIXES, audio_files

# Baselines that need nothing but the track's own files; codec:CHECKPOINT is the other kind.
BASELINES = ("irm", "mixture", "silence", "karaoke")
CODEC_BASELINE = "codec:"
NEED_MIXTURE = ("irm", "mixture", "karaoke")

_ESTIMATES = ("{}/vocals", "{}_vocals", "{}", "{}/mixture/vocals")
_MIXTURES = ("{}/mixture", "{}_mixture", "{}")


@dataclass(frozen=True)
class TrackFiles:
    """One track: its ``name`` (path below the reference folder, with ``/``), the true vocals, the mixture if there is
    one, and the estimate of every system by the system's name.
    """

    name: str
    reference: Path
    mixture: Path | None
    estimates: dict[str, Path]


def is_baseline(word: str) -> bool:
    """Whether ``word`` names a built-in baseline."""
    return word in BASELINES or word.startswith(CODEC_BASELINE)


def match_tracks(reference: Path, estimates: Mapping[str, Path], mixtures: Path | None = None) -> list[TrackFiles]:
    """The tracks of ``reference``, sorted by name, with their files in the folders ``estimates`` and ``mixtures``.

    A folder with ``vocals.*`` at its top is one track; its name is the folder's.

    Raises:
        ConfigError: a system's name is empty or that of a baseline.
        DataError: a folder is missing or holds no audio; tracks have no estimate, or no mixture in ``mixtures``; two
            files fit one track.
    """
    truth = _index(reference)
    mixed = _index(mixtures) if mixtures is not None else None
    places = _tracks(truth, reference, "vocals")
    estimated = _find_estimates([key for key, _ in places], reference, estimates)
    tracks = []
    for (key, pattern), found in zip(places, estimated, strict=True):
        name = key or reference.resolve().name
        vocals = _only(truth, _join(pattern, key), name, reference)
        if mixed is not None and mixtures is not None:
            mixture = _pick(mixed, key, _MIXTURES, name, mixtures)
            if mixture is None:
                raise DataError(_missing("there is no mixture of", name, key, _MIXTURES, mixtures))
        else:
            beside = _join(pattern.replace("vocals", "mixture"), key)
            mixture = _only(truth, beside, name, reference) if pattern != "{}" and beside in truth else None
        tracks.append(TrackFiles(name, vocals, mixture, found))
    return tracks


def match_songs(mixtures: Path, estimates: Mapping[str, Path]) -> list[tuple[str, Path, dict[str, Path]]]:
    """The songs of ``mixtures``, of which no true vocals are known, sorted by name: (name, mixture, estimates).

    The folder's layouts are those of references, with ``mixture`` for ``vocals``. Raises as `match_tracks` does.
    """
    mixed = _index(mixtures)
    places = _tracks(mixed, mixtures, "mixture")
    estimated = _find_estimates([key for key, _ in places], mixtures, estimates)
    songs = []
    for (key, pattern), found in zip(places, estimated, strict=True):
        name = key or mixtures.resolve().name
        songs.append((name, _only(mixed, _join(pattern, key), name, mixtures), found))
    return songs


def match_inputs(songs: Sequence[tuple[Path, Path]], estimates: Path) -> list[Path]:
    """The estimate of each of the ``songs``, (file, folder below the one that was named): ``estimates`` itself if it is
    a file, which is one song's; in a folder what `match_songs` finds for a song of that name.

    DataError as there, and for a file and several songs.
    """
    if not estimates.is_dir():
        if len(songs) != 1:
            raise DataError(f"{shown(estimates)}: is no folder, and there are {len(songs)} songs; name a folder")
        return [estimates]
    index, found = _index(estimates), []
    for path, below in songs:
        if path.stem == "mixture":
            name = below.as_posix() if below != Path() else path.resolve().parent.name
        else:
            name = (below / path.stem.removesuffix("_mixture")).as_posix()
        name = _plain(name)
        estimate = _pick(index, name, _ESTIMATES, name, estimates)
        if estimate is None:
            raise DataError(_missing("there is no estimate of", name, name, _ESTIMATES, estimates))
        found.append(estimate)
    return found


def _find_estimates(keys: Sequence[str], root: Path, estimates: Mapping[str, Path]) -> list[dict[str, Path]]:
    """For each track of ``root`` the estimate of every system."""
    for system in estimates:
        if not system.strip() or is_baseline(system) or system == "reference":
            raise ConfigError(f"'{system}' cannot name estimates, it is empty or means something else; choose another")
    found: list[dict[str, Path]] = [{} for _ in keys]
    for system, folder in estimates.items():
        index = _index(folder)
        lacking = []
        for key, files in zip(keys, found, strict=True):
            path = _pick(index, key, _ESTIMATES, key or root.resolve().name, folder)
            if path is None:
                lacking.append(key)
            else:
                files[system] = path
        if lacking:
            # All are counted, since a wrong folder and one forgotten song need different remedies.
            what = f"{system} has no estimate of {len(lacking)} of {len(keys)} tracks, the first is"
            missing = _missing(what, lacking[0] or root.resolve().name, lacking[0], _ESTIMATES, folder)
            raise DataError(f"{missing}; add what is missing")
    return found


def extra_files(tracks: Sequence[TrackFiles], estimates: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Audio files in the folders ``estimates`` that belong to no track, by system; systems without any are left out.

    Other stems beside an estimate (``instrumental.*``, ``<track>_drums.*``) are not counted.
    """
    extra = {system: _rest(folder, {t.estimates[system] for t in tracks}) for system, folder in estimates.items()}
    return {system: files for system, files in extra.items() if files}


def unmatched_references(tracks: Sequence[TrackFiles], reference: Path) -> list[Path]:
    """Audio files in the folder of references that are no track's, because other files there have names that say more
    (see the module's docstring). Other stems beside a track's vocals are not counted.
    """
    return _rest(reference, {t.reference for t in tracks} | {t.mixture for t in tracks if t.mixture})


def _rest(folder: Path, used: set[Path]) -> list[Path]:
    folders = {path.parent for path in used if _plain(path.stem) == "vocals"}
    prefixes = {path.parent / path.stem[: -len("vocals")] for path in used if path.stem.endswith("_vocals")}
    return sorted(
        path
        for paths in _index(folder).values()
        for path in paths
        if path not in used
        and path.parent not in folders
        and not any(path.parent == p.parent and path.name.startswith(p.name) for p in prefixes)
    )


def need_mixtures(tracks: Sequence[TrackFiles], systems: Sequence[str]) -> None:
    """DataError if one of ``systems`` is a baseline made from the mixture and a track has none."""
    for system in systems:
        if system in NEED_MIXTURE:
            for track in tracks:
                if track.mixture is None:
                    raise DataError(
                        f"{track.reference}: the track '{track.name}' has no mixture, which the "
                        f"baseline {system} needs; name the folder of mixtures with --mixtures"
                    )


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _index(root: Path) -> dict[str, list[Path]]:
    """Every audio file below ``root`` by its path without suffix; hidden files and folders are passed over."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; check the name")
    index: dict[str, list[Path]] = {}
    for path in audio_files(root):
        relative = path.relative_to(root)
        index.setdefault(_plain((relative.parent / path.stem).as_posix()), []).append(path)
    if not index:
        raise DataError(f"{root}: no audio files in this folder; known are {', '.join(AUDIO_SUFFIXES)}")
    return index


def _tracks(index: Mapping[str, list[Path]], root: Path, stem: str) -> list[tuple[str, str]]:
    """(key, pattern) of every track, whose file ``stem`` names; that of one at the top of ``root`` is empty."""
    folders = [key for key in index if key.split("/")[-1] == stem]
    suffixed = [key for key in index if key.endswith(f"_{stem}") and not key.endswith(f"/_{stem}")]
    if folders:
        if stem in folders and len(folders) > 1:
            raise DataError(
                f"{index[stem][0]}: lies beside folders of tracks in {root}; give it a folder of "
                "its own, named as the track"
            )
        return sorted((key.removesuffix(stem).removesuffix("/"), f"{{}}/{stem}") for key in folders)
    if suffixed:
        return sorted((key.removesuffix(f"_{stem}"), f"{{}}_{stem}") for key in suffixed)
    return sorted((key, "{}") for key in index)


def _join(pattern: str, key: str) -> str:
    """The place of track ``key``; a track at the top of a folder has no name to begin with."""
    return pattern.format(key).lstrip("/") if not key else pattern.format(key)


def _places(patterns: Sequence[str], key: str) -> list[str]:
    return [place for pattern in patterns if (place := _join(pattern, key)) not in ("", "_vocals", "_mixture")]


def _pick(index: Mapping[str, list[Path]], key: str, patterns: Sequence[str], name: str, root: Path) -> Path | None:
    hits = [place for place in _places(patterns, key) if place in index]
    if len(hits) > 1:
        first, second = index[hits[0]][0], index[hits[1]][0]
        raise DataError(_two(first, second, name))
    return _only(index, hits[0], name, root) if hits else None


def _only(index: Mapping[str, list[Path]], place: str, name: str, root: Path) -> Path:
    if len(index[place]) > 1:
        raise DataError(_two(index[place][0], index[place][1], name))
    return index[place][0]


def _two(first: Path, second: Path, name: str) -> str:
    return f"{shown(first)}: fits the track '{shown(name)}', and so does {shown(second)}; take one of them away"


def _missing(what: str, name: str, key: str, patterns: Sequence[str], root: Path) -> str:
    looked = ", ".join(f"{shown(place)}.wav" for place in _places(patterns, key))
    return f"{shown(root)}: {what} the track '{shown(name)}'; looked for {looked} (or .flac, .mp3, ...)"
