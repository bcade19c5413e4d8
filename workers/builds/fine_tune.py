"""Fine-tuning jobs: the process trains, this stores what it measures and where it can go on."""

import logging
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from sqlalchemy.orm import Session

from db import job_transitions
from db.queries import datasets, fine_tunes, job_events, models
from db.queries.fine_tunes import FineTuneRow
from db.tables.models import Model
from db.vocabulary import JobKind, ModelKind, ModelSource, Split
from models.fine_tuning.options import LoraOptions, TrainingOptions, halved
from models.prompts.template import TEMPLATE_NAME
from models.tasks.process import REPORTS, write_specification
from models.tasks.reports import Checkpointed, Ended, Happened, Measured, Outcome, Report
from workers.builds.process import run_process
from workers.builds.running import run_job
from workers.celery_app import app
from workers.leases import Lease
from workers.model_refs import model_ref
from workers.runtime import Runtime, get_runtime
from workers.sweeper import checkpoints_of

log = logging.getLogger(__name__)


@app.task(name=JobKind.FINE_TUNE.value)
def run(job_ids: list[str]) -> None:
    for job_id in job_ids:
        fine_tune(get_runtime(), uuid.UUID(job_id))


def fine_tune(runtime: Runtime, job_id: uuid.UUID) -> None:
    """Bring the job, if it is still queued, to its end or back to the queue."""
    run_job(runtime, JobKind.FINE_TUNE, job_id, _train, lambda session, path: _register(session, job_id, path))


def _train(runtime: Runtime, lease: Lease, folder: Path) -> Ended | None:
    recorder = _Recorder(runtime, lease)
    with runtime.database.write() as session:
        row = _read(session, lease.job_id)
        dataset = row.dataset
        fine_tunes.forget_steps_after(session, lease.job_id, row.request.checkpoint_step or 0)
    asked = row.request
    base = model_ref(runtime.database, row.model, runtime.settings, runtime.artifacts, asked.load)
    rows = runtime.artifacts.local_folder(datasets.artifact(dataset.sha256))
    training = TrainingOptions(**asked.training)
    checkpoint = runtime.artifacts.local_folder(asked.checkpoint) if asked.checkpoint else None
    while True:
        specification = write_specification(
            "fine_tune",
            folder,
            base=base,
            base_name=row.model.location if row.model.source == ModelSource.HUB else row.model.name,
            train=rows / f"{asked.split}.parquet",
            evaluation=rows / f"{Split(asked.split).other}.parquet" if training.eval_steps else None,
            lora=LoraOptions(**{**asked.lora, "target_modules": tuple(asked.lora["target_modules"])}),
            training=training,
            checkpoint=checkpoint,
        )
        ended = run_process(
            specification,
            lease,
            recorder.receive,
            devices=asked.devices,
            grace_seconds=runtime.settings.shutdown_grace_seconds,
        )
        if not ended or ended.outcome != Outcome.OUT_OF_MEMORY or lease.interrupted:
            return ended
        smaller = halved(training)
        if smaller is None:
            advice = "lower max_seq_length, turn on gradient_checkpointing, or load the base model in 4 bits"
            return Ended(ended.outcome, f"{ended.message}; with one row at a time it still is too much: {advice}")
        recorder.halve(training, smaller)
        training, checkpoint = smaller, recorder.checkpoint_folder or checkpoint
        (folder / REPORTS).unlink()


class _Recorder:
    """Stores the reports of one attempt, for as long as its lease holds."""

    def __init__(self, runtime: Runtime, lease: Lease) -> None:
        self.checkpoint_folder: Path | None = None
        self._runtime = runtime
        self._lease = lease
        self._progress: tuple[float | None, float | None] = (None, None)
        self._stored: str | None = None

    def receive(self, reports: list[Report]) -> None:
        """In their order: no step is shown before the checkpoint that came before it can be gone on from."""
        for are_checkpoints, group in groupby(reports, lambda report: isinstance(report, Checkpointed)):
            if are_checkpoints:
                for checkpoint in group:
                    self._keep(cast(Checkpointed, checkpoint))
            elif noted := [report for report in group if isinstance(report, Measured | Happened)]:
                self._write(partial(self._note, noted))

    def halve(self, training: TrainingOptions, smaller: TrainingOptions) -> None:
        message = (
            f"out of memory: per_device_train_batch_size is {smaller.per_device_train_batch_size} instead of "
            f"{training.per_device_train_batch_size} and gradient_accumulation_steps "
            f"{smaller.gradient_accumulation_steps} instead of {training.gradient_accumulation_steps} from here on"
        )

        def write(session: Session) -> None:
            fine_tunes.set_training(session, self._lease.job_id, asdict(smaller))
            job_events.add(session, self._lease.job_id, self._lease.claim.attempt, "out-of-memory", message)

        self._write(write)

    def _note(self, reports: list[Measured | Happened], session: Session) -> None:
        claim = self._lease.claim
        for report in reports:
            if isinstance(report, Happened):
                job_events.add(session, claim.job_id, claim.attempt, report.event, report.message)
                continue
            values: dict[str, Any] = asdict(report)
            self._progress = (values.pop("percent_done"), values.pop("remaining_seconds"))
            fine_tunes.add_step(session, claim.job_id, **values)
        job_transitions.progress(session, claim, *self._progress)

    def _keep(self, report: Checkpointed) -> None:
        """Upload a checkpoint, then have the job go on from it, then forget the one before."""
        claim = self._lease.claim
        path = f"{checkpoints_of(claim.job_id)}/{claim.attempt}-{report.step}"
        try:
            self._runtime.artifacts.put_folder(Path(report.folder), path)
        except OSError as error:  # the training itself is not the worse for it
            message = f"the checkpoint of step {report.step} could not be stored: {error}"
            log.warning("job %s: %s", claim.job_id, message)
            self._write(lambda session: job_events.add(session, claim.job_id, claim.attempt, "no-checkpoint", message))
            return
        if not self._write(lambda session: fine_tunes.set_checkpoint(session, claim.job_id, path, report.step)):
            return  # another has the job, and may go on from the one before
        if self._stored:
            try:
                self._runtime.artifacts.delete(self._stored)
            except OSError as error:  # the sweeper finds it again
                log.warning("job %s: the checkpoint before could not be deleted: %s", claim.job_id, error)
        if self.checkpoint_folder:
            shutil.rmtree(self.checkpoint_folder, ignore_errors=True)
        self._stored, self.checkpoint_folder = path, Path(report.folder)

    def _write(self, write: Callable[[Session], None]) -> bool:
        return self._runtime.leases.go_on(self._lease, *self._progress, write)


def _read(session: Session, job_id: uuid.UUID) -> FineTuneRow:
    row = fine_tunes.get(session, job_id, owner=None)
    assert row is not None, "a job without its fine-tune"
    return row


def _register(session: Session, job_id: uuid.UUID, path: str) -> Model | None:
    asked = _read(session, job_id).request
    return models.add_result_model(
        session,
        name=asked.name,
        kind=ModelKind.ADAPTER,
        location=path,
        parent_id=asked.model_id,
        dataset_id=asked.dataset_id,
        template=TEMPLATE_NAME,
        parameters={"split": asked.split, "lora": asked.lora, "training": asked.training, "load": asked.load},
        job_id=job_id,
    )
