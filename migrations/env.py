"""How Alembic runs the migrations and writes new ones."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import create_engine, text

from db.tables.base import Table, UtcDateTime
from pagewright.settings import get_settings

LOCK = 7_241_991_053  # any constant; it makes machines that migrate at the same time take turns


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write `UtcDateTime` into new migrations as the type that it stores, since a migration must not import `db`."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def run() -> None:
    url = context.config.attributes.get("url") or get_settings().database
    engine = create_engine(url)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.configure(
            connection=connection,
            target_metadata=Table.metadata,
            render_as_batch=engine.dialect.name == "sqlite",
            render_item=render_item,
        )
        context.run_migrations()
    engine.dispose()


run()
