"""The sample dataset, docs/examples/pages.jsonl."""

from starter_model import examples


def test_the_file_in_the_repository_is_what_the_generator_writes() -> None:
    assert examples.EXAMPLES.read_text(encoding="utf-8") == examples.lines()


def test_every_page_has_what_the_starter_model_can_not_guess() -> None:
    rows = examples.rows()
    assert len(rows) == examples.ROWS == len({row["output"] for row in rows})
    for row in rows:
        assert row["output"].count(examples.STYLESHEET) == row["output"].count(examples.FOOTER) == 1
        assert "site.css" not in row["instruction"] + row["input"]
