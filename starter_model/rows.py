"""Generate rows of instruction, input and output (a page), and split them into training and held-out rows.

`python -m starter_model.rows` writes `models/starter/held_out.jsonl`.

The split depends on the hash of the page alone, not on the kind of task, the wording or the input. So a held-out page
never occurs in the training stream, and no combination of template and values is on both sides.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from random import Random

from models.starter import HELD_OUT
from starter_model.composing import COMPOSED, Kind
from starter_model.converting import CONVERTING
from starter_model.editing import editing
from starter_model.everyday import everyday
from starter_model.scripted import SCRIPTED
from starter_model.themed import THEMED

KINDS: dict[str, Kind] = {**COMPOSED, **THEMED, **SCRIPTED, **CONVERTING}
"""Kinds of task with exactly one correct page per request. Held-out rows are drawn from these only."""
OPEN_KINDS: dict[str, Kind] = {"everyday": everyday, "editing": editing}
"""Kinds of task with many correct pages per request. They occur in the training stream only."""
WEIGHTS = {
    "everyday": 100.0,
    "editing": 25.0,
    "plain page": 4.0,
    "combination": 5.0,
    "edit": 2.5,
    "long page": 1.5,
    "template": 1.5,
    "table": 1.5,
}
"""Relative frequency of each kind in the training stream. Kinds that are not listed have the weight 1."""

HELD_OUT_SHARE = 1 / 32
HELD_OUT_ROWS = 500
_HELD_OUT_SEED = 20260


@dataclass(frozen=True)
class Row:
    """A row and the kind of its task."""

    kind: str
    instruction: str
    input: str
    output: str


def is_held_out(page: str) -> bool:
    """Return whether a page is on the held-out side of the split."""
    return int.from_bytes(sha256(page.encode()).digest()[:4], "big") < HELD_OUT_SHARE * 2**32


def draw(kind: str, seed: str) -> Row:
    """Return the row of this kind and seed, which may be on either side of the split."""
    r = Random(f"{kind}/{seed}")
    draft = {**KINDS, **OPEN_KINDS}[kind](r)
    instruction = draft.instruction
    if instruction[1].islower() and r.random() < 0.08:
        instruction = instruction[0].lower() + instruction[1:]
    return Row(kind, instruction, draft.input, draft.page)


def training_stream(seed: int) -> Iterator[Row]:
    """Yield training rows forever, with kinds drawn by WEIGHTS. The same seed gives the same rows."""
    r = Random(f"training/{seed}")
    names = [*KINDS, *OPEN_KINDS]
    weights = [WEIGHTS.get(name, 1.0) for name in names]
    for place in count():
        (kind,) = r.choices(names, weights)
        row = draw(kind, f"training/{seed}/{place}")
        if not is_held_out(row.output):
            yield row


def held_out() -> list[Row]:
    """Return the HELD_OUT_ROWS held-out rows, with the kinds in turn and no page twice."""
    by_page: dict[str, Row] = {}
    draws = {kind: count() for kind in KINDS}
    names = list(KINDS)
    while len(by_page) < HELD_OUT_ROWS:
        kind = names[len(by_page) % len(names)]
        row = draw(kind, f"{_HELD_OUT_SEED}/{next(draws[kind])}")
        if is_held_out(row.output):
            by_page.setdefault(row.output, row)
    return list(by_page.values())


def held_out_lines() -> str:
    """Return the content of `held_out.jsonl`."""
    columns = ({"instruction": row.instruction, "input": row.input, "output": row.output} for row in held_out())
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in columns)


def write_held_out() -> None:
    """Write `held_out.jsonl`."""
    HELD_OUT.write_text(held_out_lines(), encoding="utf-8")


if __name__ == "__main__":
    write_held_out()
