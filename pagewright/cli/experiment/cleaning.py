"""Clean the training rows for a small model: only valid pages, uniformly indented."""

import hashlib

import httpx
from pydantic import BaseModel

from models.scoring.html import parse_errors
from models.scoring.indenting import indented
from pagewright.cli.client import walk
from pagewright.cli.experiment.plan import Options
from pagewright.cli.experiment.registering import find_or_register
from pagewright.cli.experiment.results import Dataset

DOCTYPE = "<!DOCTYPE html>"
ROWS_AT_ONCE = 100


class Row(BaseModel):
    instruction: str
    input: str
    output: str


def cleaned(page: str) -> str | None:
    """Return the page with a doctype and two spaces of indentation, or None if it still has a parse error."""
    page = page.strip()
    if not page.lower().startswith(DOCTYPE.lower()):
        page = f"{DOCTYPE}\n{page}"
    return None if parse_errors(page) else indented(page)


def register_cleaned(client: httpx.Client, options: Options, dataset: Dataset) -> Dataset:
    """Return a dataset of the cleaned training rows of `dataset`, without test rows. No test row is read.

    Rows whose page is still invalid are left out. Raises ServerError.
    """
    rows = [
        row.model_copy(update={"output": page})
        for row in walk(client, f"/v1/datasets/{dataset.id}/rows", Row, limit=ROWS_AT_ONCE)
        if (page := cleaned(row.output)) is not None
    ]
    content = "".join(row.model_dump_json() + "\n" for row in rows).encode()
    name = f"{options.name}-cleaned-{hashlib.sha256(content).hexdigest()[:8]}"
    return find_or_register(client, name, {"file": ("cleaned.jsonl", content)})
