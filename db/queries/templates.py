"""Queries about prompt templates."""

import hashlib

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.session import now
from db.tables.templates import Template


def store(session: Session, text: str) -> str:
    """Store a template, unless it is stored already, and return its hash."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if session.scalar(select(Template.sha256).where(Template.sha256 == sha256)) is None:
        try:
            with session.begin_nested():
                session.add(Template(sha256=sha256, text=text, created_at=now(session)))
        except IntegrityError:  # a concurrent transaction was faster
            pass
    return sha256


def get(session: Session, sha256: str) -> Template | None:
    """Return the template with this hash, or None if none is stored."""
    return session.get(Template, sha256)


def text_of(session: Session, sha256: str) -> str | None:
    """Return the template with this hash, or None if none is stored."""
    template = get(session, sha256)
    return None if template is None else template.text
