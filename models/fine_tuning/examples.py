"""Rows become token sequences, sequences become batches: one row of tokens each, without padding."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from models.prompts.rows import Row
from models.prompts.template import build_prompt

IGNORED = -100
"""The label of a token that the loss leaves out; transformers' own."""


@dataclass(frozen=True)
class Example:
    """One row in tokens. The loss counts the tokens from `learn_from` on; it is 1 at the least, as nothing comes
    before the first token that could predict it."""

    tokens: np.ndarray
    learn_from: int

    def __len__(self) -> int:
        return len(self.tokens)


def encode(row: Row, tokenizer: PreTrainedTokenizerBase, eos_token_id: int, train_on_prompt: bool = False) -> Example:
    """The prompt as it is built everywhere, the completion, and the token that ends it."""
    # Tokenized apart: generation continues the prompt's own tokens, so training must not merge across the border.
    prompt = tokenizer(build_prompt(row.instruction, row.input), verbose=False)["input_ids"]
    completion = tokenizer(row.output, add_special_tokens=False, verbose=False)["input_ids"]
    tokens = np.array([*prompt, *completion, eos_token_id], dtype=np.int32)
    return Example(tokens, learn_from=1 if train_on_prompt else max(1, len(prompt)))


def pack(examples: Sequence[Example], max_tokens: int) -> list[list[Example]]:
    """Put whole examples together in as few rows of at most `max_tokens` tokens as best-fit-decreasing finds.

    No example may be longer than `max_tokens`. The result depends on nothing but the arguments.
    """
    rows_with_room: list[list[list[Example]]] = [[] for _ in range(max_tokens + 1)]
    rooms = 0  # a bit for each number of free tokens that some row has
    rows: list[list[Example]] = []
    for example in sorted(examples, key=len, reverse=True):
        fitting = rooms >> len(example)
        if fitting:
            room = len(example) + (fitting & -fitting).bit_length() - 1
            row = rows_with_room[room].pop()
            if not rows_with_room[room]:
                rooms &= ~(1 << room)
        else:
            room, row = max_tokens, []
            rows.append(row)
        row.append(example)
        left = room - len(example)
        rows_with_room[left].append(row)
        rooms |= 1 << left
    return rows


class PackedRows(Dataset[list[Example]]):
    """Rows of examples for a DataLoader; without packing each row is one example."""

    def __init__(self, rows: list[list[Example]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> list[Example]:
        return self._rows[position]


def collate(rows: Iterable[Sequence[Example]]) -> dict[str, Any]:
    """One batch for `model(**batch)`: all the examples end to end, [1, tokens].

    Logits are asked for only where the next token counts, which the prompts' do not.
    """
    examples = [example for row in rows for example in row]
    lengths = [len(example) for example in examples]
    bounds = np.cumsum([0, *lengths])
    tokens = torch.from_numpy(np.concatenate([example.tokens for example in examples]).astype(np.int64))
    labels = tokens.clone()
    for begin, example in zip(bounds[:-1], examples, strict=True):
        labels[begin : begin + example.learn_from] = IGNORED
    counted = (labels != IGNORED).nonzero().squeeze(1)
    cu_seq_lens = torch.from_numpy(bounds.astype(np.int32))
    return {
        "input_ids": tokens[None],
        "labels": labels[None],
        "position_ids": torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))[None],
        "logits_to_keep": counted - 1,
        "shift_labels": labels[counted][None],
        "cu_seq_lens_q": cu_seq_lens,
        "cu_seq_lens_k": cu_seq_lens,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
