"""Splitting rows into train and test rows."""

import math
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.datasets.splitting import GROUP_ROWS, SplitFiles, write_splits
from api.errors import Problem
from models.prompts.rows import CHAT_COLUMNS, COLUMNS, Message, Row, read_rows

Stored = dict[str, list[Row]]


def write(rows: list[Row], test_fraction: float = 0.0, seed: int = 42) -> tuple[SplitFiles, Stored]:
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "splits"
        folder.mkdir()
        written = write_splits(iter(rows), folder, test_fraction=test_fraction, seed=seed)
        assert written is not None
        assert [path.name for path in Path(parent).iterdir()] == ["splits"]
        assert sorted(path.name for path in folder.iterdir()) == ["test.parquet", "train.parquet"]
        stored = {split: list(read_rows(folder / f"{split}.parquet")) for split in ("train", "test")}
    assert (written.train_rows, written.test_rows) == (len(stored["train"]), len(stored["test"]))
    return written, stored


def numbered(count: int) -> list[Row]:
    return [Row(f"Create page {number}.", "", f"<p>{number}") for number in range(count)]


texts = st.sampled_from(["a", "a ", " a\n", "b", "a b", "a\u00a0 b", "ab", ""])
messages = st.builds(Message, st.sampled_from(["user", "assistant"]), texts, st.booleans())
contexts = st.lists(messages, max_size=2).map(tuple)
some_rows = st.lists(st.builds(Row, texts, texts, texts, contexts, st.booleans()), min_size=2, max_size=30)


def without_whitespace(row: Row) -> tuple[str, ...]:
    context = [text for message in row.context for text in (message.role, message.content)]
    return tuple(" ".join(text.split()) for text in (row.instruction, row.input, row.output, *context))


@given(some_rows, st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_a_split_has_every_row_and_counts_overlapping_ones(rows: list[Row], fraction: float, seed: int) -> None:
    if math.ceil(fraction * len(rows)) == len(rows):
        with pytest.raises(Problem):
            write(rows, fraction, seed)
        return
    written, stored = write(rows, fraction, seed)
    assert Counter(stored["train"] + stored["test"]) == Counter(rows)
    assert written.test_rows == math.ceil(fraction * len(rows))
    train = {without_whitespace(row) for row in stored["train"]}
    overlapping = [row for row in stored["test"] if without_whitespace(row) in train]
    assert written.overlapping_rows == len(overlapping)


def test_without_a_test_fraction_all_rows_are_train_rows_in_their_order() -> None:
    rows = numbered(2500)
    written, stored = write(rows)
    assert stored == {"train": rows, "test": []}
    assert written.overlapping_rows == 0


def test_the_seed_determines_the_test_rows() -> None:
    rows = numbered(50)
    first, again, other = (write(rows, 0.2, seed) for seed in (1, 1, 2))
    assert first == again
    assert first[0].sha256 != other[0].sha256
    assert set(first[1]["test"]) != set(other[1]["test"])


def test_the_hash_depends_on_the_rows_and_the_split_only() -> None:
    rows = numbered(4)
    variants = [
        write(rows),
        write(rows, 0.5),
        write(rows[::-1]),
        write(rows[:3]),
        write([Row("ab", "c", "d")]),
        write([Row("a", "bc", "d")]),
        write([Row("a", "1\nb", "d")]),
        write([Row("a", "b", "d"), Row("e", "f", "g")]),
        write([Row("ab", "c", "d", (Message("system", "e"),))]),
        write([Row("ab", "c", "d", (Message("user", "e"),))]),
        write([Row("ab", "c", "d", (Message("user", "e"), Message("assistant", "f")))]),
        write([Row("ab", "c", "d", (Message("user", "e"), Message("assistant", "f", learn=False)))]),
        write([Row("ab", "c", "d", learn=False)]),
    ]
    assert len({written.sha256 for written, _ in variants}) == len(variants)


def test_files_without_chats_have_the_name_and_the_columns_that_older_versions_gave_them(tmp_path: Path) -> None:
    rows = [Row("Create a page.", "title: é", "<p>é"), Row("Create another.", "", "<p>")]
    assert write(rows)[0].sha256 == "58cfdd425dc1b0c290e2d78c819d27213ad8c4e8b682de79d86c72afe3843007"
    (tmp_path / "single").mkdir()
    (tmp_path / "chats").mkdir()
    write_splits(iter(rows), tmp_path / "single", test_fraction=0, seed=1)
    write_splits(iter([*rows, Row("a", "", "b", learn=False)]), tmp_path / "chats", test_fraction=0, seed=1)
    assert pq.read_schema(tmp_path / "single" / "train.parquet").names == [*COLUMNS]
    assert pq.read_schema(tmp_path / "chats" / "train.parquet").names == [*COLUMNS, *CHAT_COLUMNS]


def test_files_have_row_groups_of_limited_size(tmp_path: Path) -> None:
    folder = tmp_path / "splits"
    folder.mkdir()
    write_splits(iter(numbered(4 * GROUP_ROWS)), folder, test_fraction=0.3, seed=1)
    for split, sizes in ("train", [1000, 1000, 800]), ("test", [1000, 200]):
        metadata = pq.ParquetFile(folder / f"{split}.parquet").metadata
        assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == sizes


def test_a_dataset_without_rows_is_not_written(tmp_path: Path) -> None:
    assert write_splits(iter([]), tmp_path, test_fraction=0.5, seed=1) is None


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.5), (1, 1e-9), (3, 0.9), (2, 0.51)])
def test_a_test_fraction_that_leaves_no_train_rows_is_refused(count: int, fraction: float) -> None:
    with pytest.raises(Problem) as raised:
        write(numbered(count), fraction)
    assert raised.value.document.errors[0].field == "test_fraction"
