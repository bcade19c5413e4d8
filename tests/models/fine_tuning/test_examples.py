import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.fine_tuning.examples import Example, encode, pack
from models.loading.loader import load
from models.prompts.chat import Prompter
from models.prompts.rows import Row
from models.prompts.templates import build_prompt
from tests.models.fine_tuning.conftest import STARTER

ROW = Row("Create a page.", "title: One", "<p>One</p>")

lengths = st.lists(st.integers(2, 40), min_size=1, max_size=60)


def example(tokens: list[int], learn_from: int) -> Example:
    return Example(np.array(tokens, dtype=np.int32), np.arange(len(tokens)) >= learn_from)


def examples_of(lengths: list[int]) -> list[Example]:
    return [example([number] * length, 1) for number, length in enumerate(lengths)]


def test_an_example_is_the_prompt_text_of_generation_then_the_output_then_the_end_token() -> None:
    _, tokenizer = load(STARTER, "cpu")
    [encoded] = encode(ROW, Prompter(tokenizer))
    prompt = tokenizer(build_prompt(ROW.instruction, ROW.input))["input_ids"]
    assert encoded.tokens[~encoded.learn].tolist() == prompt
    assert tokenizer.decode(encoded.tokens[encoded.learn][:-1]) == ROW.output
    assert encoded.tokens[-1] == 2


def test_the_loss_covers_the_prompt_only_with_train_on_prompt() -> None:
    prompter = Prompter(load(STARTER, "cpu")[1])
    [whole], [answer] = encode(ROW, prompter, train_on_prompt=True), encode(ROW, prompter)
    assert whole.learn[1:].all()
    assert not whole.learn[0]
    assert not answer.learn[:10].any()


@given(lengths)
def test_packing_keeps_every_example_whole_and_overfills_no_row(lengths: list[int]) -> None:
    rows = pack(examples_of(lengths), max_tokens=40)
    packed = sorted(int(example.tokens[0]) for row in rows for example in row)
    assert packed == list(range(len(lengths)))
    assert all(sum(map(len, row)) <= 40 for row in rows)


@given(lengths)
def test_no_two_packed_rows_would_fit_into_one(lengths: list[int]) -> None:
    totals = sorted(sum(map(len, row)) for row in pack(examples_of(lengths), max_tokens=40))
    assert len(totals) == 1 or totals[0] + totals[1] > 40


@given(lengths)
def test_packing_gives_the_same_rows_each_time(lengths: list[int]) -> None:
    once, again = (pack(examples_of(lengths), max_tokens=40) for _ in range(2))
    assert [[int(example.tokens[0]) for example in row] for row in once] == [
        [int(example.tokens[0]) for example in row] for row in again
    ]
