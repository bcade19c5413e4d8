"""Datasets: checked rows in two splits."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from db.tables.base import Table
from db.vocabulary import DatasetSource, Split


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
