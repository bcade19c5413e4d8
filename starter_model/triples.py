"""Triples (instruction, input, page) without end, the same for the same seed, and the split of them.

A page is all that a template makes of its values, so the split goes by the page: by its hash every page is on the
training side or held out, whatever kind, wording or `input` asked for it. A held-out page is never in the training
stream, and so no combination of template and values is on both sides.
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
"""The kinds whose requests have one right page each: these are held out and counted."""
OPEN_KINDS: dict[str, Kind] = {"everyday": everyday, "editing": editing}
"""Those that leave something to the writer; they are in the training stream alone."""
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
"""How often a kind is drawn for training, against 1 for every kind not named."""

HELD_OUT_SHARE = 1 / 32
HELD_OUT_ROWS = 500
_HELD_OUT_SEED = 20260


@dataclass(frozen=True)
class Triple:
    """One example, and the kind of task it is."""

    kind: str
    instruction: str
    input: str
    output: str


def is_held_out(page: str) -> bool:
    """The side of the split that a page is on."""
    return int.from_bytes(sha256(page.encode()).digest()[:4], "big") < HELD_OUT_SHARE * 2**32


def draw(kind: str, seed: str) -> Triple:
    """The triple of that kind and seed, on whichever side it is."""
    r = Random(f"{kind}/{seed}")
    draft = {**KINDS, **OPEN_KINDS}[kind](r)
    instruction = draft.instruction
    if instruction[1].islower() and r.random() < 0.08:
        instruction = instruction[0].lower() + instruction[1:]
    return Triple(kind, instruction, draft.input, draft.page)


def training_stream(seed: int) -> Iterator[Triple]:
    """Training triples without end, kinds drawn by weight. The same seed gives the same stream."""
    r = Random(f"training/{seed}")
    names = [*KINDS, *OPEN_KINDS]
    weights = [WEIGHTS.get(name, 1.0) for name in names]
    for place in count():
        (kind,) = r.choices(names, weights)
        triple = draw(kind, f"training/{seed}/{place}")
        if not is_held_out(triple.output):
            yield triple


def held_out() -> list[Triple]:
    """The held-out triples of the repository: every kind in turn, no page twice."""
    found: dict[str, Triple] = {}
    draws = {kind: count() for kind in KINDS}
    names = list(KINDS)
    while len(found) < HELD_OUT_ROWS:
        kind = names[len(found) % len(names)]
        triple = draw(kind, f"{_HELD_OUT_SEED}/{next(draws[kind])}")
        if is_held_out(triple.output):
            found.setdefault(triple.output, triple)
    return list(found.values())


def held_out_lines() -> str:
    """What `held_out.jsonl` holds."""
    rows = ({"instruction": one.instruction, "input": one.input, "output": one.output} for one in held_out())
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_held_out() -> None:
    """Write `held_out.jsonl` anew."""
    HELD_OUT.write_text(held_out_lines(), encoding="utf-8")


if __name__ == "__main__":
    write_held_out()
