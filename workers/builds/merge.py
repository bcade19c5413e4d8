"""Merge jobs: an adapter and its base model become one model."""

from db.queries import merges
from db.vocabulary import JobKind, ModelKind
from models.tasks.merge import MergeTask
from workers.builds.build import Build, ResultModel, build_job
from workers.builds.recorder import Recorder
from workers.model_refs import model_ref
from workers.prompting import training_prompt


@build_job(JobKind.MERGE)
def merge(build: Build) -> ResultModel:
    with build.runtime.database.read() as session:
        row = merges.get(session, build.job_id)
    prompt = training_prompt(build.runtime, row.adapter)
    task = MergeTask(work_folder=build.folder, model=model_ref(build.runtime, row.adapter), prompt=prompt)
    build.run_process(task, Recorder(build.runtime, build.lease))
    return ResultModel(
        name=row.request.name,
        kind=ModelKind.FULL,
        parent_id=row.adapter.id,
        dataset_id=row.adapter.dataset_id,
        template=row.adapter.template,
        parameters=row.adapter.parameters,
    )
