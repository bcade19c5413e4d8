"""Reading files: every format returns the same rows, and invalid files are refused."""

import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.datasets.files import READERS, open_rows
from api.datasets.filled import is_filled
from api.datasets.limits import Unreadable

COLUMNS = ["instruction", "input", "output"]
Row = dict[str, str]


def as_json(rows: list[Row]) -> bytes:
    return json.dumps(rows).encode()


def as_jsonl(rows: list[Row]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def as_csv(rows: list[Row]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_parquet(rows: list[Row]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([(column, pa.string()) for column in COLUMNS])), file)
    return file.getvalue()


WRITERS: dict[str, Callable[[list[Row]], bytes]] = {
    ".json": as_json,
    ".jsonl": as_jsonl,
    ".csv": as_csv,
    ".parquet": as_parquet,
}


def read(content: bytes, name: str, columns: list[str] = COLUMNS) -> list[Any]:
    return list(open_rows(io.BytesIO(content), name).read(columns))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
rows_of_texts = st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, texts)), min_size=1, max_size=5)


@given(rows_of_texts)
@example([{"instruction": "NA", "input": "007", "output": "1e5"}])
@example([{"instruction": 'a "b",\r\nc\rd\n', "input": "", "output": "\u2028\x85\x1c"}])
@settings(max_examples=10, deadline=None)
def test_every_format_returns_the_texts_that_were_written(rows: list[Row]) -> None:
    assert WRITERS.keys() == READERS.keys()
    for suffix, write in WRITERS.items():
        file = open_rows(io.BytesIO(write(rows)), f"rows{suffix.upper()}")
        assert sorted(file.columns) == sorted(COLUMNS)
        assert list(file.read(COLUMNS)) == rows
        assert list(file.read(COLUMNS)) == rows, "it is read from the beginning again"


@given(st.sampled_from(list(READERS)), st.one_of(st.binary(), st.text().map(str.encode)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_either_read_or_refused(suffix: str, content: bytes) -> None:
    with suppress(Unreadable):
        read(content, f"x{suffix}")


@pytest.mark.long
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_damaged_parquet_file_is_either_read_or_refused(changes: list[tuple[int, int]]) -> None:
    content = bytearray(as_parquet([{"instruction": "a" * 50, "input": "", "output": "b"}] * 3))
    for position, value in changes:
        content[position % len(content)] = value
    with suppress(Unreadable):
        read(bytes(content), "x.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows", b"[]", "must end with"),
        ("rows.txt", b"[]", "must end with"),
        ("rows.json.gz", b"[]", "must end with"),
        ("", b"[]", "must end with"),
        ("x.json", b"", "not valid JSON"),
        ("x.json", b"[{", "line 1"),
        ("x.json", b'[{"a": 1},\n{"a" 2}]', "line 2"),
        ("x.json", b"\xff\xfe[]", "not UTF-8"),
        ("x.json", b'{"rows": []}', "array"),
        ("x.json", b"[" * 100_000, "can't be read"),
        ("x.json", b"[" + b"9" * 5000 + b"]", "can't be read"),
        ("x.jsonl", b'{"a": 1}\n{"a": \n', "line 2"),
        ("x.jsonl", b'{"a": 1}\n\n\xff\n', "line 3"),
        ("x.jsonl", b'{"a": ' + b"[" * 100_000, "line 1"),
        ("x.csv", b"a,b\n1,\xff\n", "line 2"),
        ("x.csv", b'a,b\n1,"x\n', "line 2"),
        ("x.csv", b'a,b\n1,"x"y\n', "line 2"),
        ("x.csv", b"a,a\n1,2\n", "same name"),
        ("x.parquet", b"", "Parquet"),
        ("x.parquet", b"PAR1" * 100, "Parquet"),
    ],
)
def test_an_invalid_file_is_refused_and_the_place_is_named(name: str, content: bytes, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        read(content, name)


def test_a_csv_row_with_the_wrong_number_of_values_is_an_error_of_that_row() -> None:
    first, second, third = read(b"a,b\n1,2\n\n1,2,3\n4,5\n", "x.csv")
    assert (first, third) == ({"a": "1", "b": "2"}, {"a": "4", "b": "5"})
    assert isinstance(second, ValueError)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a,b\n"])
def test_a_csv_file_can_be_empty(content: bytes) -> None:
    assert read(content, "x.csv") == []


@pytest.mark.parametrize(("name", "content"), [("x.json", as_json), ("x.jsonl", as_jsonl), ("x.csv", as_csv)])
def test_a_byte_order_mark_is_ignored(name: str, content: Callable[[list[Row]], bytes]) -> None:
    row = dict.fromkeys(COLUMNS, "é")
    assert read(b"\xef\xbb\xbf" + content([row]), name) == [row]


def test_the_columns_are_those_of_all_rows() -> None:
    assert open_rows(io.BytesIO(b'[{"b": 1}, 7, {"a": 1, "b": 2}]'), "x.json").columns == ["b", "a"]


def test_only_the_requested_columns_of_a_parquet_file_are_read_and_the_others_are_counted() -> None:
    rows = [{"instruction": "a", "input": " ", "output": "c"}, {"instruction": "a", "input": "b", "output": "c"}]
    assert read(as_parquet(rows), "x.parquet", ["output"]) == [{"output": "c"}] * 2
    file = open_rows(io.BytesIO(as_parquet(rows)), "x.parquet")
    assert file.count_filled(["output"]) == {"instruction": 2, "input": 1}
    assert file.count_filled(COLUMNS) == {}


def test_what_a_parquet_file_has_in_other_columns_is_counted_whatever_its_type() -> None:
    columns = {
        "text": ["a", "b"],
        "image": [{"bytes": b"x", "path": None}, {"bytes": None, "path": None}],
        "bytes": [b"", b"x"],
        "list": [[], [None]],
        "pairs": [[["a", "b"]], None],
        "number": [0, None],
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    counts = open_rows(file, "x.parquet").count_filled(["text"])
    assert counts == {"image": 1, "bytes": 1, "list": 0, "pairs": 1, "number": 1}


@pytest.mark.parametrize("order", [["bomb", "text"], ["text", "bomb"]])
def test_a_column_that_is_too_large_to_count_does_not_keep_the_others_from_being_read(order: list[str]) -> None:
    columns = {"bomb": pa.DictionaryArray.from_arrays([0] * 64, ["x" * 10**8]), "text": pa.array(["a"] * 64)}
    file = io.BytesIO()
    pq.write_table(pa.table({name: columns[name] for name in order}), file, store_schema=False)
    assert file.tell() < 10**7
    rows = open_rows(file, "x.parquet")
    assert list(rows.read(["text"])) == [{"text": "a"}] * 64
    assert rows.count_filled(["text"]) == {"bomb": None}


def test_chats_are_read_from_json_and_parquet_files() -> None:
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "history": [["a", "b"]]}
    ]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    for content, name in (file.getvalue(), "x.parquet"), (json.dumps(rows).encode(), "x.json"):
        assert read(content, name, ["messages", "history"]) == rows


NOTHING: list[Any] = [None, "", " \n", b"", [], {}, [None, [""]], {"a": {"b": None}}, ([],)]
SOMETHING: list[Any] = ["a", b"a", 0, False, [0], {"a": [{"b": "c"}]}, (("a", 1),)]


@pytest.mark.parametrize(
    ("value", "filled"), [*((value, False) for value in NOTHING), *((value, True) for value in SOMETHING)]
)
def test_a_value_has_something_in_it_unless_it_is_null_or_blank_all_through(value: Any, filled: bool) -> None:
    assert is_filled(value) == filled


def test_a_deeply_nested_value_can_be_checked() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert not is_filled(nested)
