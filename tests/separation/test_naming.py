"""Templates of file names: where stems and their record go, and what is refused before any work."""

from pathlib import Path

import pytest

from ldm_sep.errors import ConfigError
from ldm_sep.separation.naming import STEMS, Place, parse_template


@pytest.mark.parametrize(
    ("text", "vocals", "record"),
    [
        ("{track}/{stem}.{ext}", "song/vocals.flac", "song/separation.json"),
        ("{track}_{stem}.{ext}", "song_vocals.flac", "song_separation.json"),
        ("{trackext}/{track}/my {stem}.{ext}", "mp3/song/my vocals.flac", "mp3/song/my separation.json"),
        ("{{{track}}} {stem}.{ext}", "{song} vocals.flac", "{song} separation.json"),
    ],
)
def test_fields_stand_for_track_stem_and_suffixes(text: str, vocals: str, record: str) -> None:
    place = parse_template(text, STEMS).place(Path("out"), "song", "mp3", STEMS, "flac")
    assert place.targets["vocals"] == Path("out") / vocals and place.record == Path("out") / record
    assert place.targets.keys() == {"vocals", "instrumental"}


def test_a_track_whose_name_has_braces_is_taken_as_it_is() -> None:
    place = parse_template("{track}/{stem}.{ext}", STEMS).place(Path("out"), "{stem}{0}", "wav", STEMS, "wav")
    assert place == Place.plain(Path("out/{stem}{0}"), STEMS, "wav")


def test_one_stem_needs_no_field_of_its_own() -> None:
    place = parse_template("{track}.{ext}", ["vocals"]).place(Path("out"), "song", "wav", ["vocals"], "mp3")
    assert place.targets == {"vocals": Path("out/song.mp3")} and place.record == Path("out/song.json")


@pytest.mark.parametrize("before", ["{trackext}/", "{trackext}../", ".{trackext}./"])
def test_a_song_without_suffix_stays_below_the_output_folder(before: str) -> None:
    place = parse_template(before + "{track}_{stem}.{ext}", STEMS).place(Path("out"), "song", "", STEMS, "wav")
    assert place.targets["vocals"] == Path("out/song_vocals.wav") and place.record == Path("out/song_separation.json")


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("{track}.{ext}", "both stems one name"),
        ("{stem}.{ext}", "all songs one name"),
        ("{track}/{stem}.wav", "end in"),
        ("{stem}/{track}.{ext}", "lie in one folder"),
        ("../{track}/{stem}.{ext}", "leads out"),
        ("/tmp/{track}/{stem}.{ext}", "leads out"),
        ("{track}/{stem}{0}.{ext}", "use these alone"),
        ("{track.__class__}/{stem}.{ext}", "use these alone"),
        ("{track!r}/{stem}.{ext}", "use these alone"),
        ("{track:>99999999}/{stem}.{ext}", "use these alone"),
        ("{track/{stem}.{ext}", "no template"),
        ("{track}/{stem}}.{ext}", "no template"),
        ("", "end in"),
    ],
)
def test_other_templates_are_refused_in_one_line(text: str, needle: str) -> None:
    with pytest.raises(ConfigError, match=needle) as caught:
        parse_template(text, STEMS)
    assert str(caught.value).startswith("--filename ") and "\n" not in str(caught.value)
