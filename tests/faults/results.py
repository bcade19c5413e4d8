"""The results of jobs, in a form that can be compared with the results of other jobs with the same request."""

import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.session import Database
from db.tables.evaluations import Evaluation, EvaluationScore, Prediction
from db.tables.fine_tunes import FineTuneStep
from db.tables.generations import Generation
from db.tables.jobs import Job
from db.tables.models import Model
from db.tables.quantizations import QuantizedModule
from db.vocabulary import JobKind
from models.scoring.names import Metric

TOLERANCE = 1e-4
"""How far the losses and weights of a fine-tune that continued from a checkpoint may differ. All else is equal."""

CHUNK = 500


def read(database: Database, artifacts: Path, job_ids: Collection[uuid.UUID]) -> Iterator[tuple[uuid.UUID, Any]]:
    """Yield the result of each of these jobs that has succeeded; None if its result is missing."""
    ids = sorted(job_ids)
    for start in range(0, len(ids), CHUNK):
        with database.read() as session:
            jobs = session.scalars(select(Job).where(Job.id.in_(ids[start : start + CHUNK]), Job.status == "succeeded"))
            for job in jobs.all():
                yield job.id, _READERS[JobKind(job.kind)](session, artifacts, job.id)


def same(kind: JobKind, found: Any, expected: Any) -> bool:
    if kind != JobKind.FINE_TUNE or found is None:
        return bool(found == expected)
    if found["losses"].keys() != expected["losses"].keys() or found["weights"].keys() != expected["weights"].keys():
        return False
    return all(
        np.allclose(found[part][name], expected[part][name], rtol=0, atol=TOLERANCE)
        for part in ("losses", "weights")
        for name in expected[part]
    )


def _generation(session: Session, _: Path, job_id: uuid.UUID) -> Any:
    row = session.get_one(Generation, job_id)
    if row.completion is None:
        return None
    return row.completion, row.finish_reason, row.prompt_tokens, row.completion_tokens


def _evaluation(session: Session, _: Path, job_id: uuid.UUID) -> Any:
    rows = session.scalars(select(Prediction).where(Prediction.job_id == job_id).order_by(Prediction.row)).all()
    overall = session.scalars(select(EvaluationScore).where(EvaluationScore.job_id == job_id)).all()
    names = ["row", "completion", "finish_reason", "error", "reference", "chrf_statistics", *Metric]
    return {
        "rows_done": session.get_one(Evaluation, job_id).rows_done,
        "rows": [[getattr(row, name) for name in names] for row in rows],
        "overall_scores": {score.metric: (score.value, score.low, score.high, score.n) for score in overall},
    }


def _fine_tune(session: Session, artifacts: Path, job_id: uuid.UUID) -> Any:
    model = _result_model(session, job_id)
    if model is None:
        return None
    measured = session.scalars(select(FineTuneStep).where(FineTuneStep.job_id == job_id)).all()
    weights = load_file(artifacts / model.location / "adapter_model.safetensors")
    return {"losses": {row.step: row.loss for row in measured}, "weights": weights}


def _quantization(session: Session, artifacts: Path, job_id: uuid.UUID) -> Any:
    model = _result_model(session, job_id)
    if model is None:
        return None
    modules = session.scalars(select(QuantizedModule).where(QuantizedModule.job_id == job_id)).all()
    weights = (artifacts / model.location / "model.safetensors").read_bytes()
    return {"errors": {(module.layer, module.module): module.error for module in modules}, "weights": weights}


def _result_model(session: Session, job_id: uuid.UUID) -> Model | None:
    return session.scalars(select(Model).where(Model.job_id == job_id)).one_or_none()


_READERS = {
    JobKind.GENERATION: _generation,
    JobKind.EVALUATION: _evaluation,
    JobKind.FINE_TUNE: _fine_tune,
    JobKind.QUANTIZATION: _quantization,
}
