"""Which files are taken for which track."""

import unicodedata
from pathlib import Path

import pytest

from ldm_sep.errors import ConfigError, DataError
from ldm_sep.evaluate import extra_files, match_tracks, unmatched_references
from ldm_sep.evaluate.match import need_mixtures


def lay(root: Path, *names: str) -> Path:
    """A folder of files that nobody opens."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    "reference",
    [("A/vocals.wav", "B c/vocals.flac"), ("A.wav", "B c.flac"), ("A_vocals.wav", "B c_vocals.flac")],
)
@pytest.mark.parametrize(
    "estimates",
    [
        ("A/vocals.wav", "A/instrumental.wav", "B c/vocals.mp3"),
        ("A.ogg", "B c.wav"),
        ("A_vocals.wav", "A_drums.wav", "B c_vocals.wav"),
        ("A/mixture/vocals.wav", "A/mixture/instrumental.wav", "B c.wav"),
    ],
)
def test_every_layout_of_references_meets_every_layout_of_estimates(
    tmp_path: Path, reference: tuple[str, ...], estimates: tuple[str, ...]
) -> None:
    root, other = lay(tmp_path / "ref", *reference), lay(tmp_path / "est", *estimates)
    tracks = match_tracks(root, {"ours": other})
    assert [track.name for track in tracks] == ["A", "B c"]
    assert [track.reference for track in tracks] == [root / name for name in reference]
    assert tracks[0].estimates == {"ours": other / estimates[0]}
    assert tracks[1].estimates == {"ours": other / estimates[-1]}
    assert extra_files(tracks, {"ours": other}) == {}


def test_musdb_folders_bring_their_mixtures_and_other_stems_are_no_tracks(tmp_path: Path) -> None:
    stems = ("vocals", "drums", "bass", "other", "mixture")
    root = lay(tmp_path / "m", *(f"test/{song}/{stem}.wav" for song in "XY" for stem in stems))
    tracks = match_tracks(root, {})
    assert [track.name for track in tracks] == ["test/X", "test/Y"]
    assert [track.mixture for track in tracks] == [root / f"test/{song}/mixture.wav" for song in "XY"]


def test_mixtures_come_from_their_own_folder_if_one_is_named(tmp_path: Path) -> None:
    root = lay(tmp_path / "ref", "A/vocals.wav", "A/mixture.wav", "B/vocals.wav")
    mixtures = lay(tmp_path / "mix", "A.wav", "B/mixture.flac")
    tracks = match_tracks(root, {}, mixtures)
    assert [track.mixture for track in tracks] == [mixtures / "A.wav", mixtures / "B/mixture.flac"]
    (mixtures / "B/mixture.flac").unlink()
    with pytest.raises(DataError, match=r"no mixture of the track 'B'; looked for B/mixture\.wav"):
        match_tracks(root, {}, mixtures)


def test_a_song_may_lie_at_the_top_of_both_folders(tmp_path: Path) -> None:
    root = lay(tmp_path / "song", "vocals.wav", "mixture.wav")
    estimates = lay(tmp_path / "est", "vocals.wav", "instrumental.wav")
    (track,) = match_tracks(root, {"ours": estimates})
    assert (track.name, track.mixture) == ("song", root / "mixture.wav")
    assert track.estimates == {"ours": estimates / "vocals.wav"}


def test_names_match_whatever_form_the_file_system_keeps(tmp_path: Path) -> None:
    composed, split = (unicodedata.normalize(form, "Ünï – é") for form in ("NFC", "NFD"))
    root, other = lay(tmp_path / "ref", f"{composed}.wav"), lay(tmp_path / "est", f"{split}/vocals.wav")
    (track,) = match_tracks(root, {"ours": other})
    assert track.name == composed
    assert track.estimates["ours"].is_file()


def test_a_missing_estimate_names_track_folder_and_files_looked_for(tmp_path: Path) -> None:
    root = lay(tmp_path / "ref", "A.wav", "B.wav")
    other = lay(tmp_path / "est", "A.wav")
    with pytest.raises(DataError) as error:
        match_tracks(root, {"ours": other})
    text = str(error.value)
    assert str(other) in text and "ours has no estimate of 1 of 2 tracks, the first is the track 'B'" in text
    assert "B/vocals.wav, B_vocals.wav, B.wav, B/mixture/vocals.wav" in text and "\n" not in text


def test_extra_files_are_found_but_other_stems_are_none(tmp_path: Path) -> None:
    root = lay(tmp_path / "ref", "A.wav")
    other = lay(tmp_path / "est", "A/vocals.wav", "A/bass.wav", "old/A/vocals.wav", "C.wav", ".hidden.wav", "notes.txt")
    tracks = match_tracks(root, {"ours": other})
    assert extra_files(tracks, {"ours": other}) == {"ours": [other / "C.wav", other / "old/A/vocals.wav"]}


def test_references_that_other_names_leave_out_are_known(tmp_path: Path) -> None:
    mixed = lay(tmp_path / "mixed", "A.wav", "B.wav", "lead_vocals.wav", "lead_drums.wav")
    assert unmatched_references(match_tracks(mixed, {}), mixed) == [mixed / "A.wav", mixed / "B.wav"]
    musdb = lay(tmp_path / "musdb", "A/vocals.wav", "A/drums.wav", "A/mixture.wav", "B/vocals.wav")
    assert unmatched_references(match_tracks(musdb, {}), musdb) == []


@pytest.mark.parametrize("second", ["A.flac", "A/vocals.wav"])
def test_two_files_for_one_track_are_refused(tmp_path: Path, second: str) -> None:
    root, other = lay(tmp_path / "ref", "A.wav"), lay(tmp_path / "est", "A.wav", second)
    with pytest.raises(DataError, match=r"fits the track 'A', and so does .*; take one of them away"):
        match_tracks(root, {"ours": other})


@pytest.mark.parametrize("name", ["irm", "codec:open", "reference", " "])
def test_estimates_cannot_have_a_baselines_name(tmp_path: Path, name: str) -> None:
    root = lay(tmp_path / "ref", "A.wav")
    with pytest.raises(ConfigError, match="choose another"):
        match_tracks(root, {name: root})


def test_folders_that_are_missing_or_empty_are_named(tmp_path: Path) -> None:
    root = lay(tmp_path / "ref", "A.wav")
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        match_tracks(root, {"ours": tmp_path / "nowhere"})
    with pytest.raises(DataError, match=r"empty: no audio files"):
        match_tracks(lay(tmp_path / "empty", "notes.txt"), {})


def test_baselines_made_from_mixtures_need_them(tmp_path: Path) -> None:
    tracks = match_tracks(lay(tmp_path / "ref", "A.wav"), {})
    need_mixtures(tracks, ["silence"])
    with pytest.raises(DataError, match=r"A\.wav: the track 'A' has no mixture, .* irm .*--mixtures"):
        need_mixtures(tracks, ["silence", "irm"])
