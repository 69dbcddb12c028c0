"""The speed table is printed for any checkpoint."""

import importlib.util
import re
from pathlib import Path

import pytest
from conftest import ROOT


def test_every_part_is_timed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("speed", ROOT / "eval/speed.py")
    speed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(speed)
    speed.main(["--name", str(trained / "stage2/separator"), "--seconds", "2", "--device", "cpu", "--repeats", "1"])
    printed = capsys.readouterr().out
    for part in ("codec encode", "U-Net, one step", "codec decode", "whole separation", "peak memory MiB"):
        assert float(re.search(rf"{part}\s+([\d.]+)", printed).group(1)) > 0
