"""Pull jobs."""

import uuid

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table
from db.tables.mixins import JobRequest


class Pull(JobRequest, Table):
    """The request of a job that downloads the files of a hub model to the cache of an inference worker's machine."""

    __tablename__ = "pulls"

    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"), index=True)
    bytes_done: Mapped[int | None] = mapped_column(BigInteger)
    """How much of the files is in the cache; None until the worker knows which files there are."""
    bytes_total: Mapped[int | None] = mapped_column(BigInteger)
