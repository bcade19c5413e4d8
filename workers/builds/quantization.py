"""Quantization jobs: a model, calibrated on a dataset's rows, becomes a smaller one; and how much worse it is."""

import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db.queries import datasets, job_events, models, quantizations
from db.queries.quantizations import QuantizationRow
from db.tables.models import Model
from db.vocabulary import JobKind, ModelKind, Split
from models.quantization.options import QuantizationOptions
from models.tasks.process import write_specification
from models.tasks.reports import Ended, Happened, LayerError, Quantized, Report, VariantMeasured
from workers.builds.process import run_process
from workers.builds.running import run_job
from workers.celery_app import app
from workers.leases import Lease
from workers.model_refs import model_ref
from workers.runtime import Runtime, get_runtime


@app.task(name=JobKind.QUANTIZATION.value)
def run(job_ids: list[str]) -> None:
    for job_id in job_ids:
        quantize(get_runtime(), uuid.UUID(job_id))


def quantize(runtime: Runtime, job_id: uuid.UUID) -> None:
    """Bring the job, if it is still queued, to its end or back to the queue."""
    run_job(runtime, JobKind.QUANTIZATION, job_id, _quantize, lambda session, path: _register(session, job_id, path))


def _quantize(runtime: Runtime, lease: Lease, folder: Path) -> Ended | None:
    with runtime.database.write() as session:
        row = _read(session, lease.job_id)
        quantizations.forget_measured(session, lease.job_id)
    asked = row.request
    rows = runtime.artifacts.local_folder(datasets.artifact(row.dataset.sha256))
    specification = write_specification(
        "quantize",
        folder,
        model=model_ref(runtime.database, row.model, runtime.settings, runtime.artifacts),
        calibration=rows / f"{asked.split}.parquet",
        options=QuantizationOptions(**asked.options),
        evaluation=rows / f"{Split(asked.split).other}.parquet" if asked.report_rows else None,
        evaluation_rows=asked.report_rows,
    )
    recorder = _Recorder(runtime, lease)
    return run_process(specification, lease, recorder.receive, grace_seconds=0)


class _Recorder:
    """Stores the reports of one attempt, for as long as its lease holds."""

    def __init__(self, runtime: Runtime, lease: Lease) -> None:
        self._runtime = runtime
        self._lease = lease
        self._progress: tuple[float | None, float | None] = (None, None)

    def receive(self, reports: list[Report]) -> None:
        for report in reports:
            if isinstance(report, Quantized):
                self._progress = (report.percent_done, report.remaining_seconds)
            elif isinstance(report, VariantMeasured):
                self._progress = (report.percent_done, None)
        if reports:
            self._runtime.leases.go_on(self._lease, *self._progress, lambda session: self._note(session, reports))

    def _note(self, session: Session, reports: list[Report]) -> None:
        claim = self._lease.claim
        for report in reports:
            if isinstance(report, LayerError):
                quantizations.add_module(session, claim.job_id, asdict(report))
            elif isinstance(report, VariantMeasured):
                measured: dict[str, Any] = asdict(report)
                del measured["percent_done"]
                quantizations.add_variant(session, claim.job_id, measured)
            elif isinstance(report, Happened):
                job_events.add(session, claim.job_id, claim.attempt, report.event, report.message)


def _read(session: Session, job_id: uuid.UUID) -> QuantizationRow:
    row = quantizations.get(session, job_id, owner=None)
    assert row is not None, "a job without its quantization"
    return row


def _register(session: Session, job_id: uuid.UUID, path: str) -> Model | None:
    row = _read(session, job_id)
    asked = row.request
    return models.add_result_model(
        session,
        name=asked.name,
        kind=ModelKind.FULL,
        location=path,
        parent_id=asked.model_id,
        dataset_id=asked.dataset_id,
        template=row.model.template,
        parameters={"split": asked.split, "quantization": {"method": "gptq", **asked.options}},
        job_id=job_id,
    )
