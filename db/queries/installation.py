"""Queries about the installation."""

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables.installation import Installation


def installation_id(session: Session) -> uuid.UUID:
    """Return the id that a migration gave this installation."""
    return session.scalars(select(Installation.id)).one()
