"""Merge jobs: an adapter and its base model become one model."""

from db.queries import merges
from db.vocabulary import JobKind, ModelKind
from models.tasks.process import write_specification
from workers.builds.build import Build, ResultModel, build_job
from workers.builds.recorder import Recorder
from workers.model_refs import model_ref


@build_job(JobKind.MERGE)
def merge(build: Build) -> ResultModel:
    with build.runtime.database.read() as session:
        row = merges.get(session, build.job_id)
    ref = model_ref(build.runtime, row.adapter)
    specification = write_specification("merge", build.folder, model=ref)
    build.run_process(specification, Recorder(build.runtime, build.lease))
    return ResultModel(
        name=row.request.name,
        kind=ModelKind.FULL,
        parent_id=row.adapter.id,
        dataset_id=row.adapter.dataset_id,
        template=row.adapter.template,
        parameters=row.adapter.parameters,
    )
