"""Small or valid-looking files that unpack to more than a machine can hold."""

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.datasets import json_array, parquet, rows
from api.datasets.json_array import JsonArray
from api.datasets.limits import Unreadable
from api.errors import Problem
from tests.api.datasets.helpers import DATASETS, opened
from tests.api.helpers import Upload, problem
from tests.attacks.conftest import Api

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def api(lasting_api: Api) -> Api:
    with lasting_api.client() as client:  # loads the libraries that read files
        problem(upload(client, "x.parquet", b"PAR1PAR1"), 422, "invalid", field="file")
    return lasting_api


def upload(client: httpx.Client, name: str, content: bytes) -> Any:
    return client.post(DATASETS, **Upload({"name": "bomb"}, name, content).request)


def dictionary_bomb(file: Path) -> None:
    """A text that is repeated a hundred thousand times: terabytes."""
    text = pa.array(["x" * 10 * MEGABYTE])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), text)
    pq.write_table(pa.table({"instruction": column, "output": column}), file, compression="zstd")


def page_bomb(file: Path) -> None:
    """A page that unpacks to more than the memory limit of the process."""
    size = 1_100 * MEGABYTE
    text = pa.StringArray.from_buffers(1, pa.array([0, size], pa.int32()).buffers()[1], pa.py_buffer(bytes(size)))
    table = pa.table({"instruction": text, "output": ["y"]})
    pq.write_table(table, file, compression="zstd", use_dictionary=False, write_statistics=False)


def nested_bomb(file: Path) -> None:
    message = {"role": "user", "content": "x" * MEGABYTE}
    kind = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    pq.write_table(pa.table({"messages": pa.array([[message] * 300] * 2, kind)}), file, compression="zstd")


def long_jsonl_line(file: Path) -> None:
    file.write_bytes(b'{"instruction": "' + b"x" * 100 * MEGABYTE + b'", "output": "y"}')


def long_csv_line(file: Path) -> None:
    file.write_bytes(b"instruction,output\n" + b"x," * 50 * MEGABYTE)


def csv_row_of_many_lines(file: Path) -> None:
    file.write_bytes(b"instruction,output\n" + b",".join([b'"' + b"x\n" * 4 * MEGABYTE + b'"'] * 12))


def json_of_lists(file: Path) -> None:
    """Rows that take thirty times as much memory as the file."""
    file.write_bytes(b"[[" + b"[]," * 4 * MEGABYTE + b"[]]]")


def json_of_spaces(file: Path) -> None:
    file.write_bytes(b"[" + b" " * 100 * MEGABYTE)


def json_of_names(file: Path) -> None:
    file.write_text(json.dumps([{f"{number}{'x' * 400}": 1} for number in range(200_000)]))


def gzip_bomb(file: Path) -> None:
    with gzip.open(file, "wb", compresslevel=1) as packed:
        packed.write(b"instruction,output\n")
        for _ in range(3000):
            packed.write(b"a,b\n" * (MEGABYTE // 4))


BOMBS: dict[str, list[Callable[[Path], None]]] = {
    "parquet": [dictionary_bomb, page_bomb, nested_bomb],
    "jsonl": [long_jsonl_line, json_of_names],
    "gz": [gzip_bomb],
    "csv": [long_csv_line, csv_row_of_many_lines],
    "json": [json_of_lists, json_of_spaces, json_of_names],
}


@pytest.mark.parametrize(
    ("suffix", "bomb"),
    [(suffix, bomb) for suffix, bombs in BOMBS.items() for bomb in bombs],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_decompression_bomb_is_refused_within_limited_memory(
    api: Api, tmp_path: Path, suffix: str, bomb: Callable[[Path], None]
) -> None:
    file = tmp_path / f"bomb.{suffix}"
    bomb(file)
    Path(f"/proc/{api.pid}/clear_refs").write_text("5")  # resets the peak
    before = psutil.Process(api.pid).memory_info().rss
    with api.client() as client, file.open("rb") as content:
        response = client.post(DATASETS, data={"name": "bomb"}, files={"file": (file.name, content)})
        problem(response, 422, "invalid", field="file")
        assert client.get(DATASETS).json()["items"] == []
    assert peak(api.pid) - before < 350 * MEGABYTE
    assert psutil.Process(api.pid).children() == []


def peak(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_a_parquet_file_can_be_read_within_the_memory_limit(api: Api, tmp_path: Path) -> None:
    dictionary_bomb(tmp_path / "bomb.parquet")
    with (tmp_path / "bomb.parquet").open("rb") as file:
        reading = subprocess.Popen(
            [sys.executable, "-m", "api.datasets.parquet", '["output"]'], stdin=file, stdout=subprocess.PIPE
        )
        assert reading.stdout is not None
        reading.stdout.read(50 * MEGABYTE)
        assert peak(reading.pid) < 1.2 * parquet.MEMORY_BYTES
        reading.kill()
        reading.stdout.close()
        reading.wait()


def test_too_many_rows_or_characters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 10)
    for row, count, most in (("x", 11, 10**6), ("x" * 1000, 5, 4000), (None, 11, 10**6)):
        lines = f"{json.dumps({'instruction': row, 'output': row})}\n".encode() * count
        unchecked = opened(lines)
        with pytest.raises(Unreadable, match="has more than"):
            list(
                rows.check_rows(
                    unchecked, {"instruction": "instruction", "output": "output"}, rows.Report(), max_characters=most
                )
            )


hostile = st.recursive(
    st.one_of(
        st.sampled_from(
            ["NaN", "-Infinity", "1e400", "9" * 5000, "-0", '"\\ud800"', '"\\u0000"', '"\0"', '"a', "\\", ""]
        ),
        st.integers(0, 100_000).map(lambda depth: "[" * depth + "]" * depth),
        st.integers(0, 100_000).map(lambda depth: '{"a":' * depth),
        st.text().map(json.dumps),
    ),
    lambda value: st.one_of(
        st.lists(value).map(lambda values: f"[{','.join(values)}]"),
        st.lists(
            st.tuples(
                st.sampled_from(["instruction", "output", "messages", "role", "content", "", "\0", "../x"]), value
            )
        ).map(lambda items: "{" + ",".join(f"{json.dumps(name)}:{item}" for name, item in items) + "}"),
    ),
    max_leaves=10,
)


@given(hostile)
@example('[{"instruction": "a", "instruction": "b", "output": "c"}]')
@example("instruction,output\na\0,b\0\n")
@settings(max_examples=150, deadline=None)
def test_hostile_text_is_either_valid_rows_or_refused(content: str) -> None:
    with suppress(Unreadable, Problem):
        unchecked = opened(content.encode())
        columns = rows.choose_columns(unchecked, None)
        for row in rows.check_rows(unchecked, columns, rows.Report(), max_characters=10**9):
            texts = "".join([row.instruction, row.input, row.output, *(message.content for message in row.context)])
            assert "\0" not in texts
            texts.encode()


@given(st.lists(st.recursive(st.none() | st.floats() | st.text() | st.integers(), st.lists)), st.integers(1, 9))
@example([0.5, -1e300, 12345], 1)
@settings(max_examples=60, deadline=None)
def test_an_array_read_in_pieces_equals_one_read_at_once(values: list[Any], piece: int) -> None:
    text = json.dumps(values, ensure_ascii=False, indent=piece if piece < 5 else None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_array, "CHUNK_BYTES", piece)
        assert repr([row.value for row in JsonArray(io.BytesIO(text.encode()))]) == repr(values)
        for broken in (text[:-1], text + "]", text.replace("[", "[,", 1), text[:-1] + ",]"):
            with pytest.raises(Unreadable):
                list(JsonArray(io.BytesIO(broken.encode())))
