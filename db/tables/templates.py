"""Prompt templates."""

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table


class Template(Table):
    """A Jinja text that a chat was rendered with. Stored once; never changed and never deleted."""

    __tablename__ = "templates"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
