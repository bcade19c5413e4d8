"""The tables."""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    literal,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

from db.vocabulary import DatasetSource, JobKind, JobStatus, Metric, ModelKind, ModelSource, Role, Split


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on both databases; SQLite has no time zones, so it stores them naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads this class attribute
        datetime: UtcDateTime(),
        uuid.UUID: Uuid(),
        # Enums are stored as plain text: a new kind of job is then no schema change.
        Role: String(16),
        JobKind: String(16),
        JobStatus: String(16),
        ModelSource: String(16),
        ModelKind: String(16),
        DatasetSource: String(16),
        Split: String(16),
        Metric: String(32),
        list[str]: JSON(),
        list[int]: JSON(none_as_null=True),
        dict[str, str]: JSON(),
        dict[str, Any]: JSON(),
    }


class ApiKey(Table):
    __tablename__ = "api_keys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(String(200))
    role: Mapped[Role]
    prefix: Mapped[str] = mapped_column(String(16))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Model(Table):
    """A model that jobs may name; nothing else is ever loaded."""

    __tablename__ = "models"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    source: Mapped[ModelSource]
    kind: Mapped[ModelKind] = mapped_column(default=ModelKind.FULL, server_default=ModelKind.FULL.value)
    location: Mapped[str] = mapped_column(String(500))
    revision: Mapped[str | None] = mapped_column(String(64))
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("models.id"))
    """What it was made from; an adapter is loaded over it."""
    dataset_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("datasets.id"))
    template: Mapped[str | None] = mapped_column(String(64))
    parameters: Mapped[dict[str, Any] | None]
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    """The job that made it."""
    created_at: Mapped[datetime]


class Dataset(Table):
    """Checked rows in two splits. They never change; a deleted dataset stays here, as adapters were trained on it."""

    __tablename__ = "datasets"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(String(200))
    source: Mapped[DatasetSource]
    location: Mapped[str] = mapped_column(String(500))
    """The name of the uploaded file, or `owner/name` on the hub."""
    revision: Mapped[str | None] = mapped_column(String(64))
    columns: Mapped[dict[str, str]]
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Of the rows and how they are split: where they stand in the artifact store."""
    test_fraction: Mapped[float]
    seed: Mapped[int] = mapped_column(BigInteger)
    train_rows: Mapped[int]
    test_rows: Mapped[int]
    overlapping_rows: Mapped[int]
    """Test rows that stand in the training split too, whitespace aside."""
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    def rows_of(self, split: Split) -> int:
        return self.train_rows if split == Split.TRAIN else self.test_rows


Index(
    "uq_datasets_name",
    Dataset.name,
    unique=True,
    postgresql_where=Dataset.deleted_at.is_(None),
    sqlite_where=Dataset.deleted_at.is_(None),
)


class Job(Table):
    __tablename__ = "jobs"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    kind: Mapped[JobKind]
    status: Mapped[JobStatus] = mapped_column(default=JobStatus.QUEUED)
    api_key_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("api_keys.id"))
    batch_id: Mapped[uuid.UUID | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_sha256: Mapped[str | None] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column(default=0)
    """Counts claims, and is the fencing token: a worker's writes name the attempt that it claimed."""
    max_attempts: Mapped[int]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(200))
    error_type: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    percent_done: Mapped[float | None]
    remaining_seconds: Mapped[float | None]
    published_at: Mapped[datetime]
    """When its last message was sent: what is older than everything in the queue has lost its message."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("api_key_id", "idempotency_key"),
        Index("ix_jobs_api_key_id_id", "api_key_id", "id"),
        Index("ix_jobs_status_id", "status", "id"),
        Index("ix_jobs_kind_id", "kind", "id"),
        Index("ix_jobs_batch_id_id", "batch_id", "id"),
    )


# Spelled out in the SQL rather than bound: a planner uses a partial index only where it can read the condition.
IS_QUEUED = Job.status == literal(JobStatus.QUEUED.value, String(16), literal_execute=True)
IS_RUNNING = Job.status == literal(JobStatus.RUNNING.value, String(16), literal_execute=True)

# Partial: they hold the live jobs alone, so what they serve costs the same whatever the history.
for name, condition, indexed in (
    ("ix_jobs_queued", IS_QUEUED, [Job.api_key_id]),
    ("ix_jobs_queued_published_at", IS_QUEUED, [Job.kind, Job.published_at]),
    ("ix_jobs_running_lease_expires_at", IS_RUNNING, [Job.lease_expires_at]),
):
    Index(name, *indexed, postgresql_where=condition, sqlite_where=condition)


class Decoding:
    """How tokens are chosen, and where a completion ends."""

    max_new_tokens: Mapped[int | None]
    temperature: Mapped[float]
    top_p: Mapped[float]
    top_k: Mapped[int]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    stop: Mapped[list[str]]


class Loading:
    """How the model is loaded for the job: `method` and what it takes. None is as it is stored."""

    load: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Generation(Decoding, Loading, Table):
    """The request and, once its job has ended, the completion of a generation job."""

    __tablename__ = "generations"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    prompt: Mapped[str] = mapped_column(Text)
    input: Mapped[str] = mapped_column(Text)
    completion: Mapped[str | None] = mapped_column(Text)
    finish_reason: Mapped[str | None] = mapped_column(String(16))
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]


class FineTune(Loading, Table):
    """What a fine-tuning job was asked for, and the checkpoint that its next attempt goes on from."""

    __tablename__ = "fine_tunes"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    split: Mapped[Split]
    name: Mapped[str] = mapped_column(String(200))
    """What the adapter will be called."""
    lora: Mapped[dict[str, Any]]
    training: Mapped[dict[str, Any]]
    """TrainingOptions by name; an out-of-memory has its batch halved here for all that comes after."""
    devices: Mapped[int]
    checkpoint: Mapped[str | None] = mapped_column(String(500))
    """Its folder in the artifact store."""
    checkpoint_step: Mapped[int | None]


class FineTuneMetrics(Table):
    """What one logged optimizer step measured."""

    __tablename__ = "fine_tune_metrics"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[float]
    loss: Mapped[float | None]
    learning_rate: Mapped[float | None]
    grad_norm: Mapped[float | None]
    tokens_per_second: Mapped[float | None]
    eval_loss: Mapped[float | None]
    created_at: Mapped[datetime]


class Merge(Table):
    """An adapter that is to be merged into its base model, and the name of what comes out."""

    __tablename__ = "merges"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    name: Mapped[str] = mapped_column(String(200))


class Evaluation(Decoding, Loading, Table):
    """What an evaluation job was asked for; `max_new_tokens`, if it named none, as its worker has then found it."""

    __tablename__ = "evaluations"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("models.id"))
    """None for a baseline."""
    model_name: Mapped[str] = mapped_column(String(200))
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"))
    split: Mapped[Split]
    limit: Mapped[int | None]
    rows: Mapped[int]
    """How many rows there are to predict: the split's first."""
    rows_done: Mapped[int] = mapped_column(default=0)
    metrics: Mapped[list[str]]

    __table_args__ = (
        Index("ix_evaluations_model_name_job_id", "model_name", "job_id"),
        Index("ix_evaluations_dataset_id_job_id", "dataset_id", "job_id"),
    )


class Prediction(Table):
    """One row of an evaluation: what was asked, what the model made of it, what it should have been, and the scores.

    A score is None where the evaluation was not asked for it.
    """

    __tablename__ = "predictions"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    """Its number in the split, from 0."""
    prompt: Mapped[str] = mapped_column(Text)
    input: Mapped[str] = mapped_column(Text)
    completion: Mapped[str] = mapped_column(Text)
    """The prediction itself; empty where the model could not be asked, which `error` then explains."""
    reference: Mapped[str] = mapped_column(Text)
    """The ground truth."""
    finish_reason: Mapped[str] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(Text)
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    latency_seconds: Mapped[float]
    """From its place in the engine's queue to its last token; others ran in the same batch."""
    exact_match: Mapped[float | None]
    normalized_exact_match: Mapped[float | None]
    chrf: Mapped[float | None]
    chrf_statistics: Mapped[list[int] | None]
    """The counts whose sums over rows make the corpus chrF."""
    validity: Mapped[float | None]
    parse_errors: Mapped[int | None]
    structural_similarity: Mapped[float | None]
    text_similarity: Mapped[float | None]
    created_at: Mapped[datetime]


class EvaluationFigure(Table):
    """A metric over all the rows of an evaluation that are done, with its 95 % interval."""

    __tablename__ = "evaluation_figures"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    metric: Mapped[Metric] = mapped_column(primary_key=True)
    value: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]
    n: Mapped[int]
    signature: Mapped[str | None] = mapped_column(String(200))
    """sacrebleu's, of the chrF."""

    __table_args__ = (Index("ix_evaluation_figures_metric_value_job_id", "metric", "value", "job_id"),)


class Quantization(Table):
    """What a quantization job was asked for."""

    __tablename__ = "quantizations"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    name: Mapped[str] = mapped_column(String(200))
    """What the quantized model will be called."""
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    split: Mapped[Split]
    """The calibration rows; the report is on rows of the other one."""
    options: Mapped[dict[str, Any]]
    """QuantizationOptions by name."""
    report_rows: Mapped[int]


class QuantizedModule(Table):
    """How far the output of one module moved when it was quantized."""

    __tablename__ = "quantized_modules"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    layer: Mapped[int] = mapped_column(primary_key=True)
    module: Mapped[str] = mapped_column(String(300), primary_key=True)
    error: Mapped[float | None]
    relative_error: Mapped[float | None]
    tokens: Mapped[int]
    seconds: Mapped[float]


class QuantizationVariant(Table):
    """One way to run the model, measured: a row of a quantization's report."""

    __tablename__ = "quantization_variants"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    variant: Mapped[str] = mapped_column(String(32), primary_key=True)
    error: Mapped[str | None] = mapped_column(Text)
    """Why it could not be measured."""
    disk_bytes: Mapped[int | None] = mapped_column(BigInteger)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    perplexity: Mapped[float | None]
    exact_match: Mapped[float | None]
    chrf: Mapped[float | None]
    rows: Mapped[int | None]
    tokens_per_second: Mapped[float | None]
    seconds: Mapped[float | None]


class JobEvent(Table):
    """Something that its owner should know of a job, beyond its status."""

    __tablename__ = "job_events"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    type: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)


def columns_of(row: Table) -> dict[str, Any]:
    """A row's values by column name, for a bulk INSERT."""
    return {column.key: getattr(row, column.key) for column in row.__mapper__.columns}
