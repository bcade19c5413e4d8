"""Queries about API keys. A key's secret is shown once, when it is created; the database holds its SHA-256."""

import hashlib
import secrets
import uuid

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.session import now
from db.tables.api_keys import ApiKey
from db.vocabulary import Role

SECRET_BYTES = 32
"""256 random bits cannot be guessed, so a fast hash without salt is enough to protect them."""


def create(session: Session, name: str, role: Role) -> tuple[ApiKey, str]:
    """Create a key. Return it and its secret, which is stored nowhere."""
    secret = "pw_" + secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey(name=name, role=role, prefix=secret[:8], sha256=_digest(secret), created_at=now(session))
    session.add(key)
    session.flush()
    return key, secret


def authenticate(session: Session, secret: str) -> ApiKey | None:
    """Return the key with this secret, even if it is revoked, or None if there is no such key.

    The look-up is by hash, so its duration can reveal at most a part of a stored hash, from which no secret follows.
    """
    return session.scalars(select(ApiKey).where(ApiKey.sha256 == _digest(secret))).one_or_none()


def page(session: Session, *, limit: int, after: uuid.UUID | None) -> Page[ApiKey]:
    """Return a page of keys, newest first, with the revoked ones."""
    return fetch_page(session, select(ApiKey), ApiKey.id, limit=limit, after=after)


def revoke(session: Session, key_id: uuid.UUID) -> bool:
    """Revoke a key; one that is already revoked keeps its time of revocation. Return False if there is no such key."""
    if session.get(ApiKey, key_id) is None:
        return False
    session.execute(
        update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=now(session))
    )
    return True


def any_exists(session: Session) -> bool:
    """Return whether there is any key, revoked or not."""
    return session.scalars(select(ApiKey.id).limit(1)).first() is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
