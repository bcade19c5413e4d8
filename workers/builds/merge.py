"""Merge jobs: an adapter and its base model become one model."""

from typing import Any

from db.queries import evaluations, merges
from db.queries.evaluations import EvaluationRow
from db.queries.job_names import Named
from db.vocabulary import JobKind, JobStatus, ModelKind
from models.scoring.names import Metric
from models.tasks.merge import MergeTask
from workers.builds.build import Build, build_job
from workers.builds.recorder import Recorder
from workers.builds.result import ResultModel
from workers.model_refs import model_ref
from workers.prompting import training_prompt

LISTED_EVALUATIONS = 10
"""How many of the adapter's latest evaluations the model card of the merged model lists."""


@build_job(JobKind.MERGE)
def merge(build: Build) -> ResultModel:
    with build.runtime.database.read() as session:
        row = merges.get(session, build.job_id)
        evaluated = evaluations.page(
            session,
            named=Named(model=row.adapter.name),
            status=JobStatus.SUCCEEDED,
            sort=None,
            descending=True,
            limit=LISTED_EVALUATIONS,
            after=None,
        )
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
        scores=[_scores(evaluation) for evaluation in evaluated.items],
    )


def _scores(row: EvaluationRow) -> dict[str, Any]:
    """Return a row of the model card: the scores of the adapter, which computes what the merged model does."""
    scores = {score.metric: score.value for score in row.overall_scores}
    tested = row.evaluation
    return {
        "evaluated": tested.model_name,
        "dataset": row.dataset.name,
        "split": tested.split,
        "rows": tested.rows,
        **{metric: scores.get(metric) for metric in Metric},
    }
