"""The roles of worker processes. Imports neither Celery nor torch."""

from enum import StrEnum

from db.vocabulary import QueueName


class WorkerRole(StrEnum):
    """What a worker process does: an inference worker has loaded models, a build worker starts processes that train."""

    INFERENCE = "inference"
    BUILD = "build"

    @property
    def queues(self) -> list[QueueName]:
        if self == WorkerRole.INFERENCE:
            return [QueueName.GENERATION, QueueName.EVALUATION]
        return [QueueName.BUILDS]
