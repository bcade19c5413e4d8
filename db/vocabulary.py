"""The words that columns, messages and clients share: each set in one enum."""

from enum import StrEnum


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


class QueueName(StrEnum):
    GENERATION = "generation"
    EVALUATION = "evaluation"
    BUILDS = "builds"


class JobKind(StrEnum):
    """Also the name of the kind's Celery task."""

    GENERATION = "generation"
    EVALUATION = "evaluation"
    FINE_TUNE = "fine_tune"
    MERGE = "merge"
    QUANTIZATION = "quantization"

    @property
    def queue(self) -> QueueName:
        if self in (JobKind.GENERATION, JobKind.EVALUATION):
            return QueueName(self.value)
        return QueueName.BUILDS


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


FINAL_STATUSES = tuple(status for status in JobStatus if status.final)


class ModelSource(StrEnum):
    BUNDLED = "bundled"
    LOCAL = "local"
    HUB = "hub"
    ARTIFACT = "artifact"
    """Made here: `location` is its folder in the artifact store."""


class ModelKind(StrEnum):
    FULL = "full"
    ADAPTER = "adapter"


class DatasetSource(StrEnum):
    UPLOAD = "upload"
    HUB = "hub"


class Split(StrEnum):
    TRAIN = "train"
    TEST = "test"

    @property
    def other(self) -> "Split":
        return Split.TEST if self == Split.TRAIN else Split.TRAIN
