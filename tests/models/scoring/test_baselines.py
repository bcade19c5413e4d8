"""Baselines answer with training outputs only, and never with the row's own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.prompts.rows import Message, Row, columns_of
from models.scoring.baselines import TRAINING_ROWS_AT_ONCE, Constant, NearestNeighbour, fit_baseline
from models.scoring.names import Baseline

COLUMNS = ("instruction", "input", "output")
Split = Callable[..., Path]


@pytest.fixture
def train(tmp_path: Path) -> Split:
    """Return a function that stores rows (instruction, input, output) as a training split and returns the file."""

    def store(*rows: tuple[str, str, str], row_group_size: int = 1000) -> Path:
        schema = pa.schema([(column, pa.string()) for column in COLUMNS])
        columns = [[row[place] for row in rows] for place in range(3)]
        file = tmp_path / "train.parquet"
        pq.write_table(
            pa.Table.from_arrays(list(map(pa.array, columns)), schema=schema) if rows else schema.empty_table(),
            file,
            row_group_size=row_group_size,
        )
        return file

    return store


def question(instruction: str, input: str = "") -> Row:
    return Row(instruction, input, "never read")


PAGES = (
    ("Create a page with a heading.", "", "<h1>heading</h1>"),
    ("Create a page with a table.", "rows: apples", "<table>apples</table>"),
    ("Create a page with a form.", "", "<form></form>"),
)


def test_the_nearest_neighbour_answers_with_the_output_of_the_most_similar_instruction_and_input(train: Split) -> None:
    baseline = NearestNeighbour(train(*PAGES))
    rows = [question("A form, please."), question("Create it.", "apples"), question("With a HEADING!")]
    assert baseline.answers(rows) == ["<form></form>", "<table>apples</table>", "<h1>heading</h1>"]


def test_the_turns_before_an_instruction_count_as_well(tmp_path: Path) -> None:
    def chat(page: str, output: str) -> Row:
        return Row("Make it red.", "", output, (Message("user", f"Create a {page}."), Message("assistant", "<p>")))

    rows = [chat("table", "<table>"), chat("form", "<form>"), Row("Make it red.", "", "<p>")]
    pq.write_table(pa.Table.from_pylist(list(map(columns_of, rows))), tmp_path / "train.parquet")
    baseline = NearestNeighbour(tmp_path / "train.parquet")
    assert baseline.answers([chat("form", ""), chat("table", ""), question("Make it red.")]) == [
        "<form>",
        "<table>",
        "<p>",
    ]


def test_the_first_of_equally_similar_rows_is_the_neighbour(train: Split) -> None:
    baseline = NearestNeighbour(train(*PAGES, ("Create a page with a form.", "", "later")))
    assert baseline.answers([question("A form.")]) == ["<form></form>"]


def test_a_row_of_unknown_words_is_answered_with_the_first_training_row(train: Split) -> None:
    assert NearestNeighbour(train(*PAGES)).answers([question("xyzzy"), question("")]) == ["<h1>heading</h1>"] * 2


def test_a_training_row_is_not_its_own_neighbour(train: Split) -> None:
    baseline = NearestNeighbour(train(*PAGES))
    rows = [Row(*row) for row in PAGES]
    assert baseline.answers(rows) == [row.output for row in rows]
    answers = baseline.answers(rows, leave_out=[0, 1, 2])
    assert all(answer and answer != row.output for answer, row in zip(answers, rows, strict=True))


def test_a_duplicate_under_another_number_may_be_the_neighbour(train: Split) -> None:
    row = ("Create a page.", "", "<p></p>")
    assert NearestNeighbour(train(row, *PAGES, row)).answers([Row(*row)], leave_out=[0]) == ["<p></p>"]


@pytest.mark.parametrize("name", Baseline)
def test_leave_out_must_have_one_number_per_row(train: Split, name: str) -> None:
    with pytest.raises(ValueError, match="leave_out has 1 numbers for 2 rows"):
        fit_baseline(name, train(*PAGES)).answers([question("a form"), question("a table")], leave_out=[0])


@pytest.mark.parametrize("name", Baseline)
def test_no_rows_give_no_answers(train: Split, name: str) -> None:
    assert fit_baseline(name, train(*PAGES)).answers([]) == []


@pytest.mark.parametrize("name", Baseline)
def test_a_single_training_row_answers_every_row_except_itself(train: Split, name: str) -> None:
    baseline = fit_baseline(name, train(PAGES[0]))
    assert baseline.answers([question("a form")]) == ["<h1>heading</h1>"]
    assert baseline.answers([Row(*PAGES[0])], leave_out=[0]) == [""]


@pytest.mark.parametrize("name", Baseline)
def test_a_training_split_without_rows_is_refused(train: Split, name: str) -> None:
    with pytest.raises(ValueError, match="the training split has none"):
        fit_baseline(name, train())


@pytest.mark.parametrize(
    ("texts", "query", "answer"),
    [
        pytest.param(("a", "b", "c"), "b", "1", id="one letter each"),
        pytest.param(("+", "- -", "*"), "*", "2", id="punctuation"),
        pytest.param(("", "", ""), "b", "0", id="empty"),
    ],
)
def test_texts_without_words_have_nearest_neighbours(train: Split, texts: Any, query: str, answer: str) -> None:
    baseline = NearestNeighbour(train(*((text, "", str(number)) for number, text in enumerate(texts))))
    assert baseline.answers([question(query)]) == [answer]


def test_the_constant_can_be_chosen_among_outputs_without_words(train: Split) -> None:
    assert Constant(train(("", "", ""), ("", "", ""))).answers([question("a form")]) == [""]


def test_neighbours_are_found_in_every_block_of_training_rows(train: Split) -> None:
    count = 2 * TRAINING_ROWS_AT_ONCE + 10
    rows = [(f"page{number // 2}", "", str(number)) for number in range(count)]
    baseline = NearestNeighbour(train(*rows))
    numbers = [0, TRAINING_ROWS_AT_ONCE - 2, TRAINING_ROWS_AT_ONCE, 2 * TRAINING_ROWS_AT_ONCE, count - 2] * 100
    questions = [Row(*rows[number]) for number in numbers]
    assert baseline.answers(questions) == [str(number) for number in numbers]
    assert baseline.answers(questions, leave_out=numbers) == [str(number + 1) for number in numbers]


def test_a_batch_reads_each_row_group_at_most_once(train: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"page{number}", "", f"<p>{number}</p>") for number in range(100)]
    baseline = NearestNeighbour(train(*rows, row_group_size=10))
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counting(self: pq.ParquetFile, group: int, **options: Any) -> pa.Table:
        read.append(group)
        return original(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    numbers = [95, 5, 44, 4, 90, 49, 5]
    assert baseline.answers([question(f"page{number}") for number in numbers]) == [
        f"<p>{number}</p>" for number in numbers
    ]
    assert sorted(read) == [0, 4, 9]


OUTPUTS = ("<p>one two</p>", "<p>one two three</p>", "<p>two three four</p>", "<b>quite another</b>")


def test_the_constant_is_the_training_output_most_similar_to_the_others(train: Split) -> None:
    baseline = Constant(train(*(("", "", output) for output in OUTPUTS)))
    assert baseline.answers([question("a form"), question("a table")]) == ["<p>one two three</p>"] * 2


def test_the_row_that_the_constant_comes_from_gets_the_second_best(train: Split) -> None:
    baseline = Constant(train(*(("", "", output) for output in OUTPUTS)))
    answers = baseline.answers([Row("", "", output) for output in OUTPUTS], leave_out=range(4))
    assert answers[1] in (OUTPUTS[0], OUTPUTS[2])
    assert {answers[0], *answers[2:]} == {OUTPUTS[1]}


def test_the_constant_is_the_first_of_equally_typical_outputs(train: Split) -> None:
    baseline = Constant(train(*(("", "", output) for output in ("<i>lone</i>", "<p>this</p>", "<p> this </p>"))))
    assert baseline.answers([question("a form")]) == ["<p>this</p>"]


def test_the_constant_is_chosen_among_the_first_thousand_rows(train: Split) -> None:
    first = [("", "", f"<p>page {number}</p>") for number in range(1000)]
    baseline = Constant(train(*first, *[("", "", "<b>later</b>")] * 2000))
    assert baseline.answers([question("a form")])[0].startswith("<p>page")


def test_an_unknown_name_is_refused(train: Split) -> None:
    with pytest.raises(ValueError, match="starter"):
        fit_baseline("starter", train(*PAGES))


def test_baselines_load_no_torch() -> None:
    subprocess.run(
        [sys.executable, "-c", "import models.scoring.baselines, sys; assert 'torch' not in sys.modules"], check=True
    )
