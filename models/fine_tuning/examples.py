"""Dataset rows as token sequences, and which of them share a row of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from models.prompts.chat import Prompter, Turn
from models.prompts.rows import Row

IGNORED = -100
"""The label of a token that the loss ignores, as transformers defines it."""


@dataclass(frozen=True)
class Example:
    """The tokens of a dataset row, or of a turn of its chat. The loss covers the tokens where `learn` is True.

    Both are arrays of the same length. `learn` is False at the first token, which no token precedes.
    """

    tokens: np.ndarray
    learn: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def labels(self) -> np.ndarray:
        """The tokens, with IGNORED in place of those that the loss does not cover."""
        return np.where(self.learn, self.tokens, IGNORED)


def encode(
    row: Row, prompter: Prompter, *, train_on_prompt: bool = False, last_turn_only: bool = False
) -> list[Example]:
    """Return a row as examples, of which each is exactly what generation starts from and what it should generate.

    The loss covers the assistant's turns, each with the token that ends it, or the last turn only; with
    `train_on_prompt`, it covers every token. A chat is one example, or, if the template renders a turn otherwise once
    others follow it, one for each turn. A row without a turn to learn gives none. Raises PromptError.
    """
    turns = [turn for turn in prompter.turns_of(row, last_only=last_turn_only) if turn.learn]
    if not turns:
        return []
    whole = [*turns[-1].prompt, *turns[-1].answer]
    if all(whole[: len(turn.prompt) + len(turn.answer)] == [*turn.prompt, *turn.answer] for turn in turns):
        return [_example(turns, train_on_prompt)]
    return [_example([turn], train_on_prompt) for turn in turns]


def _example(turns: Sequence[Turn], train_on_prompt: bool) -> Example:
    """Return the last turn as an example whose loss covers all these turns."""
    tokens = np.array([*turns[-1].prompt, *turns[-1].answer], dtype=np.int32)
    learn = np.full(len(tokens), train_on_prompt)
    for turn in turns:
        learn[len(turn.prompt) : len(turn.prompt) + len(turn.answer)] = True
    learn[0] = False
    return Example(tokens, learn)


def pack(examples: Sequence[Example], max_tokens: int) -> list[list[Example]]:
    """Group whole examples into rows of at most `max_tokens` tokens, by best-fit decreasing.

    Best-fit decreasing puts each example, longest first, into the row with the least room that it fits into. No example
    may be longer than `max_tokens`. The result depends on the arguments alone.
    """
    rows_by_room: list[list[list[Example]]] = [[] for _ in range(max_tokens + 1)]
    rooms = 0  # bit n is set if some row has room for n more tokens
    rows: list[list[Example]] = []
    for example in sorted(examples, key=len, reverse=True):
        sufficient = rooms >> len(example)
        if sufficient:
            room = len(example) + (sufficient & -sufficient).bit_length() - 1
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                rooms &= ~(1 << room)
        else:
            room, row = max_tokens, []
            rows.append(row)
        row.append(example)
        rest = room - len(example)
        rows_by_room[rest].append(row)
        rooms |= 1 << rest
    return rows


class PackedRows(Dataset[list[Example]]):
    """Rows of examples for a DataLoader. Without packing, each row holds one example."""

    def __init__(self, rows: list[list[Example]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> list[Example]:
        return self._rows[position]
