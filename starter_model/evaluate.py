"""Measure the starter model on the held-out triples: `python -m starter_model.evaluate`."""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import torch

from models.loading.loader import load
from models.loading.refs import ModelRef, Source
from models.prompts.template import build_prompt
from models.serving.engine import Sampling
from models.serving.in_process.engine import Engine
from models.starter import FOLDER
from starter_model.triples import Triple, held_out


def answers(folder: Path, triples: list[Triple], device: str | None = None) -> list[str]:
    """The model's greedy page for each triple, in float32. `folder` holds the weights and the tokenizer."""
    model, tokenizer = load(ModelRef(Source.LOCAL, str(folder)), device, torch.float32)
    engine = Engine(model, tokenizer)
    requests = [engine.submit(build_prompt(triple.instruction, triple.input), Sampling()) for triple in triples]
    pages = [request.future.result().text for request in requests]
    engine.close()
    return pages


def exact(page: str, reference: str) -> bool:
    """Whether a page equals its reference, blanks around them aside."""
    return page.strip() == reference.strip()


def main() -> None:
    """Print the exact matches overall and by kind, and the share of valid pages where html5lib is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--rows", type=int, default=500, help="how many of the held-out triples")
    parser.add_argument("--pages", type=Path, help="where the generated pages go, as JSON lines")
    given = parser.parse_args()
    triples = held_out()[: given.rows]
    start = time.monotonic()
    pages = answers(given.folder, triples)
    seconds = time.monotonic() - start
    right = [exact(page, triple.output) for page, triple in zip(pages, triples, strict=True)]
    kinds: dict[str, list[bool]] = defaultdict(list)
    for triple, good in zip(triples, right, strict=True):
        kinds[triple.kind].append(good)
    for kind, goods in kinds.items():
        print(f"| {kind} | {sum(goods)} of {len(goods)} |")
    print(f"exact: {sum(right)} of {len(right)} ({sum(right) / len(right):.1%}), {seconds:.0f} s")
    if given.pages:
        rows = (
            json.dumps({"kind": triple.kind, "exact": good, "page": page}, ensure_ascii=False) + "\n"
            for triple, good, page in zip(triples, right, pages, strict=True)
        )
        given.pages.write_text("".join(rows), encoding="utf-8")
    try:
        from models.scoring.html import parse_errors
    except ModuleNotFoundError:
        print("valid: html5lib is not installed")
        return
    valid = sum(not parse_errors(page) for page in pages)
    print(f"valid: {valid} of {len(pages)} ({valid / len(pages):.1%})")


if __name__ == "__main__":
    main()
