"""Merge jobs: an adapter and its base become one model."""

import uuid
from pathlib import Path

from sqlalchemy.orm import Session

from db.queries import merges, models
from db.tables.models import Model
from db.vocabulary import JobKind, ModelKind
from models.tasks.process import write_specification
from models.tasks.reports import Ended
from workers.builds.process import run_process
from workers.builds.running import run_job
from workers.celery_app import app
from workers.leases import Lease
from workers.model_refs import model_ref
from workers.runtime import Runtime, get_runtime


@app.task(name=JobKind.MERGE.value)
def run(job_ids: list[str]) -> None:
    for job_id in job_ids:
        merge(get_runtime(), uuid.UUID(job_id))


def merge(runtime: Runtime, job_id: uuid.UUID) -> None:
    """Bring the job, if it is still queued, to its end or back to the queue."""
    run_job(runtime, JobKind.MERGE, job_id, _merge, lambda session, path: _register(session, job_id, path))


def _merge(runtime: Runtime, lease: Lease, folder: Path) -> Ended | None:
    with runtime.database.read() as session:
        adapter = merges.get(session, lease.job_id).adapter
    ref = model_ref(runtime.database, adapter, runtime.settings, runtime.artifacts)
    specification = write_specification("merge", folder, model=ref)
    return run_process(specification, lease, lambda _: None, grace_seconds=0)


def _register(session: Session, job_id: uuid.UUID, path: str) -> Model | None:
    row = merges.get(session, job_id)
    return models.add_result_model(
        session,
        name=row.request.name,
        kind=ModelKind.FULL,
        location=path,
        parent_id=row.adapter.id,
        dataset_id=row.adapter.dataset_id,
        template=row.adapter.template,
        parameters=row.adapter.parameters,
        job_id=job_id,
    )
