"""Sample results of a run, which tests modify."""

from typing import Any

from pagewright.cli.evaluate import Score
from pagewright.cli.experiment.plan import System
from pagewright.cli.experiment.results import Dataset, Evaluated, FineTuned, Model, Point, Prediction, Results

MODEL = Model(name="starter", source="bundled", location="starter", revision=None, quantization=None)
DATASET = Dataset(
    id="0",
    name="pages",
    source="upload",
    location="pages.json",
    revision=None,
    test_fraction=0.25,
    seed=123,
    train_rows=396,
    test_rows=132,
    overlapping_rows=0,
)


def evaluated(system: System, rows: int = 132, limit: int | None = None, **scores: float) -> Evaluated:
    return Evaluated(
        system=system,
        model=system.value,
        evaluation_id=f"{system}-{rows}",
        limit=limit,
        rows=rows,
        attempts=1,
        seconds=12.34,
        template=None if system in (System.NEAREST_NEIGHBOUR, System.CONSTANT) else "chat",
        extract=None if system in (System.NEAREST_NEIGHBOUR, System.CONSTANT) else "html",
        scores={name: Score(value=value, low=None, high=None, n=rows) for name, value in scores.items()},
    )


def predicted(completion: str, **fields: Any) -> Prediction:
    row: dict[str, Any] = {
        "row": 0,
        "prompt": "Create a page.",
        "input": "",
        "completion": completion,
        "page": completion,
        "reference": "<h1>Hi</h1>",
        "finish_reason": "stop",
        "error": None,
        "exact_match": 0,
        "normalized_exact_match": 0,
        "chrf": 12.345,
        "validity": 1,
        "parse_errors": 0,
        "structural_similarity": 0.5,
    }
    return Prediction(**row | fields)


def fine_tuned(**fields: Any) -> FineTuned:
    values: dict[str, Any] = {
        "system": System.BASE_LORA,
        "name": "starter-lora",
        "job_id": "1",
        "base": "starter",
        "parameters": {"lora": {"r": 8}, "training": {}},
        "seconds": 60.0,
        "reused": False,
        "events": [],
        "curve": [Point(step=step, loss=4 / step, eval_loss=None) for step in (1, 2, 4)],
    }
    return FineTuned(**values | fields)


def results(**fields: Any) -> Results:
    values: dict[str, Any] = {
        "command": "pagewright experiment",
        "versions": {"pagewright": "0.1.0"},
        "model": MODEL,
        "dataset": DATASET,
        "training": DATASET,
        "quantization": None,
        "fine_tunes": [fine_tuned()],
        "evaluations": [evaluated(System.BASE, chrf=40.0)],
        "aims": [],
        "notes": [],
    }
    return Results(**values | fields)
