"""The generator of triples: valid pages, a split that holds, the same draws every time."""

import json
from itertools import islice

import pytest

import models.starter
from models.scoring.html import parse_errors
from starter_model import triples


@pytest.fixture(scope="module")
def held_out() -> list[triples.Triple]:
    return triples.held_out()


def test_the_committed_file_is_what_the_generator_makes() -> None:
    assert models.starter.HELD_OUT.read_text(encoding="utf-8") == triples.held_out_lines()


def test_the_held_out_rows_cover_every_kind_and_repeat_no_page(held_out: list[triples.Triple]) -> None:
    assert len(held_out) == triples.HELD_OUT_ROWS
    assert {one.kind for one in held_out} == set(triples.KINDS)
    assert len({one.output for one in held_out}) == len(held_out)


def test_every_held_out_page_is_valid(held_out: list[triples.Triple]) -> None:
    assert {one.kind: errors for one in held_out if (errors := parse_errors(one.output))} == {}


def test_training_yields_no_held_out_page(held_out: list[triples.Triple]) -> None:
    pages = {one.output for one in held_out}
    assert all(triples.is_held_out(page) for page in pages)
    drawn = list(islice(triples.training_stream(7), 10_000))
    assert not any(triples.is_held_out(one.output) or one.output in pages for one in drawn)
    assert {one.kind for one in drawn} == {*triples.KINDS, *triples.OPEN_KINDS}


def test_the_split_takes_the_share_it_says() -> None:
    drawn = [triples.draw("combination", f"share/{place}") for place in range(4_000)]
    share = sum(triples.is_held_out(one.output) for one in drawn) / len(drawn)
    assert share == pytest.approx(triples.HELD_OUT_SHARE, rel=0.35)


def test_the_same_seed_gives_the_same_triples() -> None:
    first, again, other = (list(islice(triples.training_stream(seed), 200)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_one_request_never_asks_for_two_pages() -> None:
    pages: dict[tuple[str, str], str] = {}
    drawn = (one for one in triples.training_stream(11) if one.kind in triples.KINDS)
    for one in islice(drawn, 4_000):
        assert pages.setdefault((one.instruction, one.input), one.output) == one.output


def test_rows_are_plain_columns() -> None:
    row = json.loads(models.starter.HELD_OUT.read_text(encoding="utf-8").splitlines()[0])
    assert list(row) == ["instruction", "input", "output"]
