"""Tables of validation items: what they may not say."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ldm_sep.data.items import read_items
from ldm_sep.errors import DataError

HEADER = "group,vocals,vocals_start,accompaniment,accompaniment_start,gain_db,seconds\n"


def test_an_item_is_its_crop_at_its_gain(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, (32000, 2)).astype(np.float32)
    sf.write(tmp_path / "v.wav", wave, 16000, subtype="FLOAT")
    sf.write(tmp_path / "a.wav", -wave, 16000, subtype="FLOAT")
    table = tmp_path / "items.csv"
    table.write_text(f"{HEADER}g,v.wav,0.5,a.wav,0,-6.0206,1\n")
    (item,) = read_items(table, tmp_path, 16000, 160)
    np.testing.assert_allclose(item.vocals, 0.5 * wave[8000:24000].T, atol=1e-6)
    np.testing.assert_allclose(item.mixture, item.vocals - wave[:16000].T, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "needle"),
    [
        ("", "lists no items"),
        ("g,v.wav,9,v.wav,0,0,1\n", r"v\.wav: lasts 2\.0 s, and an item is to begin at 9 s"),
        ("g,v.wav,0,none.wav,0,0,1\n", "missing"),
        ("g,v.wav,zero,v.wav,0,0,1\n", r"items\.csv: line 2: vocals_start: input should be a valid number"),
        ("g,v.wav,0,v.wav,0,0,nan\n", "line 2: seconds: "),
        ("g,v.wav,0,v.wav,0,0,0.001\n", "item 1: its seconds make no frame"),
        ("g,v.wav,0,v.wav,0,inf,1\n", "line 2: gain_db: "),
    ],
)
def test_mistakes_name_the_file(rows: str, needle: str, tmp_path: Path) -> None:
    sf.write(tmp_path / "v.wav", np.zeros((32000, 2)), 16000)
    table = tmp_path / "items.csv"
    table.write_text(HEADER + rows)
    with pytest.raises(DataError, match=needle):
        read_items(table, tmp_path, 16000, 160)
