"""`configs/REFERENCE.md` says what the records say, of every key that a file may have."""

from conftest import ROOT

from ldm_sep.config import Config
from ldm_sep.config.reference import TABLES, describe, reference


def test_the_reference_is_what_the_records_say() -> None:
    assert (ROOT / "configs/REFERENCE.md").read_text() == reference(), (
        "run: python -m ldm_sep.config.reference > configs/REFERENCE.md"
    )


def test_every_key_has_a_meaning_and_every_number_its_bounds() -> None:
    for heading, record in TABLES:
        for key, default, allowed, meaning in describe(record):
            assert meaning.endswith("."), (heading, key)
            if allowed.startswith(("integer", "number")):
                assert ">" in allowed and "<" in allowed, (heading, key)
            assert default and allowed


def test_no_table_of_a_configuration_is_missing() -> None:
    tables = {heading.split("]")[0].lstrip("[").split(".")[0] for heading, _ in TABLES}
    assert tables == Config.model_fields.keys() - {"name", "description"}
