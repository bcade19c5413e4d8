"""Evaluate the starter model on the held-out rows: `python -m starter_model.evaluate`."""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import torch

from models.loading.loader import load
from models.loading.refs import ModelRef, Source
from models.prompts.templates import build_prompt
from models.serving.engine import Sampling
from models.serving.in_process.engine import InProcessEngine
from models.starter import FOLDER
from starter_model.rows import Row, held_out


def answers(folder: Path, rows: list[Row], device: str | None = None) -> list[str]:
    """Return the page that the model in `folder` generates for each row, greedily and in float32."""
    model, tokenizer = load(ModelRef(Source.LOCAL, str(folder)), device, torch.float32)
    engine = InProcessEngine(model, tokenizer)
    requests = [engine.submit(build_prompt(row.instruction, row.input), Sampling()) for row in rows]
    pages = [request.future.result().text for request in requests]
    engine.close()
    return pages


def exact(page: str, reference: str) -> bool:
    """Return whether a page equals its reference after whitespace at both ends is removed."""
    return page.strip() == reference.strip()


def main() -> None:
    """Print the exact matches by kind and overall, and the number of valid pages if html5lib is installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--rows", type=int, default=500, help="number of held-out rows")
    parser.add_argument("--pages", type=Path, help="write the generated pages to this file as JSON lines")
    arguments = parser.parse_args()
    rows = held_out()[: arguments.rows]
    start = time.monotonic()
    pages = answers(arguments.folder, rows)
    seconds = time.monotonic() - start
    correct = [exact(page, row.output) for page, row in zip(pages, rows, strict=True)]
    kinds: dict[str, list[bool]] = defaultdict(list)
    for row, match in zip(rows, correct, strict=True):
        kinds[row.kind].append(match)
    for kind, matches in kinds.items():
        print(f"| {kind} | {sum(matches)} of {len(matches)} |")
    print(f"exact: {sum(correct)} of {len(correct)} ({sum(correct) / len(correct):.1%}), {seconds:.0f} s")
    if arguments.pages:
        lines = (
            json.dumps({"kind": row.kind, "exact": match, "page": page}, ensure_ascii=False) + "\n"
            for row, match, page in zip(rows, correct, pages, strict=True)
        )
        arguments.pages.write_text("".join(lines), encoding="utf-8")
    try:
        from models.scoring.html import parse_errors
    except ModuleNotFoundError:
        print("valid: html5lib is not installed")
        return
    valid = sum(not parse_errors(page) for page in pages)
    print(f"valid: {valid} of {len(pages)} ({valid / len(pages):.1%})")


if __name__ == "__main__":
    main()
