"""The base class of all tables, and how Python types are stored."""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, MetaData, String, TypeDecorator, Uuid
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase

from db.vocabulary import DatasetSource, JobKind, JobStatus, ModelKind, ModelSource, Role, Split


class UtcDateTime(TypeDecorator[datetime]):
    """A datetime with time zone UTC. SQLite has no time zones, so there it is stored without one."""

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
        # Enums are stored as text, so that a new member needs no migration.
        Role: String(16),
        JobKind: String(16),
        JobStatus: String(16),
        ModelSource: String(16),
        ModelKind: String(16),
        DatasetSource: String(16),
        Split: String(16),
        list[str]: JSON(),
        list[int]: JSON(none_as_null=True),
        dict[str, str]: JSON(),
        dict[str, Any]: JSON(),
    }


def columns_of(row: Table) -> dict[str, Any]:
    """Return a row's values by column name, for a bulk INSERT."""
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}
