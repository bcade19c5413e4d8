"""Choosing columns and checking rows."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import ANY

import pytest

from api.datasets.limits import MAX_CHARACTERS, Unreadable
from api.datasets.rows import MAX_UNUSED, Report, check_rows, choose_columns
from api.datasets.values import described
from api.errors import Problem
from models.prompts.rows import Row
from tests.api.datasets.helpers import rows_of

USUAL = {"instruction": "instruction", "output": "output"}
CHAT = {"messages": "messages"}
GOOD = {"instruction": "Create a page.", "output": "<p>"}


def check(rows: list[Any], columns: dict[str, str]) -> list[Row]:
    return list(check_rows(rows_of(rows), columns, Report(), max_characters=10**9))


def faults(rows: list[Any], columns: dict[str, str]) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as raised:
        check(rows, columns)
    assert raised.value.status_code == 422
    return [(fault.field, fault.message) for fault in raised.value.document.errors]


def said(role: Any, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["output", "instruction"], USUAL),
        (["input", "instruction", "output", "id"], USUAL | {"input": "input"}),
        (["prompt", "completion", "input"], {"instruction": "prompt", "output": "completion"}),
        (["messages", "prompt"], CHAT),
        (["messages", "prompt", "completion", "instruction", "output"], USUAL),
        (["system", "history", "instruction", "output"], USUAL | {"system": "system", "history": "history"}),
        (["prompt", "completion", "system"], {"instruction": "prompt", "output": "completion", "system": "system"}),
        (["conversations", "system", "id"], {"messages": "conversations", "system": "system"}),
        (["conversations", "messages", "input", "history"], CHAT),
    ],
)
def test_columns_with_usual_names_are_used_by_default(columns: list[str], chosen: dict[str, str]) -> None:
    assert choose_columns(rows_of([], columns), None) == chosen


def test_requested_columns_are_used() -> None:
    requested = {"instruction": "question", "output": "answer"}
    assert choose_columns(rows_of([], ["answer", "question", "instruction", "output"]), requested) == requested


@pytest.mark.parametrize(
    ("columns", "requested", "field", "message"),
    [
        (["instruction", "text"], None, "columns", "the columns are: instruction, text"),
        (["a\n\0" + "x" * 200], None, "columns", "the columns are: a\\n\\x00xxx"),
        ([f"c{number}" for number in range(50)], None, "columns", "c19 and 30 more"),
        (["a", "output"], {"instruction": "b", "output": "output"}, "columns.instruction", "no column 'b'"),
        (["a", "output"], {"instruction": "a", "input": "Input", "output": "output"}, "columns.input", "'Input'"),
        (["instruction", "output"], CHAT, "columns.messages", "the columns are: instruction, output"),
    ],
)
def test_missing_columns_are_named(
    columns: list[str], requested: dict[str, str] | None, field: str, message: str
) -> None:
    with pytest.raises(Problem) as raised:
        choose_columns(rows_of([], columns), requested)
    [error] = raised.value.document.errors
    assert error.field == field
    assert message in error.message


def test_valid_rows_are_returned_unchanged() -> None:
    columns = USUAL | {"input": "input"}
    rows = [{"instruction": " a\n", "output": "b", "more": 1}, GOOD | {"input": None}, GOOD | {"input": "  "}]
    given = [Row(" a\n", "", "b"), Row("Create a page.", "", "<p>"), Row("Create a page.", "  ", "<p>")]
    assert check(rows, columns) == given
    assert check([{"a": "x" * MAX_CHARACTERS}], {"instruction": "a", "output": "a"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "is missing"),
        ("", "must not be blank"),
        (" \n\t", "must not be blank"),
        (1, "must be a string"),
        (True, "must be a string"),
        ({"a": "b"}, "must be a string"),
        (b"a", "must be a string"),
        ("a\0b", "must not contain the character U+0000"),
        ("a\ud800", "must not contain an unpaired surrogate"),
        ("x" * (MAX_CHARACTERS + 1), f"must not be longer than {MAX_CHARACTERS} characters"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_invalid_text_is_named_by_row_and_column(value: Any, message: str) -> None:
    columns = {"instruction": "question", "input": "input", "output": "answer"}
    sound = {"question": "a", "input": "", "answer": "b"}
    for column in "question", "answer":
        [(field, text)] = faults([sound, sound | {column: value}, sound], columns)
        assert field == f"row 2, {column}"
        assert text.startswith(message)
        assert len(text) < 200
    if (isinstance(value, str) and not value.strip()) or value is None:
        assert len(check([sound | {"input": value}], columns)) == 1
    else:
        assert [field for field, _ in faults([sound | {"input": value}], columns)] == ["row 1, input"]


def test_a_row_must_be_an_object() -> None:
    rows: list[Any] = [7, None, "x", [], ValueError("has 3 values"), GOOD]
    assert faults(rows, USUAL) == [
        *((f"row {number + 1}", ANY) for number in range(4)),
        ("row 5", "has 3 values"),
    ]


def test_the_first_errors_are_listed_and_all_are_counted() -> None:
    bad = {"instruction": "", "output": None}
    with pytest.raises(Problem) as raised:
        check([GOOD, *[bad] * 500, GOOD], USUAL)
    document = raised.value.document
    assert [error.field for error in document.errors[:3]] == [
        "row 2, instruction",
        "row 2, output",
        "row 3, instruction",
    ]
    assert len(document.errors) == 20
    assert document.detail == (
        "row 2, instruction: must not be blank; 1000 errors in 500 rows in total; "
        "`on_invalid=skip` leaves such rows out"
    )


def test_rows_are_checked_one_at_a_time() -> None:
    taken = []

    def rows() -> Iterator[Any]:
        for number in range(3):
            taken.append(number)
            yield GOOD

    checked = check_rows(rows_of(rows()), USUAL, Report(), max_characters=10**9)
    assert taken == []
    next(checked)
    assert taken == [0]


def test_counted_are_the_rows_that_have_something_in_a_column_or_field_that_is_not_used() -> None:
    report = Report()
    rows = [
        {"messages": [said("user", "a"), said("assistant", "b") | {"name": "x", "weight": 1}], "id": 0, "tags": []},
        {"messages": [said("user", "a") | {"name": " "}, said("assistant", "b")], "id": None, "tags": [[], {"a": ""}]},
        {"messages": [said("user", "a") | {"name": "y"}, said("assistant", "b") | {"name": "z"}], "tags": [0]},
    ]
    list(check_rows(rows_of(rows, ["messages", "id", "tags", "no"]), CHAT, report, max_characters=10**9))
    assert report.unused == {"id": 1, "tags": 1, "no": 0, "messages[].name": 2}


def test_the_number_of_unused_fields_is_limited() -> None:
    report = Report()
    messages = [said("user", "a") | {f"field {number}": 1 for number in range(2 * MAX_UNUSED)}, said("assistant", "b")]
    rows = [{"messages": messages, "id": 1}] * 2
    list(check_rows(rows_of(rows, ["messages", "id"]), CHAT, report, max_characters=10**9))
    assert len(report.unused) == MAX_UNUSED
    assert set(report.unused.values()) == {2}


def test_the_characters_of_a_whole_chat_count() -> None:
    rows = [{"messages": [said("user", "a" * 50), said("assistant", "b"), said("user", "c"), said("assistant", "d")]}]
    columns = {"messages": "messages"}
    assert list(check_rows(rows_of(rows), columns, Report(), max_characters=53))
    with pytest.raises(Unreadable):
        list(check_rows(rows_of(rows), columns, Report(), max_characters=52))


@pytest.mark.parametrize(
    ("columns", "requested", "chosen"),
    [
        (
            [" Instruction", "OUTPUT "],
            None,
            {"instruction": " Instruction", "output": "OUTPUT "},
        ),
        (["output", "Output", "instruction"], None, USUAL),
        (
            ["Question", "ANSWER"],
            {"instruction": "question", "output": "answer"},
            {"instruction": "Question", "output": "ANSWER"},
        ),
    ],
)
def test_columns_are_found_in_other_capitals_and_with_spaces(
    columns: list[str], requested: dict[str, str] | None, chosen: dict[str, str]
) -> None:
    assert choose_columns(rows_of([], columns), requested) == chosen


@pytest.mark.parametrize(
    ("columns", "requested", "field"),
    [
        (["Output", "OUTPUT", "instruction"], None, "columns.output"),
        (["Question", "b"], {"instruction": "question", "output": "QUESTION"}, "columns.output"),
    ],
)
def test_a_column_that_is_found_twice_is_refused(
    columns: list[str], requested: dict[str, str] | None, field: str
) -> None:
    with pytest.raises(Problem) as raised:
        choose_columns(rows_of([], columns), requested)
    assert raised.value.document.errors[0].field == field


def test_invalid_rows_can_be_skipped_and_are_reported() -> None:
    report = Report()
    rows: list[Any] = [GOOD, 7, *[GOOD | {"output": " "}] * 30, GOOD | {"id": 1}]
    checked = check_rows(rows_of(rows, ["id"]), USUAL, report, max_characters=10**9, skip_invalid=True)
    assert list(checked) == [Row("Create a page.", "", "<p>")] * 2
    assert (report.skipped, report.unused) == (31, {"id": 1})
    assert [(error.field, error.message) for error in report.errors[:2]] == [
        ("row 2", "must be an object, but is the number 7"),
        ("row 3, output", "must not be blank"),
    ]
    assert len(report.errors) == 20


def test_rows_that_are_all_invalid_are_not_skipped() -> None:
    with pytest.raises(Problem, match="no row is valid"):
        list(check_rows(rows_of([7]), USUAL, Report(), max_characters=10**9, skip_invalid=True))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7.5, "the number 7.5"),
        (10**4000, "a very long number"),
        (None, "null"),
        (False, "false"),
        ("a" * 100, f"the text '{'a' * 60}'…"),
        ("a\n\ud800", "the text 'a\\n\\ud800'"),
        ([], "an empty list"),
        ([1], "a list of 1 value"),
        ({"a": 1, "b": 2}, "an object with the fields 'a', 'b'"),
    ],
)
def test_a_value_is_described_and_cut_short(value: Any, shown: str) -> None:
    assert described(value) == shown
