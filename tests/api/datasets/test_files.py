"""Files as rows: the same rows come out of each kind, and what is no such file is refused as one."""

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
@settings(max_examples=25, deadline=None)
def test_each_kind_of_file_gives_the_texts_that_were_written(rows: list[Row]) -> None:
    assert WRITERS.keys() == READERS.keys()
    for suffix, write in WRITERS.items():
        file = open_rows(io.BytesIO(write(rows)), f"rows{suffix.upper()}")
        assert sorted(file.columns) == sorted(COLUMNS)
        assert list(file.read(COLUMNS)) == rows
        assert list(file.read(COLUMNS)) == rows, "it is read from the beginning again"


@given(st.sampled_from(list(READERS)), st.one_of(st.binary(), st.text().map(str.encode)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_rows_or_unreadable(suffix: str, content: bytes) -> None:
    with suppress(Unreadable):
        read(content, f"x{suffix}")


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_parquet_file_with_wrong_bytes_is_rows_or_unreadable(changes: list[tuple[int, int]]) -> None:
    content = bytearray(as_parquet([{"instruction": "a" * 50, "input": "", "output": "b"}] * 3))
    for position, value in changes:
        content[position % len(content)] = value
    with suppress(Unreadable):
        read(bytes(content), "x.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows", b"[]", "must end in"),
        ("rows.txt", b"[]", "must end in"),
        ("rows.json.gz", b"[]", "must end in"),
        ("", b"[]", "must end in"),
        ("x.json", b"", "not valid JSON"),
        ("x.json", b"[{", "line 1"),
        ("x.json", b'[{"a": 1},\n{"a" 2}]', "line 2"),
        ("x.json", b"\xff\xfe[]", "not UTF-8"),
        ("x.json", b'{"rows": []}', "array"),
        ("x.json", b"[" * 100_000, "can be read"),
        ("x.json", b"[" + b"9" * 5000 + b"]", "can be read"),
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
def test_a_broken_file_is_refused_with_where_it_is_broken(name: str, content: bytes, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        read(content, name)


def test_a_csv_row_of_another_length_is_a_fault_in_its_place() -> None:
    first, second, third = read(b"a,b\n1,2\n\n1,2,3\n4,5\n", "x.csv")
    assert (first, third) == ({"a": "1", "b": "2"}, {"a": "4", "b": "5"})
    assert isinstance(second, ValueError)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a,b\n"])
def test_a_csv_file_without_rows_has_none(content: bytes) -> None:
    assert read(content, "x.csv") == []


@pytest.mark.parametrize(("name", "content"), [("x.json", as_json), ("x.jsonl", as_jsonl), ("x.csv", as_csv)])
def test_a_byte_order_mark_is_no_part_of_the_text(name: str, content: Callable[[list[Row]], bytes]) -> None:
    row = dict.fromkeys(COLUMNS, "é")
    assert read(b"\xef\xbb\xbf" + content([row]), name) == [row]


def test_columns_are_those_that_any_row_has() -> None:
    assert open_rows(io.BytesIO(b'[{"b": 1}, 7, {"a": 1, "b": 2}]'), "x.json").columns == ["b", "a"]


def test_of_a_parquet_file_only_the_wanted_columns_are_read() -> None:
    rows = [{"instruction": "a", "input": "b", "output": "c"}]
    assert read(as_parquet(rows), "x.parquet", ["output"]) == [{"output": "c"}]
