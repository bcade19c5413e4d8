"""Queries about API keys. The secret is shown once, when it is made; the database holds its SHA-256."""

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
"""256 random bits: too many to guess, so an unsalted fast hash gives nothing away."""


def create(session: Session, name: str, role: Role) -> tuple[ApiKey, str]:
    """A new key and its secret, which is not stored anywhere."""
    secret = "pw_" + secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey(name=name, role=role, prefix=secret[:8], sha256=_digest(secret), created_at=now(session))
    session.add(key)
    session.flush()
    return key, secret


def authenticate(session: Session, secret: str) -> ApiKey | None:
    """The key, revoked or not, that the secret belongs to.

    The secret itself is compared with nothing: how long the look-up of its hash takes may tell of the stored hash, and
    no way leads from there to a secret that has it.
    """
    return session.scalars(select(ApiKey).where(ApiKey.sha256 == _digest(secret))).one_or_none()


def page(session: Session, *, limit: int, after: uuid.UUID | None) -> Page[ApiKey]:
    return fetch_page(session, select(ApiKey), ApiKey.id, limit=limit, after=after)


def revoke(session: Session, key_id: uuid.UUID) -> bool:
    """Revoke a key; what it was revoked at first stays. False if there is no such key."""
    if session.get(ApiKey, key_id) is None:
        return False
    session.execute(
        update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=now(session))
    )
    return True


def any_exists(session: Session) -> bool:
    return session.scalars(select(ApiKey.id).limit(1)).first() is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
