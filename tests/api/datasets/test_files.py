"""Reading files: every format returns the same rows, and invalid files are refused."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.datasets import json_array
from api.datasets.filled import is_filled
from api.datasets.limits import Unreadable
from api.datasets.text import ENCODINGS
from tests.api.datasets.helpers import opened
from tests.api.helpers import Upload

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


def gzip_in_two(content: bytes) -> bytes:
    return gzip.compress(content[:9]) + gzip.compress(content[9:])


def zstd(content: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(content)
    return bytes(packed.getvalue().to_pybytes())


WRITERS: list[Callable[[list[Row]], bytes]] = [as_json, as_jsonl, as_csv, as_parquet]


def read(content: bytes, columns: list[str] = COLUMNS, **options: Any) -> list[Any]:
    return [row.value for row in opened(content, **options).read(columns)]


def places(content: bytes, **options: Any) -> list[str]:
    return [row.place for row in opened(content, **options).read(COLUMNS)]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
rows_of_texts = st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, texts)), min_size=1, max_size=5)


@given(rows_of_texts)
@example([{"instruction": "NA", "input": "007", "output": "1e5"}])
@example([{"instruction": 'a "b",\r\nc\rd\n', "input": "", "output": "\u2028\x85\x1c"}])
@settings(max_examples=10, deadline=None)
def test_every_format_returns_the_texts_that_were_written(rows: list[Row]) -> None:
    for write in WRITERS:
        file = opened(write(rows))
        # a table has no way to tell a row of blank texts from an empty one
        expected = [row for row in rows if write != as_csv or any(map(str.strip, row.values()))]
        assert sorted(file.columns) == sorted(COLUMNS)
        assert [row.value for row in file.read(COLUMNS)] == expected
        assert [row.value for row in file.read(COLUMNS)] == expected, "it is read from the beginning again"


@given(
    st.sampled_from([b"", b"[", b"{", b'{"a": 1}\n', b"a,b\n", b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xff\xfe"]),
    st.one_of(st.binary(), st.text().map(str.encode)),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_either_read_or_refused(start: bytes, content: bytes) -> None:
    with suppress(Unreadable):
        read(start + content)


@pytest.mark.long
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_damaged_parquet_file_is_either_read_or_refused(changes: list[tuple[int, int]]) -> None:
    content = bytearray(as_parquet([{"instruction": "a" * 50, "input": "", "output": "b"}] * 3))
    for position, value in changes:
        content[position % len(content)] = value
    with suppress(Unreadable):
        read(bytes(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"[{", "line 1, at the end of the file"),
        (b'[{"a": 1},\n{"a" 2}]', "line 2, at '2}]'"),
        (b'[{"a": 1}\n{"a": 2}]', "a ']' or ',' is missing in line 2"),
        (b"[]\n[]", "something follows the array in line 2"),
        (b"[" * 100_000, "nested too deep"),
        (b"[1,\n" + b"9" * 5000 + b"]", "thousands of digits, in the row that begins in line 2"),
        (b'{"a": 1}\n\n\xff\n', "line 3 is not UTF-8: byte 0xff; save the file as UTF-8, or name its encoding"),
        (b"a,b\n1,\xe9\n", "line 2 is not UTF-8: byte 0xe9"),
        (b'["a\xe9"]', "not UTF-8"),
        (b'a,b\n1,"x\n2,y\n', "line 3 is not valid CSV, in the row that begins in line 2"),
        (b'a,b\n1,"x"y\n', "line 2 is not valid CSV"),
        (b"a,a\n1,2\n", "two columns have the same name 'a'"),
        (b"PAR1...", "damaged or cut off"),
        (b"PAR1" * 100, "Parquet"),
        (b"\x89PNG\r\n\x1a\n\0\0", "neither text nor Parquet"),
    ],
)
def test_an_invalid_file_is_refused_and_the_place_is_named(content: bytes, message: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(message)):
        read(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', "is not valid JSON: Expecting value at character"),
        (b'{"a": 1}\n{"a" 1}\n', "at character 6: '1}"),
        (b'{"a": 1}\n{"a": ' + b"[" * 100_000, "nested too deep"),
        (b'{"a": 1}\n{"a": ' + b"9" * 5000 + b"}", "thousands of digits"),
    ],
)
def test_an_invalid_line_is_an_error_of_that_row(content: bytes, message: str) -> None:
    _, row = opened(content).read(COLUMNS)
    assert isinstance(row.value, ValueError)
    assert message in str(row.value)
    assert row.place == "row 2 (line 2)"


def test_a_csv_row_with_the_wrong_number_of_values_is_an_error_of_that_row() -> None:
    first, second, third = read(b"a,b\n1,2\n\n1,2,3\n4,5\n")
    assert (first, third) == ({"a": "1", "b": "2"}, {"a": "4", "b": "5"})
    assert str(second).startswith("the row has 3 values, but the header has 2 columns; a value with commas")


def test_rows_and_lines_are_counted_from_1() -> None:
    assert places(b'a,b\n"1\n\n",2\n\n3,4\n') == ["row 1 (line 2)", "row 2 (line 6)"]
    assert places(b'{"a": 1}\n\n{"a": 2}') == ["row 1 (line 1)", "row 2 (line 3)"]
    assert places(b'\n[{"a":\n 1},\n\n{"a": 2}, 3]') == ["row 1 (line 2)", "row 2 (line 5)", "row 3 (line 5)"]
    assert places(as_parquet([dict.fromkeys(COLUMNS, "a")])) == ["row 1"]
    with pytest.MonkeyPatch.context() as patched:  # the lines of an array that is read in pieces
        patched.setattr(json_array, "CHUNK_BYTES", 7)
        rows = [{"a": "x" * number} for number in range(30)]
        lines = [row.line for row in opened(json.dumps(rows, indent=0).encode()).read(COLUMNS)]
        assert lines == [2 + 3 * number for number in range(30)]


@pytest.mark.parametrize("content", [b"a,b\n", b"a,b\n,\n ,\n", b"[]"])
def test_a_file_can_be_without_rows(content: bytes) -> None:
    assert read(content) == []


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("write", [as_json, as_jsonl, as_csv])
def test_a_byte_order_mark_names_the_encoding(write: Callable[[list[Row]], bytes], mark: str) -> None:
    row = dict.fromkeys(COLUMNS, "é\n☃")
    content = write([row]).decode().encode(mark)
    assert read(content) == [row]
    assert read(content, encoding="windows-1252") == [row]


@pytest.mark.parametrize("encoding", ["windows-1252", "utf-16-le", "utf-16-be", "iso-8859-15", "gb18030", "mac-roman"])
def test_other_encodings_are_read_when_they_are_named(encoding: str) -> None:
    rows = [dict.fromkeys(COLUMNS, "é à")] * 3
    text = as_csv(rows).decode().encode(encoding)
    assert read(text, encoding=encoding) == rows
    with pytest.raises(Unreadable, match="encoding"):
        read(text)


def test_every_encoding_that_is_offered_is_read() -> None:
    for encoding in ENCODINGS:
        assert read("a,b\r\n1,2\r\n".encode(encoding), encoding=encoding) == [{"a": "1", "b": "2"}], encoding


EXCEL = {"instruction": "Create; a, page.", "input": "", "output": "<p>\n"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("sep_line", [False, True])
def test_csv_is_read_as_excel_writes_it(separator: str, end: str, sep_line: bool) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([[*COLUMNS, "", ""], [*EXCEL.values(), "", ""], [""] * 5, [*EXCEL.values(), " ", ""]])
    text = f"sep={separator}{end}" * sep_line + file.getvalue()
    assert read(text.encode()) == [EXCEL] * 2
    assert places(text.encode())[0] == f"row 1 (line {2 + sep_line})"


def test_a_column_without_a_name_is_called_by_its_position() -> None:
    assert read(b",instruction,output\n0,a,b\n") == [{"column 1": "0", "instruction": "a", "output": "b"}]


@pytest.mark.parametrize("compress", [gzip.compress, zstd, gzip_in_two])
@pytest.mark.parametrize("write", WRITERS)
def test_compressed_files_are_read(write: Callable[[list[Row]], bytes], compress: Callable[[bytes], bytes]) -> None:
    rows = [{"instruction": f"a{number}", "input": "", "output": "b"} for number in range(1000)]
    assert read(compress(write(rows))) == rows


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_a_compressed_file_is_unpacked_within_the_limit(compress: Callable[[bytes], bytes]) -> None:
    content = as_csv([dict.fromkeys(COLUMNS, "a")] * 10_000)
    assert len(read(compress(content), max_bytes=len(content))) == 10_000
    with pytest.raises(Unreadable, match="unpacks to more bytes"):
        read(compress(content), max_bytes=len(content) - 1)
    with pytest.raises(Unreadable, match="damaged or cut off"):
        read(compress(content)[:-10])
    with pytest.raises(Unreadable, match="compressed twice"):
        read(compress(compress(content)))


RECORDS: dict[str, Any] = {"instruction": {"0": "a", "1": "b"}, "output": {"0": "c", "1": "d"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": [{"instruction": "a"}]}, "has rows in the field 'data'; send one list of rows alone"),
        ({"version": 1, "train": [{"a": 1}], "test": [{"a": 1}]}, "has rows in the field 'train', 'test'"),
        (RECORDS, "object of columns, each with its values by row number, as pandas' `to_json` writes by default"),
        ({"instruction": ["a", "b"], "output": ["c", "d"]}, "object of columns, each a list of its values"),
        ({"columns": ["a"], "index": [0], "data": [["b"]]}, "orient='split'"),
        ({"schema": {"fields": []}, "data": [{"a": 1}]}, "orient='table'"),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_table_in_one_object_is_called_what_it_is(content: Any, message: str, indent: int | None) -> None:
    with pytest.raises(Unreadable, match=re.escape(message)):
        read(json.dumps(content, indent=indent).encode())


@pytest.mark.parametrize("indent", [None, 2])
def test_a_large_table_in_one_object_is_called_one_object(indent: int | None) -> None:
    content = {"data": [{"instruction": "a" * 1_000_000}] * 11}
    with pytest.raises(Unreadable, match=r'one JSON object, which has something large in the field "data"'):
        read(json.dumps(content, indent=indent).encode())


def test_rows_over_several_lines_are_called_that() -> None:
    row = json.dumps({"instruction": "a", "output": "b"}, indent=2)
    for content in row, f"{row}\n{row}":
        with pytest.raises(Unreadable, match="written over several lines"):
            read(content.encode())


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]},
        {"dialogue": [{"from": "human", "value": "a"}]},
        {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
        {"instruction": "a", "output": "b", "meta": {"id": 1}, "sources": [{"url": "x"}]},
    ],
)
def test_a_single_row_is_a_row(row: Any) -> None:
    assert read(json.dumps(row).encode()) == [row]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"PK\x03\x04", "Excel's .xlsx"),
        (b"\xd0\xcf\x11\xe0", "Excel's .xls"),
        (b"BZh9", "bzip2"),
        (b"%PDF-1.7", "PDF"),
        (b"<!DOCTYPE html>", "failed download"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (bytes(257) + b"ustar", "TAR"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(head: bytes, message: str) -> None:
    for content in head, gzip.compress(head + bytes(1000)):
        with pytest.raises(Unreadable, match=message):
            read(content)


def test_the_columns_are_those_of_all_rows() -> None:
    assert opened(b'[{"b": 1}, 7, {"a": 1, "b": 2}]').columns == ["b", "a"]


def test_only_the_requested_columns_of_a_parquet_file_are_read_and_the_others_are_counted() -> None:
    rows = [{"instruction": "a", "input": " ", "output": "c"}, {"instruction": "a", "input": "b", "output": "c"}]
    assert read(as_parquet(rows), ["output"]) == [{"output": "c"}] * 2
    file = opened(as_parquet(rows))
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
    counts = opened(file).count_filled(["text"])
    assert counts == {"image": 1, "bytes": 1, "list": 0, "pairs": 1, "number": 1}


@pytest.mark.parametrize("order", [["bomb", "text"], ["text", "bomb"]])
def test_a_column_that_is_too_large_to_count_does_not_keep_the_others_from_being_read(order: list[str]) -> None:
    columns = {"bomb": pa.DictionaryArray.from_arrays([0] * 64, ["x" * 10**8]), "text": pa.array(["a"] * 64)}
    file = io.BytesIO()
    pq.write_table(pa.table({name: columns[name] for name in order}), file, store_schema=False)
    assert file.tell() < 10**7
    rows = opened(file)
    assert [row.value for row in rows.read(["text"])] == [{"text": "a"}] * 64
    assert rows.count_filled(["text"]) == {"bomb": None}


def test_chats_are_read_from_json_and_parquet_files() -> None:
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "history": [["a", "b"]]}
    ]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    for content in file.getvalue(), json.dumps(rows).encode():
        assert read(content, ["messages", "history"]) == rows


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


@pytest.mark.parametrize(
    "rows",
    [
        b'{"instruction": "a", "output": "b"}\n{"instruction": "a", "output": "b", "output": "c"}\n',
        b'[{"instruction": "a", "output": "b"},\n{"instruction": "a", "output": "b", "output": "c"}]',
        b'{"messages": []}\n{"messages": [{"role": "user", "output": "a", "output": "b"}]}',
    ],
    ids=["lines", "array", "within a message"],
)
def test_an_object_with_a_key_twice_is_no_row(as_admin: TestClient, nothing_is_stored: None, rows: bytes) -> None:
    answer = as_admin.post("/v1/datasets", **Upload({"name": "pages"}, "pages.json", rows).request)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][-1]["field"] == "row 2 (line 2)"
    assert "has the key 'output' more than once in one JSON object" in answer.text


def test_the_good_rows_beside_one_with_a_key_twice_can_be_stored(as_admin: TestClient) -> None:
    rows = b'{"instruction": "a", "output": "b", "output": "c"}\n{"instruction": "a", "output": "b"}\n'
    fields = {"name": "pages", "on_invalid": "skip", "test_fraction": "0"}
    answer = as_admin.post("/v1/datasets", **Upload(fields, "pages.jsonl", rows).request)
    assert (answer.status_code, answer.json()["train_rows"]) == (201, 1), answer.text
    assert "more than once" in answer.text
