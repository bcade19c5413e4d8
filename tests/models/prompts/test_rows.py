"""Rows are read from a Parquet file as they were written, with or without chats."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.prompts.rows import COLUMNS, Message, Row, columns_of, read_rows

SINGLE = Row("Create a page.", "title: One", "<p>One</p>")
CHAT = Row(
    "Make it red.",
    "",
    "<p style='color: red'>é\n</p>",
    context=(
        Message("system", 'Answer "in HTML".'),
        Message("user", "Create a page."),
        Message("assistant", "<p>", learn=False),
    ),
)


def write(file: Path, rows: list[Row], *, columns: tuple[str, ...] | None = None) -> Path:
    table = pa.Table.from_pylist([columns_of(row) for row in rows])
    pq.write_table(table.select(columns) if columns else table, file)
    return file


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [SINGLE, CHAT, Row("Ask.", "", "Wrong.", learn=False)] * 100
    assert list(read_rows(write(tmp_path / "rows.parquet", rows))) == rows


def test_a_file_without_the_columns_of_chats_has_single_turns(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.parquet", [SINGLE, CHAT], columns=COLUMNS)
    assert list(read_rows(file)) == [SINGLE, Row(CHAT.instruction, CHAT.input, CHAT.output)]


@pytest.mark.parametrize(
    ("row", "is_chat"),
    [
        (SINGLE, False),
        (CHAT, True),
        (Row("a", "", "b", (Message("system", "c"),)), True),
        (Row("a", "", "b", learn=False), True),
    ],
)
def test_a_row_with_turns_before_or_not_to_be_learned_is_a_chat(row: Row, is_chat: bool) -> None:
    assert row.is_chat == is_chat
