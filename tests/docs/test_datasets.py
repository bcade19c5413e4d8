"""The rows in docs/datasets.md are read."""

import json
import re
from pathlib import Path

from api.datasets.rows import choose_columns
from tests.api.datasets.helpers import rows_of
from tests.api.datasets.test_rows import check

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"


def test_each_row_of_the_page_is_a_row_of_the_same_chat() -> None:
    [block] = re.findall(r"```jsonl\n(.*?)```", PAGE.read_text(), re.DOTALL)
    given = [json.loads(line) for line in block.splitlines()]
    rows = [row for values in given for row in check([values], choose_columns(rows_of([values], list(values)), None))]
    assert len(rows) == 4
    assert {row.output for row in rows} == {"<h1>One</h1>"}
    assert {row.instruction for row in rows} == {"Create a page."}
    assert [len(row.context) for row in rows] == [3, 0, 0, 1]
