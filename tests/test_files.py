"""Files appear whole or not at all, whatever happens while they are written."""

import hashlib
from pathlib import Path

import pytest

from ldm_sep.files import replacing, sha256_of, shown


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "table.csv"
    with replacing(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    with replacing(path) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for text, names in (("one", ("a", "b")), ("two", ("b", "c"))):
        with replacing(path) as temporary:
            temporary.mkdir()
            for name in names:
                (temporary / name).write_text(text)
    assert {p.name: p.read_text() for p in path.iterdir()} == {"b": "two", "c": "two"}
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("folder", [False, True])
def test_an_exception_leaves_the_old_and_nothing_else(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "old"
    if folder:
        path.mkdir()
        (path / "kept").write_text("old")
    else:
        path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        if folder:
            temporary.mkdir()
            (temporary / "half").write_text("half")
        else:
            temporary.write_text("half")
        raise RuntimeError
    assert (path / "kept" if folder else path).read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_the_target_of_a_link_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with replacing(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"


def test_a_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_names_are_shown_on_one_printable_line() -> None:
    assert shown("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"
