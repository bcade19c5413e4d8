"""The sets of names that the database, the message queue and clients share, each as one enum."""

from enum import StrEnum


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


class QueueName(StrEnum):
    GENERATION = "generation"
    EVALUATION = "evaluation"
    PULL = "pull"
    BUILDS = "builds"


class JobKind(StrEnum):
    """The kind of a job. Its value is also the name of the Celery task that runs such jobs."""

    GENERATION = "generation"
    EVALUATION = "evaluation"
    FINE_TUNE = "fine_tune"
    MERGE = "merge"
    QUANTIZATION = "quantization"
    PULL = "pull"

    @property
    def word(self) -> str:
        """The kind as clients read it, as in its path: `/v1/` + word + `s`."""
        return self.value.replace("_", "-")

    @property
    def queue(self) -> QueueName:
        """The queue that jobs of this kind are sent to."""
        if self in (JobKind.GENERATION, JobKind.EVALUATION, JobKind.PULL):
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
        """Whether a job with this status is over: the status never changes again."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


FINAL_STATUSES = tuple(status for status in JobStatus if status.final)


class ErrorType(StrEnum):
    """Why a job failed. Clients may rely on these values."""

    INVALID_REQUEST = "invalid-request"
    MODEL_UNAVAILABLE = "model-unavailable"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out-of-memory"
    TIME_LIMIT = "time-limit"
    ATTEMPTS_EXHAUSTED = "attempts-exhausted"


class ModelSource(StrEnum):
    BUNDLED = "bundled"
    LOCAL = "local"
    HUB = "hub"
    ARTIFACT = "artifact"
    """The result of a job, in the artifact store."""


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
