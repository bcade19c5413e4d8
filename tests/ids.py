"""Ids of other times."""

import uuid
from datetime import datetime

import uuid_utils


def id_of(moment: datetime) -> uuid.UUID:
    """Return a new id as of this moment."""
    return uuid.UUID(int=uuid_utils.uuid7(nanoseconds=int(moment.timestamp() * 1e9)).int)
