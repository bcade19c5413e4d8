"""Fine-tune jobs: an adapter is trained. Its steps and checkpoints are stored during the training."""

import logging
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db.queries import datasets, fine_tunes, job_events
from db.queries.fine_tunes import FineTuneRow
from db.tables.fine_tunes import FineTune, FineTuneStep
from db.vocabulary import JobKind, ModelKind, ModelSource, Split
from models.fine_tuning.options import LoraOptions, TrainingOptions, halve_batch
from models.fine_tuning.task import FineTuneTask
from models.tasks.errors import TaskError
from models.tasks.process import REPORTS
from models.tasks.reports import Checkpoint, Outcome, PromptTemplate, Step
from workers.builds.build import Build, build_job
from workers.builds.recorder import Recorder
from workers.builds.result import ResultModel
from workers.model_refs import model_ref
from workers.prompting import prompt_options, store_template
from workers.sweeper import checkpoints_path

log = logging.getLogger(__name__)


@build_job(JobKind.FINE_TUNE)
def fine_tune(build: Build) -> ResultModel:
    """Train from the last checkpoint of an earlier attempt, if there is one."""
    with build.runtime.database.write() as session:
        row = fine_tunes.get(session, build.job_id, owner=None)
        assert row is not None, "the fine-tune is stored with its job"
        fine_tunes.forget_steps_after(session, build.job_id, row.request.checkpoint_step or 0)
    training = _train(build, row)
    with build.runtime.database.read() as session:
        trained = fine_tunes.get(session, build.job_id, owner=None)
        scores = _last_losses(fine_tunes.steps(session, build.job_id, after=0, limit=None))
    assert trained is not None
    fine_tune = trained.request
    return ResultModel(
        name=fine_tune.name,
        kind=ModelKind.ADAPTER,
        parent_id=fine_tune.model_id,
        dataset_id=fine_tune.dataset_id,
        template=fine_tune.template,
        parameters={
            "split": fine_tune.split,
            "lora": fine_tune.lora,
            "training": training.model_dump(),
            "load": fine_tune.load,
            "system": fine_tune.system,
            "chat_template_kwargs": fine_tune.chat_template_kwargs,
        },
        scores=scores,
    )


def _last_losses(steps: Sequence[FineTuneStep]) -> list[dict[str, Any]]:
    """Return the last loss on the training rows, and on the other split's if it was measured, for the model card."""
    measured = (
        ("loss on the training rows", [(step, step.loss) for step in steps if step.loss is not None]),
        ("loss on the other split", [(step, step.eval_loss) for step in steps if step.eval_loss is not None]),
    )
    return [
        {"score": name, "value": values[-1][1], "step": values[-1][0].step, "epoch": values[-1][0].epoch}
        for name, values in measured
        if values
    ]


def _train(build: Build, row: FineTuneRow) -> TrainingOptions:
    """Train, and start again with half the batch size each time the memory runs out. Returns the options that fit."""
    runtime, fine_tune = build.runtime, row.request
    checkpoints = Checkpoints(build)
    rows = runtime.artifacts.local_folder(datasets.artifact(row.dataset.sha256))
    checkpoint = runtime.artifacts.local_folder(fine_tune.checkpoint) if fine_tune.checkpoint else None
    training = TrainingOptions(**fine_tune.training)
    base = model_ref(runtime, row.model, fine_tune.load)
    prompt = prompt_options(runtime, fine_tune, row.model)
    while True:
        task = FineTuneTask(
            work_folder=build.folder,
            base=base,
            base_name=row.model.location if row.model.source == ModelSource.HUB else row.model.name,
            train=rows / f"{fine_tune.split}.parquet",
            evaluation=rows / f"{Split(fine_tune.split).other}.parquet" if training.eval_steps else None,
            lora=LoraOptions(**fine_tune.lora),
            training=training,
            checkpoint=checkpoint,
            prompt=prompt,
        )
        try:
            build.run_process(
                task,
                checkpoints.recorder,
                devices=fine_tune.devices,
                grace_seconds=runtime.settings.shutdown_grace_seconds,
            )
        except TaskError as error:
            if error.outcome != Outcome.OUT_OF_MEMORY:
                raise
            training = _halve(build, checkpoints.recorder, training, error)
            checkpoint = checkpoints.folder or checkpoint
            (build.folder / REPORTS).unlink()
        else:
            return training


def _halve(build: Build, recorder: Recorder, training: TrainingOptions, error: TaskError) -> TrainingOptions:
    """Store the training options with half the batch size, and an event. Raises TaskError at a batch size of 1."""
    smaller = halve_batch(training)
    if smaller is None:
        advice = "lower max_seq_length, turn on gradient_checkpointing, or load the base model in 4 bits"
        raise TaskError(f"{error}; one row at a time does not fit either: {advice}", error.outcome)
    message = (
        f"out of memory: training continues with per_device_train_batch_size {smaller.per_device_train_batch_size} "
        f"instead of {training.per_device_train_batch_size}, and gradient_accumulation_steps "
        f"{smaller.gradient_accumulation_steps} instead of {training.gradient_accumulation_steps}"
    )

    def write(session: Session) -> None:
        fine_tunes.set_training(session, build.job_id, smaller.model_dump())
        job_events.add(session, build.job_id, build.lease.claim.attempt, "out-of-memory", message)

    recorder.save(write)
    return smaller


class Checkpoints:
    """Stores the checkpoints of one attempt. The artifact store keeps the last one only.

    A checkpoint is handled after the steps reported before it have been stored, and before those reported after it. So
    clients never see a step that an attempt resumed from the last checkpoint could not repeat.
    """

    def __init__(self, build: Build) -> None:
        self.recorder = Recorder(
            build.runtime,
            build.lease,
            {Step: _add_step, PromptTemplate: store_template(FineTune)},
            {Checkpoint: self.store},
        )
        self.folder: Path | None = None
        """The local folder of the last stored checkpoint."""
        self._build = build
        self._path: str | None = None

    def store(self, report: Checkpoint) -> None:
        """Upload the checkpoint, make the job resume from it, then delete the one before.

        A failed upload does not stop the training. It is stored as an event.
        """
        job_id, attempt = self._build.job_id, self._build.lease.claim.attempt
        artifacts = self._build.runtime.artifacts
        path = f"{checkpoints_path(job_id)}/{attempt}-{report.step}"
        try:
            artifacts.put_folder(Path(report.folder), path)
        except OSError as error:
            message = f"the checkpoint of step {report.step} could not be stored: {error}"
            log.warning("job %s: %s", job_id, message)
            self.recorder.save(lambda session: job_events.add(session, job_id, attempt, "no-checkpoint", message))
            return
        if not self.recorder.save(lambda session: fine_tunes.set_checkpoint(session, job_id, path, report.step)):
            return  # another worker may have the job, and resume from the checkpoint before
        if self._path:
            try:
                artifacts.delete(self._path)
            except OSError as error:  # the sweeper deletes it later
                log.warning("job %s: the previous checkpoint could not be deleted: %s", job_id, error)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._path, self.folder = path, Path(report.folder)


def _add_step(session: Session, job_id: uuid.UUID, report: Step) -> None:
    values = asdict(report)
    del values["kind"], values["percent_done"], values["remaining_seconds"]
    fine_tunes.add_step(session, job_id, **values)
