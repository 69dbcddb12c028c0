"""The cost of catalogues, measured on songs of half a second, and what the guide says of their rows."""

import json
import re
from pathlib import Path

import pytest
import scale
from conftest import ROOT

from ldm_sep.catalogue import Row


def test_engines_are_measured_and_what_is_done_is_checked(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--songs", "5", "--seconds", "0.5", "--workers", "1", "--actors", "", "--entries", "300"]
    scale.main(["--name", str(untrained), *sizes, "--out", str(tmp_path)])
    record = json.loads((tmp_path / "scale.json").read_text())
    assert [cost["engine"] for cost in record["costs"]] == ["this process", "local"]
    for cost in record["costs"]:
        assert cost["pace"] > 0 and cost["cpu"] > 0 and cost["work"] > 0
    assert record["check"]["entries"] == 300 and record["check"]["seconds"] > 0
    assert "songs a minute" in capsys.readouterr().out


def test_the_guide_names_every_key_of_a_row() -> None:
    guide = (ROOT / "docs/catalogue.md").read_text()
    table = guide[guide.index("| key | meaning |") : guide.index("Stems appear together")]
    first = "".join(line.split("|")[1] for line in table.splitlines() if line.count("|") > 2)
    assert set(re.findall(r"`(\w+)`", first)) == set(Row.model_fields)
