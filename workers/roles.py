"""The roles of worker processes. Imports neither Celery nor torch."""

from enum import StrEnum

from db.vocabulary import QueueName


class WorkerRole(StrEnum):
    """What a worker process does.

    An inference worker has loaded models, and pulls those of the hub. A build worker starts processes that train.
    """

    INFERENCE = "inference"
    BUILD = "build"

    @property
    def queues(self) -> list[QueueName]:
        if self == WorkerRole.INFERENCE:
            return [QueueName.GENERATION, QueueName.EVALUATION, QueueName.PULL]
        return [QueueName.BUILDS]
