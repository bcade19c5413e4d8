"""Dataset rows as token sequences, and batches of them: one row of tokens per batch, without padding."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import DataCollatorWithFlattening, PreTrainedTokenizerBase

from models.prompts.rows import Row
from models.prompts.template import build_prompt

IGNORED = -100
"""The label of a token that the loss ignores, as transformers defines it."""

_flatten = DataCollatorWithFlattening(return_flash_attn_kwargs=True, separator_id=IGNORED)


@dataclass(frozen=True)
class Example:
    """The tokens of one dataset row. The loss covers the tokens from position `learn_from` on.

    `learn_from` is at least 1, since no token precedes the first one.
    """

    tokens: np.ndarray
    learn_from: int

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def labels(self) -> np.ndarray:
        """The tokens, with IGNORED in place of those before `learn_from`."""
        return np.concatenate([np.full(self.learn_from, IGNORED), self.tokens[self.learn_from :]])


def encode(row: Row, tokenizer: PreTrainedTokenizerBase, eos_token_id: int, train_on_prompt: bool = False) -> Example:
    """Return a row as the tokens of its prompt text, of its output, and the end-of-sequence token.

    The loss covers the output and the end-of-sequence token; with `train_on_prompt`, it covers the prompt text too.
    """
    # Prompt and output are tokenized separately. Generation continues from the prompt's own tokens, so no token may
    # span the border.
    prompt = tokenizer(build_prompt(row.instruction, row.input), verbose=False)["input_ids"]
    output = tokenizer(row.output, add_special_tokens=False, verbose=False)["input_ids"]
    tokens = np.array([*prompt, *output, eos_token_id], dtype=np.int32)
    return Example(tokens, learn_from=1 if train_on_prompt else max(1, len(prompt)))


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


def collate(rows: Iterable[Sequence[Example]]) -> dict[str, Any]:
    """Return all examples of the rows as one batch for `model(**batch)`, end to end, as one row of tokens.

    transformers' DataCollatorWithFlattening gives `input_ids`, `labels` and `position_ids`, [1, tokens] each, and the
    bounds of the examples (`cu_seq_lens_q`, ...). `logits_to_keep` and `shift_labels`, added to these, make the model
    compute logits only at the positions whose next token counts in the loss.
    """
    examples = [example for row in rows for example in row]
    batch: dict[str, Any] = _flatten([{"input_ids": example.tokens, "labels": example.labels} for example in examples])
    labels: torch.Tensor = batch["labels"][0]
    counted = (labels != IGNORED).nonzero().squeeze(1)
    return {**batch, "logits_to_keep": counted - 1, "shift_labels": labels[counted][None]}
