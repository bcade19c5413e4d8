"""`pagewright migrate`: the database's schema."""

from db.queries import models
from db.session import get_database
from pagewright.settings import get_settings


def migrate() -> None:
    """Upgrade the database to this version's schema, and register the models that ship with Pagewright."""
    import migrations

    migrations.upgrade(get_settings().database)
    with get_database().write() as session:
        models.ensure_bundled(session)
