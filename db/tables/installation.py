"""The installation that the database belongs to."""

import uuid

from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table


class Installation(Table):
    """One row. The id is part of the installation's keys in Redis, which other installations may share."""

    __tablename__ = "installation"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
