"""Answers that take no language model. They are evaluated as models are: a score that they reach too says nothing."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from models.prompts.rows import Row

CONSTANT_ROWS = 1000
"""So many of the first training rows `Constant` chooses from: it compares each with each."""

QUERIES_AT_ONCE = 256
TRAINING_ROWS_AT_ONCE = 8192
"""Similarities are dense, 8 bytes each: 16 MiB at a time."""

DECIMALS = 12
"""Similarities closer than this are equal: the order of summation must not decide which row is nearest."""


class Baseline(Protocol):
    def answers(self, rows: Sequence[Row], leave_out: Sequence[int] | None = None) -> list[str]:
        """An answer for each row, made of training outputs alone; the rows' own outputs are not looked at.

        `leave_out` is for rows that are training rows themselves: the number of each in the training split, from 0.
        A row is never answered with the output of its own number (with that of another row that is the same, it may
        be), and with the empty string where there is no other. Raises ValueError if there are not as many numbers as
        rows.
        """
        ...


class NearestNeighbour:
    """Answers with the output of the training row whose instruction and input are the most similar.

    Similarity is the cosine of scikit-learn's TF-IDF vectors with its defaults: words of two letters or more, in lower
    case, weighted by smoothed inverse document frequencies of the training rows. The earliest of equally near rows is
    taken, which is the first row of all if no word is known.
    """

    def __init__(self, train: Path) -> None:
        """`train` is a Parquet file with the string columns instruction, input and output.

        Kept in memory are the vectors, some 12 bytes for each different word of each row. Raises ValueError if it has
        no rows.
        """
        self._train = train
        self._vectorizer, self._vectors = _fit(train, _questions)

    def answers(self, rows: Sequence[Row], leave_out: Sequence[int] | None = None) -> list[str]:
        """See Baseline. Reads each row group of the training split at most once."""
        own = _own_numbers(rows, leave_out)
        nearest: list[int | None] = []
        for start in range(0, len(rows), QUERIES_AT_ONCE):
            end = start + QUERIES_AT_ONCE
            nearest += self._nearest(rows[start:end], own[start:end])
        return _outputs(self._train, nearest)

    def _nearest(self, rows: Sequence[Row], own: Sequence[int | None]) -> list[int | None]:
        queries = self._vectorizer.transform(_question(row.instruction, row.input) for row in rows)
        best, best_similarity = np.zeros(len(rows), dtype=int), np.full(len(rows), -1.0)
        for start in range(0, self._vectors.shape[0], TRAINING_ROWS_AT_ONCE):
            some = self._vectors[start : start + TRAINING_ROWS_AT_ONCE]
            similarity = (queries @ some.T).toarray().round(DECIMALS)
            for position, number in enumerate(own):
                if number is not None and start <= number < start + some.shape[0]:
                    similarity[position, number - start] = -1
            candidates = similarity.argmax(axis=1)
            candidate_similarity = similarity[np.arange(len(rows)), candidates]
            nearer = candidate_similarity > best_similarity
            best[nearer] = start + candidates[nearer]
            best_similarity[nearer] = candidate_similarity[nearer]
        found = zip(best, best_similarity, strict=True)
        return [int(number) if similarity >= 0 else None for number, similarity in found]


class Constant:
    """Answers with the same page always: the training output that is the most similar to all others.

    That is the medoid of the first CONSTANT_ROWS training rows by the cosine of the outputs' TF-IDF vectors, and the
    earliest of equals. The one training row that it comes from is, by its own number, answered with the second best.
    """

    def __init__(self, train: Path) -> None:
        """`train` is a Parquet file with the string column output. Raises ValueError if it has no rows."""
        _, vectors = _fit(train, _first_outputs)
        to_itself = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
        to_others = (vectors @ np.asarray(vectors.sum(axis=0)).ravel() - to_itself).round(DECIMALS)
        best, *others = np.argsort(-to_others, kind="stable")[:2]
        self._number = int(best)
        self._page, self._second = _outputs(train, [self._number, int(others[0]) if others else None])

    def answers(self, rows: Sequence[Row], leave_out: Sequence[int] | None = None) -> list[str]:
        """See Baseline."""
        return [self._second if number == self._number else self._page for number in _own_numbers(rows, leave_out)]


BASELINES: dict[str, Callable[[Path], Baseline]] = {
    "baseline:nearest-neighbour": NearestNeighbour,
    "baseline:constant": Constant,
}
"""What stands where a model's name does, and what opens it over a training split."""


def open_baseline(name: str, train: Path) -> Baseline:
    """The baseline of that name over a training split, a Parquet file with the columns instruction, input and output.

    Raises KeyError for a name that is not in BASELINES, and ValueError for a training split without rows.
    """
    return BASELINES[name](train)


def _fit(train: Path, texts: Callable[[Path], Iterator[str]]) -> tuple[TfidfVectorizer, csr_matrix]:
    """A vectorizer and the texts' vectors, each of length 1 (0 for a text without words)."""
    if not pq.read_metadata(train).num_rows:
        raise ValueError("a baseline needs a training row, and the training split has none")
    # A ValueError is an empty vocabulary: one-letter texts hold no word in scikit-learn's sense, blank ones nothing at
    # all. The last pattern finds the same empty word in every text: then all are equally similar, and the first wins.
    for pattern in (r"\b\w\w+\b", r"\S+"):
        vectorizer = TfidfVectorizer(token_pattern=pattern)
        try:
            return vectorizer, vectorizer.fit_transform(texts(train))
        except ValueError:
            continue
    vectorizer = TfidfVectorizer(token_pattern=r"\A")
    return vectorizer, vectorizer.fit_transform(texts(train))


def _question(instruction: str, input: str) -> str:
    return f"{instruction}\n{input}"


def _questions(train: Path) -> Iterator[str]:
    for instruction, input in _read(train, "instruction", "input"):
        yield _question(instruction, input)


def _first_outputs(train: Path) -> Iterator[str]:
    for _, (output,) in zip(range(CONSTANT_ROWS), _read(train, "output"), strict=False):
        yield output


def _read(train: Path, *columns: str) -> Iterator[tuple[str, ...]]:
    with pq.ParquetFile(train) as parquet:
        for batch in parquet.iter_batches(batch_size=1000, columns=list(columns)):
            yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def _own_numbers(rows: Sequence[Row], leave_out: Sequence[int] | None) -> list[int | None]:
    if leave_out is None:
        return [None] * len(rows)
    if len(leave_out) != len(rows):
        raise ValueError(f"{len(rows)} rows, but {len(leave_out)} of their numbers")
    return list(leave_out)


def _outputs(train: Path, numbers: Sequence[int | None]) -> list[str]:
    """The outputs of these training rows; the empty string for None."""
    answers = [""] * len(numbers)
    with pq.ParquetFile(train) as parquet:
        sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        ends = np.cumsum(sizes)
        asked: dict[int, list[tuple[int, int]]] = {}
        for position, number in enumerate(numbers):
            if number is not None:
                group = int(np.searchsorted(ends, number, side="right"))
                asked.setdefault(group, []).append((position, number - int(ends[group]) + sizes[group]))
        for group, places in asked.items():
            column = parquet.read_row_group(group, columns=["output"]).column("output")
            for position, place in places:
                answers[position] = column[place].as_py()
    return answers
