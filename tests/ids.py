"""Ids of other times."""

import uuid
from datetime import datetime

import uuid_utils


def id_of(moment: datetime) -> uuid.UUID:
    """A new id, as if it had been made then."""
    return uuid.UUID(int=uuid_utils.uuid7(nanoseconds=int(moment.timestamp() * 1e9)).int)
