"""docs/operations.md lists every setting."""

from pathlib import Path

from pagewright.cli.settings import table
from pagewright.settings import Settings

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_docs_have_the_table_that_pagewright_settings_prints() -> None:
    assert table() in OPERATIONS.read_text(), "replace the table in docs/operations.md by that of `pagewright settings`"


def test_every_setting_has_a_description() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert "|" not in field.description, f"{name}: a | would end the cell of the table"
