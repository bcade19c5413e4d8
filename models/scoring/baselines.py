"""Baselines: predictions without a language model.

They are evaluated as models are: a model that scores no higher than a baseline has learned nothing useful. A baseline
is fitted to a dataset's training split and answers only with outputs of that split.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from models.prompts.rows import Row, read_rows
from models.scoring.names import Baseline

CONSTANT_ROWS = 1000
"""Number of training rows, from the first, that `Constant` chooses its answer from. The cost grows with its square."""

QUERIES_AT_ONCE = 256
TRAINING_ROWS_AT_ONCE = 8192
"""Limits on one dense matrix of similarities, of 8 bytes each: 16 MiB."""

DECIMALS = 12
"""Similarities are rounded to this many decimals, so that rounding errors do not decide which row is nearest."""


class FittedBaseline(Protocol):
    """A baseline over one training split."""

    def answers(self, rows: Sequence[Row], leave_out: Sequence[int] | None = None) -> list[str]:
        """Return one training output for each row. The rows' own outputs are not read.

        Pass `leave_out` for rows that are training rows themselves: the number of each row in the training split, from
        0. A row is never answered with the output of its own number, but may be answered with the equal output of a
        duplicate row. If there is no other training row, its answer is the empty string.

        Raises ValueError if `leave_out` and `rows` have different lengths.
        """
        ...


class NearestNeighbour:
    """Answers with the output of the training row whose instruction, input and earlier turns are most similar.

    The similarity is the cosine of scikit-learn's TF-IDF vectors with default settings: lower-case words of two letters
    or more, weighted by smoothed inverse document frequencies of the training rows. Among equally similar rows the
    first is taken. Thus a row with only unknown words is answered with the first training row's output.
    """

    def __init__(self, train: Path) -> None:
        """Fit to `train`, a file that `read_rows` reads.

        The vectors are kept in memory, about 12 bytes for each distinct word of each row. Raises ValueError if there
        are no rows.
        """
        self._train = train
        self._vectorizer, self._vectors = _fit_vectorizer(train, _questions)

    def answers(self, rows: Sequence[Row], leave_out: Sequence[int] | None = None) -> list[str]:
        """See FittedBaseline. Each row group of the training split is read at most once."""
        own = _own_numbers(rows, leave_out)
        nearest: list[int | None] = []
        for start in range(0, len(rows), QUERIES_AT_ONCE):
            end = start + QUERIES_AT_ONCE
            nearest += self._nearest(rows[start:end], own[start:end])
        return _outputs(self._train, nearest)

    def _nearest(self, rows: Sequence[Row], own: Sequence[int | None]) -> list[int | None]:
        queries = self._vectorizer.transform(map(_question, rows))
        best, best_similarity = np.zeros(len(rows), dtype=int), np.full(len(rows), -1.0)
        for start in range(0, self._vectors.shape[0], TRAINING_ROWS_AT_ONCE):
            block = self._vectors[start : start + TRAINING_ROWS_AT_ONCE]
            similarity = (queries @ block.T).toarray().round(DECIMALS)
            for position, number in enumerate(own):
                if number is not None and start <= number < start + block.shape[0]:
                    similarity[position, number - start] = -1
            candidates = similarity.argmax(axis=1)
            candidate_similarity = similarity[np.arange(len(rows)), candidates]
            nearer = candidate_similarity > best_similarity
            best[nearer] = start + candidates[nearer]
            best_similarity[nearer] = candidate_similarity[nearer]
        pairs = zip(best, best_similarity, strict=True)
        return [int(number) if similarity >= 0 else None for number, similarity in pairs]


class Constant:
    """Answers every row with the same page: the training output that is most similar to all other training outputs.

    This is the medoid of the first CONSTANT_ROWS training rows by the cosine of the outputs' TF-IDF vectors, and the
    first among equals. If the training row that the page comes from is left out, it gets the second best output.
    """

    def __init__(self, train: Path) -> None:
        """Fit to `train`, a file that `read_rows` reads. Raises ValueError if there are no rows."""
        _, vectors = _fit_vectorizer(train, _first_outputs)
        to_itself = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
        to_others = (vectors @ np.asarray(vectors.sum(axis=0)).ravel() - to_itself).round(DECIMALS)
        best, *others = np.argsort(-to_others, kind="stable")[:2]
        self._number = int(best)
        self._page, self._second = _outputs(train, [self._number, int(others[0]) if others else None])

    def answers(self, rows: Sequence[Row], leave_out: Sequence[int] | None = None) -> list[str]:
        """See FittedBaseline."""
        return [self._second if number == self._number else self._page for number in _own_numbers(rows, leave_out)]


BASELINES: dict[Baseline, Callable[[Path], FittedBaseline]] = {
    Baseline.NEAREST_NEIGHBOUR: NearestNeighbour,
    Baseline.CONSTANT: Constant,
}


def fit_baseline(name: str, train: Path) -> FittedBaseline:
    """Fit a baseline to a training split, a file that `read_rows` reads.

    Raises ValueError for a name that is not a Baseline, and for a training split without rows.
    """
    return BASELINES[Baseline(name)](train)


def _fit_vectorizer(train: Path, texts: Callable[[Path], Iterator[str]]) -> tuple[TfidfVectorizer, csr_matrix]:
    """Return a fitted vectorizer and the texts' vectors, each of length 1, or 0 for a text without words."""
    if not pq.read_metadata(train).num_rows:
        raise ValueError("a baseline needs at least one training row, but the training split has none")
    # scikit-learn raises ValueError for an empty vocabulary. By its default pattern a one-letter text has no words; by
    # the second pattern, only a blank text has none.
    for pattern in (r"\b\w\w+\b", r"\S+"):
        vectorizer = TfidfVectorizer(token_pattern=pattern)
        try:
            return vectorizer, vectorizer.fit_transform(texts(train))
        except ValueError:
            continue
    # This pattern matches the empty string once in every text, so that all texts are equally similar.
    vectorizer = TfidfVectorizer(token_pattern=r"\A")
    return vectorizer, vectorizer.fit_transform(texts(train))


def _question(row: Row) -> str:
    return "\n".join([*(message.content for message in row.context), row.instruction, row.input])


def _questions(train: Path) -> Iterator[str]:
    return map(_question, read_rows(train))


def _first_outputs(train: Path) -> Iterator[str]:
    return (row.output for row in islice(read_rows(train), CONSTANT_ROWS))


def _own_numbers(rows: Sequence[Row], leave_out: Sequence[int] | None) -> list[int | None]:
    if leave_out is None:
        return [None] * len(rows)
    if len(leave_out) != len(rows):
        raise ValueError(f"leave_out has {len(leave_out)} numbers for {len(rows)} rows")
    return list(leave_out)


def _outputs(train: Path, numbers: Sequence[int | None]) -> list[str]:
    """Return the outputs of the training rows with these numbers, and the empty string for None."""
    answers = [""] * len(numbers)
    with pq.ParquetFile(train) as parquet:
        sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        ends = np.cumsum(sizes)
        wanted: dict[int, list[tuple[int, int]]] = {}
        for position, number in enumerate(numbers):
            if number is not None:
                group = int(np.searchsorted(ends, number, side="right"))
                wanted.setdefault(group, []).append((position, number - int(ends[group]) + sizes[group]))
        for group, places in wanted.items():
            column = parquet.read_row_group(group, columns=["output"]).column("output")
            for position, place in places:
                answers[position] = column[place].as_py()
    return answers
