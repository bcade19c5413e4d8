"""Datasets."""

import uuid
from datetime import datetime

from sqlalchemy import JSON, BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from db.tables.base import Table
from db.vocabulary import DatasetSource, Split


class Dataset(Table):
    """Validated rows in a training split and a test split.

    The rows of a dataset never change. A deleted dataset keeps its row here, since models were trained on it.
    """

    __tablename__ = "datasets"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(String(200))
    source: Mapped[DatasetSource]
    location: Mapped[str] = mapped_column(String(500))
    """The name of the uploaded file, or `owner/name` on the hub."""
    revision: Mapped[str | None] = mapped_column(String(64))
    """The commit of a hub dataset."""
    config: Mapped[str | None] = mapped_column(String(500))
    """The configuration of a hub dataset; None if it has none."""
    train_split: Mapped[str | None] = mapped_column(String(500))
    """The hub's split that the train rows come from; None for a file and for datasets of older versions."""
    test_split: Mapped[str | None] = mapped_column(String(500))
    """The hub's split that is the test split; None if it is taken from the train rows, or empty."""
    columns: Mapped[dict[str, str]]
    """The source's column for each part of a row (`instruction`, `output`, `messages`, …)."""
    unused_columns: Mapped[dict[str, int | None] | None] = mapped_column(JSON(none_as_null=True))
    """How many rows had something in each column that is not used; None for datasets of older versions."""
    skipped_rows: Mapped[int | None]
    """How many invalid rows were left out; None for datasets of older versions, which had none."""
    skipped: Mapped[list[dict[str, str]] | None] = mapped_column(JSON(none_as_null=True))
    """What was wrong with the first of them: `field` and `message`."""
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Hash of the rows and of the way they are split. It names the dataset's folder in the artifact store."""
    test_fraction: Mapped[float]
    seed: Mapped[int] = mapped_column(BigInteger)
    train_rows: Mapped[int]
    test_rows: Mapped[int]
    overlapping_rows: Mapped[int]
    """How many test rows are also in the training split, ignoring differences in whitespace."""
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    def rows_of(self, split: Split) -> int:
        """Return how many rows the split has."""
        return self.train_rows if split == Split.TRAIN else self.test_rows


Index(
    "uq_datasets_name",
    Dataset.name,
    unique=True,
    postgresql_where=Dataset.deleted_at.is_(None),
    sqlite_where=Dataset.deleted_at.is_(None),
)
