"""Queries about API keys. A key's secret is shown once, when it is created; the database holds its SHA-256."""

import hashlib
import secrets
import uuid
from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.queries.references import as_id
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


def find(session: Session, reference: str) -> Sequence[ApiKey]:
    """Return the key with this id, else those with this name, newest first. Names need not be unique.

    If some of those with the name are valid and others revoked, the valid ones are returned.
    """
    key = as_id(reference)
    if key is not None and (found := session.get(ApiKey, key)):
        return [found]
    named = session.scalars(select(ApiKey).where(ApiKey.name == reference).order_by(ApiKey.id.desc())).all()
    return [one for one in named if one.revoked_at is None] or named


def page(session: Session, *, name: str | None, limit: int, after: uuid.UUID | None) -> Page[ApiKey]:
    """Return a page of keys, newest first, with the revoked ones; with a name, of those that have it."""
    statement = select(ApiKey)
    if name is not None:
        statement = statement.where(ApiKey.name == name)
    return fetch_page(session, statement, ApiKey.id, limit=limit, after=after)


def all_keys(session: Session) -> Sequence[ApiKey]:
    """Return all keys, newest first, with the revoked ones."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id.desc())).all()


def revoke(session: Session, key_id: uuid.UUID) -> None:
    """Revoke a key; one that is already revoked keeps its time of revocation."""
    session.execute(
        update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=now(session))
    )


def any_exists(session: Session) -> bool:
    """Return whether there is any key, revoked or not."""
    return session.scalars(select(ApiKey.id).limit(1)).first() is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
