"""The row generator draws valid pages, keeps the split, and is reproducible."""

import json
from itertools import islice

import pytest

import models.starter
from models.scoring.html import parse_errors
from starter_model import rows


@pytest.fixture(scope="module")
def held_out() -> list[rows.Row]:
    return rows.held_out()


def test_the_committed_file_is_the_output_of_the_generator() -> None:
    assert models.starter.HELD_OUT.read_text(encoding="utf-8") == rows.held_out_lines()


def test_held_out_rows_cover_every_kind_and_repeat_no_page(held_out: list[rows.Row]) -> None:
    assert len(held_out) == rows.HELD_OUT_ROWS
    assert {row.kind for row in held_out} == set(rows.KINDS)
    assert len({row.output for row in held_out}) == len(held_out)


def test_every_held_out_page_is_valid(held_out: list[rows.Row]) -> None:
    assert {row.kind: errors for row in held_out if (errors := parse_errors(row.output))} == {}


def test_the_training_stream_has_no_held_out_page(held_out: list[rows.Row]) -> None:
    pages = {row.output for row in held_out}
    assert all(rows.is_held_out(page) for page in pages)
    drawn = list(islice(rows.training_stream(7), 10_000))
    assert not any(rows.is_held_out(row.output) or row.output in pages for row in drawn)
    assert {row.kind for row in drawn} == {*rows.KINDS, *rows.OPEN_KINDS}


def test_the_held_out_share_is_as_documented() -> None:
    drawn = [rows.draw("combination", f"share/{place}") for place in range(4_000)]
    share = sum(rows.is_held_out(row.output) for row in drawn) / len(drawn)
    assert share == pytest.approx(rows.HELD_OUT_SHARE, rel=0.35)


def test_the_same_seed_gives_the_same_rows() -> None:
    first, again, other = (list(islice(rows.training_stream(seed), 200)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_one_request_has_one_correct_page() -> None:
    pages: dict[tuple[str, str], str] = {}
    drawn = (row for row in rows.training_stream(11) if row.kind in rows.KINDS)
    for row in islice(drawn, 4_000):
        assert pages.setdefault((row.instruction, row.input), row.output) == row.output


def test_the_file_has_the_columns_of_a_dataset() -> None:
    columns = json.loads(models.starter.HELD_OUT.read_text(encoding="utf-8").splitlines()[0])
    assert list(columns) == ["instruction", "input", "output"]
