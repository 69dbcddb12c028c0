"""The journal: what a kill, a full disk and damage leave of it."""

import json
import resource
from pathlib import Path

import pytest

from ldm_sep.catalogue import Row, Shard
from ldm_sep.catalogue.journal import Journal
from ldm_sep.errors import ConfigError

ALL = Shard()


def row(number: int, **facts: object) -> Row:
    return Row(**{"id": f"{number:016x}", "source": f"/s/{number}", "name": f"{number}", "status": "done", **facts})


def written(folder: Path, count: int) -> bytes:
    with Journal(folder, ALL) as journal:
        for number in range(count):
            journal.append(row(number))
    return (folder / "songs.jsonl").read_bytes()


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_a_torn_last_line_is_dropped_and_the_rest_kept(cut: int, tmp_path: Path) -> None:
    whole = written(tmp_path, 3)
    start = whole.rindex(b"\n", 0, -1) + 1
    (tmp_path / "songs.jsonl").write_bytes(whole[: start + cut] if cut > 0 else whole[:cut])
    with Journal(tmp_path, ALL) as journal:
        assert [journal.find(f"{n:016x}") for n in range(3)] == [row(0), row(1), None]
        journal.append(row(2, error="again"))
        assert journal.find(f"{2:016x}") == row(2, error="again")
    assert [json.loads(line)["name"] for line in (tmp_path / "songs.jsonl").read_text().splitlines()] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "damage", [b"{\n", b"\xff\xfe\n", b'["id"]\n', b'{"id": "z"}\n', b"[" * 100_000 + b"\n", b"\n"]
)
def test_a_damaged_line_costs_no_other(damage: bytes, tmp_path: Path) -> None:
    first, second = written(tmp_path, 2).splitlines(keepends=True)
    (tmp_path / "songs.jsonl").write_bytes(first + damage + second)
    with Journal(tmp_path, ALL) as journal:
        assert journal.find(f"{0:016x}") == row(0) and journal.find(f"{1:016x}") == row(1)
    assert (tmp_path / "songs.jsonl").read_bytes() == first + damage + second


def test_a_line_without_an_end_of_two_megabytes_costs_no_other(tmp_path: Path) -> None:
    first, second = written(tmp_path, 2).splitlines(keepends=True)
    (tmp_path / "songs.jsonl").write_bytes(first + b"x" * (2 << 20) + b"\n" + second)
    with Journal(tmp_path, ALL) as journal:
        assert journal.find(f"{1:016x}") == row(1)


def test_a_row_that_is_none_counts_as_absent(tmp_path: Path) -> None:
    (tmp_path / "songs.jsonl").write_text('{"id": "0000000000000001"}\n')
    with Journal(tmp_path, ALL) as journal:
        assert journal.find(f"{1:016x}") is None


def test_of_two_lines_for_one_song_the_later_counts_and_other_shards_count_too(tmp_path: Path) -> None:
    with Journal(tmp_path, Shard(1, 2)) as first, Journal(tmp_path, Shard(2, 2)) as second:
        first.append(row(1, error="old"))
        second.append(row(2))
    with Journal(tmp_path, ALL) as journal:
        assert journal.find(f"{2:016x}") == row(2)
        journal.append(row(1, error="new"))
        journal.append(row(3))
    with Journal(tmp_path, ALL) as journal:
        assert [journal.find(f"{n:016x}") for n in (1, 2, 3)] == [row(1, error="new"), row(2), row(3)]


def test_one_shard_has_one_writer(tmp_path: Path) -> None:
    with Journal(tmp_path, ALL), pytest.raises(ConfigError, match="another process is writing there"):
        Journal(tmp_path, ALL).__enter__()
    with Journal(tmp_path, ALL):
        pass


def test_a_disk_that_takes_no_more_leaves_no_half_line(tmp_path: Path) -> None:
    size = len(written(tmp_path, 2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path, ALL) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, hard))
        try:
            with pytest.raises(ConfigError, match="nothing that is done is lost"):
                journal.append(row(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "songs.jsonl").stat().st_size == size
        journal.append(row(3))
        assert journal.find(f"{3:016x}") == row(3)


def test_the_list_of_failures_appears_and_goes(tmp_path: Path) -> None:
    with Journal(tmp_path, ALL) as journal:
        journal.append(row(1, status="failed", error="no sound"))
        assert journal.write_failed([f"{1:016x}"]) == tmp_path / "failed.jsonl"
        listed = json.loads((tmp_path / "failed.jsonl").read_text())
        assert listed == {"file": "/s/1", "name": "1", "error": "no sound"}
        assert journal.write_failed([]) is None and not (tmp_path / "failed.jsonl").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        Journal(tmp_path / "file/below", ALL).__enter__()
