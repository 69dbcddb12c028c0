"""Songs and stems in an object store: here in memory, by the same calls as any other."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from catalogues import bytes_of, here, make_songs, nobody, recipe_for, rows_of

from ldm_sep.catalogue import catalogue
from ldm_sep.errors import ConfigError, OutputError

OUT = "memory://store/out"


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/store", recursive=True)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_songs(tmp_path_factory.mktemp("songs"))


@pytest.fixture(scope="module")
def local(untrained: Path, songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local")
    catalogue([str(songs)], recipe_for(out, untrained), here)
    return out


def in_store(store: fsspec.AbstractFileSystem) -> dict[str, bytes]:
    return {
        path.removeprefix("/store/out/"): store.cat(path)
        for path in store.find("/store/out")
        if not path.endswith(".json")
    }


def test_objects_give_the_same_bytes_and_rows_as_files(
    store: fsspec.AbstractFileSystem, songs: Path, local: Path, untrained: Path, tmp_path: Path
) -> None:
    store.put(str(songs), "/store/songs", recursive=True)
    recipe = recipe_for(OUT, untrained)
    tally = catalogue(["memory://store/songs"], recipe, here, journal=tmp_path)
    assert (tally.done, tally.failed, tally.total) == (4, 2, 6)
    assert in_store(store) == bytes_of(local)
    rows, alike = rows_of(tmp_path), rows_of(local)
    for name, row in rows.items():
        assert row["source"].startswith("memory://store/songs/")
        for key in ("status", "input", "key", "folder", "stems", "duration", "warnings", "tries"):
            assert row[key] == alike[name][key]
        assert row["error"] == alike[name]["error"].replace(alike[name]["source"], row["source"])
    assert catalogue(["memory://store/songs"], recipe, nobody, journal=tmp_path).done_before == 4
    # Without the journal they are found by the records beside the stems, and not written again.
    written = {path: store.created(path) for path in store.find("/store/out")}
    (tmp_path / "songs.jsonl").unlink()
    patterns = ["memory://store/songs/*.wav"]
    tally = catalogue(patterns, recipe, here, journal=tmp_path)
    assert (tally.done, tally.failed) == (2, 1)
    assert {path: store.created(path) for path in store.find("/store/out")} == written


def test_the_record_is_written_after_all_else(
    store: fsspec.AbstractFileSystem, songs: Path, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    put = type(store).put_file

    def watched(self: fsspec.AbstractFileSystem, source: str, target: str, **how: object) -> None:
        order.append(target.rsplit("/", 1)[1])
        put(self, source, target, **how)

    monkeypatch.setattr(type(store), "put_file", watched)
    catalogue([str(songs / "a.wav")], recipe_for(OUT, untrained), here, journal=tmp_path)
    assert order == ["instrumental.wav", "vocals.wav", "separation.json"]


def test_a_store_that_refuses_ends_the_run_and_fails_no_song(
    store: fsspec.AbstractFileSystem, songs: Path, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: fsspec.AbstractFileSystem, source: str, target: str, **how: object) -> None:
        raise PermissionError(13, "Access Denied")

    recipe = recipe_for(OUT, untrained)
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put_file", refused)
        with pytest.raises(OutputError, match=r"cannot be written .*Access Denied"):
            catalogue([str(songs / "a.wav")], recipe, here, journal=tmp_path)
    assert (tmp_path / "songs.jsonl").read_bytes() == b""
    assert catalogue([str(songs / "a.wav")], recipe, here, journal=tmp_path).done == 1


def test_an_object_that_is_not_there_fails(untrained: Path, tmp_path: Path) -> None:
    tally = catalogue(["memory://store/none.wav"], recipe_for(OUT, untrained), here, journal=tmp_path)
    assert tally.failed == 1
    assert rows_of(tmp_path)["none"]["error"] == "memory://store/none.wav: no such object; check the name"


def test_an_object_that_may_not_be_read_fails_by_itself(
    store: fsspec.AbstractFileSystem, songs: Path, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "silent"):
        store.put(str(songs / f"{name}.wav"), f"/store/{name}.wav")
    known = type(store).info

    def refused(self: fsspec.AbstractFileSystem, path: str, **how: object) -> object:
        if path.endswith("a.wav"):
            raise PermissionError(13, "Access Denied")
        return known(self, path, **how)

    inputs, recipe = ["memory://store/a.wav", "memory://store/silent.wav"], recipe_for(OUT, untrained)
    # In a second run the journal is asked whether the songs have changed.
    assert catalogue(inputs, recipe, here, journal=tmp_path).done == 2
    monkeypatch.setattr(type(store), "info", refused)
    tally = catalogue(inputs, recipe, here, journal=tmp_path)
    assert (tally.failed, tally.done_before) == (1, 1)
    row = rows_of(tmp_path)["a"]
    assert row["error"] == "memory://store/a.wav: cannot be read (Access Denied); check the rights"
    assert row["tries"] == 1


def test_a_bucket_that_is_not_there_is_told(untrained: Path, tmp_path: Path) -> None:
    lines: list[object] = []
    told = ["memory://nowhere: cannot be listed (not there); check the name and the rights"]
    tally = catalogue(
        ["memory://nowhere"],
        recipe_for(OUT, untrained),
        nobody,
        journal=tmp_path,
        report=lambda tally, news: lines.append(news),
    )
    assert lines == told and not tally.complete
    with pytest.raises(ConfigError, match=r"memory://store/songs.csv: .*copy it here"):
        catalogue(["memory://store/songs.csv"], recipe_for(OUT, untrained), nobody, journal=tmp_path)
