"""Splitting rows into train and test rows."""

import math
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.datasets.rows import Row
from api.datasets.splitting import GROUP_ROWS, SplitFiles, write_splits
from api.errors import Problem

Stored = dict[str, list[Row]]


def write(rows: list[Row], test_fraction: float = 0.0, seed: int = 42) -> tuple[SplitFiles, Stored]:
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "splits"
        folder.mkdir()
        written = write_splits(iter(rows), folder, test_fraction=test_fraction, seed=seed)
        assert written is not None
        assert [path.name for path in Path(parent).iterdir()] == ["splits"]
        assert sorted(path.name for path in folder.iterdir()) == ["test.parquet", "train.parquet"]
        stored = {
            split: [Row(**row) for row in pq.read_table(folder / f"{split}.parquet").to_pylist()]
            for split in ("train", "test")
        }
    assert (written.train_rows, written.test_rows) == (len(stored["train"]), len(stored["test"]))
    return written, stored


def numbered(count: int) -> list[Row]:
    return [Row(f"Create page {number}.", "", f"<p>{number}") for number in range(count)]


texts = st.sampled_from(["a", "a ", " a\n", "b", "a b", "a\u00a0 b", "ab", ""])
some_rows = st.lists(st.builds(Row, texts, texts, texts), min_size=2, max_size=30)


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
    train = {tuple(" ".join(text.split()) for text in row) for row in stored["train"]}
    overlapping = [row for row in stored["test"] if tuple(" ".join(text.split()) for text in row) in train]
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
    ]
    assert len({written.sha256 for written, _ in variants}) == len(variants)


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
