"""Write the report: an index and a page for each system. The files need no server and load nothing."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from api.untrusted import without_connecting
from pagewright.cli.experiment import charts, table
from pagewright.cli.experiment.plan import ExperimentError, System
from pagewright.cli.experiment.results import Prediction, Results

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""Forbids the report to fetch anything and to run scripts. Its frames inherit this policy."""

INDEX, RESULTS = "index.html", "results.json"


def write(folder: Path, results: Results, predictions: Mapping[System, Sequence[Prediction]]) -> None:
    """Write the report into an existing folder. Raises ExperimentError if a file can't be written."""
    environment = Environment(
        loader=PackageLoader("pagewright.cli.experiment"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["without_connecting"] = without_connecting
    shared = {"policy": POLICY, "results": results, "table": table, "charts": charts}
    files = {system: file_of(system) for system in predictions}
    pages = {INDEX: environment.get_template("index.html").render(**shared, files=files)}
    for system, rows in predictions.items():
        pages[file_of(system)] = environment.get_template("system.html").render(
            **shared, index=INDEX, system=system, rows=[(row, failures(row)) for row in rows]
        )
    try:
        for name, page in pages.items():
            (folder / name).write_text(page, encoding="utf-8")
        (folder / RESULTS).write_text(results.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ExperimentError(f"the report can't be written: {error}") from None


def file_of(system: System) -> str:
    """Return the file name of a system's page."""
    return re.sub(r"[^a-z]+", "-", system.lower()) + ".html"


def failures(row: Prediction) -> list[str]:
    """Return the failures of a prediction as texts: no completion, cut off, or not valid."""
    messages = []
    if row.error:
        messages.append(f"no completion: {row.error}")
    elif row.finish_reason == "length":
        messages.append("cut off at the token limit")
    if row.validity == 0:
        messages.append(f"not valid HTML ({row.parse_errors} parse errors)")
    return messages
